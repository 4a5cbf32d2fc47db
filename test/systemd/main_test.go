//go:build e2e && linux

// Package systemd installs raytap's Debian package with dpkg and runs its unit under a
// real systemd, in a small Debian that systemd-nspawn boots. The head is a fake in the
// machine's network, so that every line is known.
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

const whyRoot = "booting a machine requires root"

// building serialises builds of the package.
var building sync.Mutex

// deb builds the package of a version, once, and returns its file.
func deb(t *testing.T, version string) string {
	t.Helper()
	binary := program.Binary(t)
	dir := filepath.Dir(binary) // removed by program.Main
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
