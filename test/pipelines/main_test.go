//go:build e2e && linux

// Package pipelines runs raytap with each program that can be had between it and
// a store, by the configurations in deploy/pipelines, and compares what the store
// holds with what the jobs printed.
package pipelines

import (
	"os"
	"testing"

	"raytap/test/program"
)

const shipped = "../../deploy/pipelines"

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
