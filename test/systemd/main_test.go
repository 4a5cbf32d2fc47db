//go:build e2e && linux

// Package systemd installs raytap's Debian package with dpkg and runs its unit
// under a real systemd: that of a small Debian which systemd-nspawn boots. The
// head is a fake one, inside of the machine's network, so that every line is known.
package systemd

import (
	"fmt"
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

// packages are two versions of raytap's, made once for all tests.
var packages struct {
	once       sync.Once
	err        error
	old, newer string
}

// debs gives the files of the package: the one that is tested, and a newer one.
func debs(t *testing.T) (old, newer string) {
	t.Helper()
	p := &packages
	p.once.Do(func() {
		binary := program.Binary(t)
		dir := filepath.Dir(binary) // which goes with it
		build := func(version string) (string, error) {
			out, err := exec.Command(filepath.Join(root, "deploy/deb/build"), version, architecture, binary, dir).CombinedOutput()
			if err != nil {
				err = fmt.Errorf("build the package %s: %w\n%s", version, err, out)
			}
			return filepath.Join(dir, "raytap_"+version+"_"+architecture+".deb"), err
		}
		var err error
		if p.old, err = build("1.2.3"); err == nil {
			p.newer, err = build("1.2.4")
		}
		p.err = err
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.old, p.newer
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
