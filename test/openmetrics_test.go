//go:build e2e && linux

package test

import (
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"raytap/test/program"
)

// strictParser fails on invalid OpenMetrics, and prints the number of metric families.
// prometheus_client is installed with Ray.
const strictParser = `
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
print(len(list(parse(sys.stdin.buffer.read().decode("utf-8")))))
`

// checkOpenMetrics parses an exposition with the strict reference parser of OpenMetrics.
func checkOpenMetrics(t *testing.T, url string) {
	t.Helper()
	python, err := program.Find("ray/bin/python")
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if kind := res.Header.Get("Content-Type"); err != nil || !strings.HasPrefix(kind, "application/openmetrics-text") {
		t.Fatalf("%s, %v", kind, err)
	}
	parser := exec.CommandContext(t.Context(), python, "-c", strictParser)
	parser.Stdin = strings.NewReader(string(body))
	if out, err := parser.CombinedOutput(); err != nil {
		t.Errorf("the exposition is not valid OpenMetrics: %v\n%.2000s", err, out)
	}
}
