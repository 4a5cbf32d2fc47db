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

// strictParser fails on a page that is no valid OpenMetrics, and prints how many
// families it has. Ray brings prometheus_client along.
const strictParser = `
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
print(len(list(parse(sys.stdin.buffer.read().decode("utf-8")))))
`

// checkOpenMetrics has the reference parser of OpenMetrics, which is a strict
// one, read a page.
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
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if kind := answer.Header.Get("Content-Type"); err != nil || !strings.HasPrefix(kind, "application/openmetrics-text") {
		t.Fatalf("%s, %v", kind, err)
	}
	parser := exec.CommandContext(t.Context(), python, "-c", strictParser)
	parser.Stdin = strings.NewReader(string(page))
	if out, err := parser.CombinedOutput(); err != nil {
		t.Errorf("a strict parser refuses the page: %v\n%.2000s", err, out)
	}
}
