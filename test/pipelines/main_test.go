//go:build e2e && linux

// Package pipelines runs raytap with the log collectors for which deploy/pipelines has
// configurations, and compares the content of the store with the output of the jobs.
package pipelines

import (
	"os"
	"testing"

	"raytap/test/program"
)

const configs = "../../deploy/pipelines"

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
