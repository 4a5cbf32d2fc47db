//go:build e2e && linux

// Package systemd installs raytap's Debian package with dpkg and runs its unit
// under a real systemd: that of a small Debian which systemd-nspawn boots. The
// head is a fake one, inside of the machine's network, so that every line is known.
package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"raytap/test/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// root is the repository.
const root = "../.."

// needsRoot ends a test where no machine can be booted. On CI that is a failure:
// a stage that shows nothing must not pass.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	const why = "a machine is only booted by root"
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// building keeps tests from making the same package at once.
var building sync.Mutex

// deb makes the package of a version, once, and gives its file.
func deb(t *testing.T, version string) string {
	t.Helper()
	binary := program.Binary(t)
	dir := filepath.Dir(binary) // which is removed in the end
	file := filepath.Join(dir, "raytap_"+version+"_"+architecture+".deb")
	building.Lock()
	defer building.Unlock()
	if _, err := os.Stat(file); err == nil {
		return file
	}
	if out, err := exec.Command(filepath.Join(root, "deploy/deb/build"), version, architecture, binary, dir).CombinedOutput(); err != nil {
		t.Fatalf("build the package %s: %v\n%s", version, err, out)
	}
	return file
}

// fields reads lines of the form KEY=VALUE.
func fields(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		all[key] = value
	}
	return all
}
