// Package deploy checks how raytap is deployed: the chart, the manifests, the unit, the
// package, the release, and the configurations of log collectors. It is a separate module,
// so that its dependencies are not those of raytap.
package deploy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// root is the repository, binary the raytap under test.
var root, binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "raytap-deploy")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if root, err = filepath.Abs("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary = filepath.Join(dir, "raytap")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir, build.Stderr = root, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build raytap:", err)
		return 1
	}
	return m.Run()
}

// tool returns the path of a program that scripts/tools installs, or else of a program of
// the system. A missing program fails the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(root, ".tools", "bin", name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed (run `make deploy`): %v", name, err)
	}
	return path
}

// command runs a program in the repository and returns its stdout. Its stderr is part of
// the error.
func command(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, &out, &stderr
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), stderr.String())
	}
	return out.String(), nil
}

// must is command, but an error ends the test.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command(t, nil, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkConfig validates a configuration with raytap.
func checkConfig(t *testing.T, env []string, text string) {
	t.Helper()
	if _, err := command(t, env, binary, "config", "check", write(t, "raytap.yaml", text)); err != nil {
		t.Error(err)
	}
}
