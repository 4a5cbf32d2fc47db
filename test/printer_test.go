//go:build e2e && linux

package test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"raytap/test/realray"
)

// A printer is a job that runs jobs/printer.py. text returns its output.
type printer struct {
	Mode    string
	Count   int
	Seconds float64
	Exit    int
	Name    string // job_name; the mode if empty
}

func (p printer) name() string {
	if p.Name != "" {
		return p.Name
	}
	return p.Mode
}

// submit submits the printer as a job and returns its submission ID. The metadata names
// the test, so that only this test's raytap selects the job.
func (p printer) submit(ctx context.Context, t *testing.T, c *realray.Client) string {
	t.Helper()
	script, err := filepath.Abs("jobs/printer.py")
	if err != nil {
		t.Fatal(err)
	}
	id, err := c.Submit(ctx, realray.Submission{
		Entrypoint: fmt.Sprintf("exec python3 -S -E '%s' %s %d %g %d", script, p.Mode, p.Count, p.Seconds, p.Exit),
		Metadata:   map[string]string{"job_name": p.name(), "test": t.Name()},
	})
	if err != nil {
		t.Fatalf("submit %s: %v", p.name(), err)
	}
	return id
}

// letters is LETTERS of jobs/printer.py.
var letters = []rune("aéñ漢字…🚀\u200bz")

// text returns line k without its line end, like text in jobs/printer.py.
func (p printer) text(k int) []byte {
	switch p.Mode {
	case "long":
		return append(fmt.Appendf(nil, "long %06d ", k), bytes.Repeat([]byte("x"), 20_000+38_000*(k%11))...)
	case "bytes":
		return append(fmt.Appendf(nil, "bytes %06d ", k), byte(0x80+k%128), 0xC3, 0x28, 0xFF, 0x41)
	}
	return fmt.Appendf(nil, "%s %06d %s", p.Mode, k, strings.Repeat(string(letters[k%len(letters)]), 1+k%40))
}
