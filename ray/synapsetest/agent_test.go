package synapsetest

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// get sends a request without following redirects.
func get(t *testing.T, url string) (status int, body, location string) {
	t.Helper()
	c := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b), res.Header.Get("Location")
}

func TestAgent_RedirectsToSlash(t *testing.T) {
	a := New(t, Prefix("/p"))
	if status, _, to := get(t, a.URL()+"/jobs"); status != http.StatusTemporaryRedirect || to != a.URL()+"/jobs/" {
		t.Errorf("redirected with %d to %q", status, to)
	}
	if status, _, _ := get(t, a.URL()+"/jobs/"); status != http.StatusOK {
		t.Errorf("with the slash: %d", status)
	}
}

func TestFault_Matching(t *testing.T) {
	a := New(t)
	a.Submit("j", JobOptions{})
	a.Submit("k", JobOptions{})
	in := a.Inject(Fault{Endpoint: EndpointJob, Job: "j", Status: http.StatusTooManyRequests, Skip: 1, Times: 2})
	var got []int
	for range 4 {
		status, _, _ := get(t, a.URL()+"/jobs/j/")
		got = append(got, status)
	}
	other, _, _ := get(t, a.URL()+"/jobs/k/")
	list, _, _ := get(t, a.URL()+"/jobs/")
	if want := []int{200, 429, 429, 200}; !slices.Equal(got, want) || other != 200 || list != 200 || in.Hits() != 2 {
		t.Errorf("%d, another job %d, the list %d, %d hits", got, other, list, in.Hits())
	}
	if n := a.Requests(EndpointJob); n != 5 {
		t.Errorf("%d requests", n)
	}
}

func TestFault_CutsSSE(t *testing.T) {
	a := New(t)
	job := a.Submit("j", JobOptions{})
	job.Print("one\ntwo\n")
	job.End("SUCCEEDED", 0)
	_, whole, _ := get(t, a.URL()+"/jobs/j/logs/stream/")
	if !strings.HasSuffix(whole, "data: {\"type\": \"complete\"}\n\n") || strings.Count(whole, "data: ") != 3 {
		t.Errorf("whole body is %q", whole)
	}
	a.Inject(Fault{Action: CutClose, AfterBytes: 50})
	if _, cut, _ := get(t, a.URL()+"/jobs/j/logs/stream/"); cut != whole[:50] {
		t.Errorf("cut body is %q", cut)
	}
}

func TestMessageFormat(t *testing.T) {
	const log = "a\nbb\n\nüü\nlast"
	for _, row := range []struct {
		name  string
		shape MessageFormat
		want  []string
	}{
		{"lines", MessageFormat{}, []string{"a\n", "bb\n", "\n", "üü\n", "last"}},
		{"three lines", MessageFormat{Lines: 3}, []string{"a\nbb\n\n", "üü\n", "last"}},
		{"bytes, never within a character", MessageFormat{Bytes: 7}, []string{"a\nbb\n\nü", "ü\nlast"}},
	} {
		var got []string
		for text := []byte(log); ; {
			message := row.shape.next(text, true)
			if message == nil {
				break
			}
			got, text = append(got, string(message)), text[len(message):]
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %q", row.name, got)
		}
	}
	if got := (MessageFormat{}).next([]byte("no end"), false); got != nil {
		t.Errorf("an unterminated line was sent: %q", got)
	}
}
