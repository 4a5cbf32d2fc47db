package raytest

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
)

func putConfig(t *testing.T, h *Head, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, h.URL()+EndpointServe, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "test")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// The responses to invalid configurations are those of Ray 2.60.0, except for the values
// that they repeat.
func TestServe_InvalidConfig(t *testing.T) {
	b, err := os.ReadFile("testdata/serve_put_errors.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded []struct {
		Sent, Answer string
		Status       int
	}
	if err := json.Unmarshal(b, &recorded); err != nil || len(recorded) < 7 {
		t.Fatal(err, len(recorded))
	}
	h := New(t)
	shape := func(response string) string {
		before, after, _ := strings.Cut(response, " [type=")
		kind, _, _ := strings.Cut(after, ",")
		if kind == "" {
			i := strings.LastIndex(strings.TrimSpace(response), "\n")
			before, _, _ = strings.Cut(strings.TrimSpace(response[i+1:]), ":")
		}
		return before + " " + kind
	}
	for _, row := range recorded {
		status, response := putConfig(t, h, row.Sent)
		if status != row.Status || shape(response) != shape(row.Answer) {
			t.Errorf("%s: %d %s\nRay: %d %s", row.Sent, status, shape(response), row.Status, shape(row.Answer))
		}
	}
	if status, response := putConfig(t, h, `{"applications":[]}`); status != http.StatusOK || response != "" {
		t.Errorf("an empty configuration: %d %q", status, response)
	}
}
