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

// packages are two versions of raytap's, made once for all tests.
var packages struct {
	once     sync.Once
	dir      string
	err      error
	old, new string
}

// debs gives the files of the package: the one that is tested, and a newer one.
func debs(t *testing.T) (old, newer string) {
	t.Helper()
	p := &packages
	binary := program.Binary(t)
	p.once.Do(func() {
		p.dir = filepath.Dir(binary) // which goes with the binary
		for _, version := range []string{"1.2.3", "1.2.4"} {
			cmd := exec.Command(filepath.Join(root, "deploy/deb/build"), version, architecture, binary, p.dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Logf("%s", out)
				p.err = err
			}
		}
		p.old = filepath.Join(p.dir, "raytap_1.2.3_"+architecture+".deb")
		p.new = filepath.Join(p.dir, "raytap_1.2.4_"+architecture+".deb")
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.old, p.new
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
