package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// release builds a release from the current commit, in a clone in directory name, with a
// build cache, and returns its files.
func release(t *testing.T, name, cache string) map[string][]byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	must(t, "git", "clone", "-q", root, dir)
	if err := os.Symlink(filepath.Join(root, ".tools"), filepath.Join(dir, ".tools")); err != nil {
		t.Fatal(err)
	}
	if _, err := command(t, []string{"GOCACHE=" + cache}, filepath.Join(dir, "scripts/release"), "v1.2.3-rc.1", "linux/amd64"); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	entries, err := os.ReadDir(filepath.Join(dir, "dist"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, "dist", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = b
	}
	return files
}

func TestRelease_IsReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds everything twice")
	}
	a := release(t, "here", strings.TrimSpace(must(t, "go", "env", "GOCACHE")))
	// With another path and an empty build cache.
	b := release(t, "in/quite/another/place", t.TempDir())
	for _, name := range []string{
		"raytap_1.2.3-rc.1_linux_amd64.tar.gz", "raytap_1.2.3-rc.1_linux_amd64.cdx.json", "raytap_1.2.3~rc.1_amd64.deb", "SHA256SUMS",
	} {
		if a[name] == nil {
			t.Errorf("%s is missing", name)
		}
		if string(a[name]) != string(b[name]) {
			t.Errorf("%s differs between two builds", name)
		}
		delete(b, name)
		if sum := sha256.Sum256(a[name]); name != "SHA256SUMS" && !strings.Contains(string(a["SHA256SUMS"]), hex.EncodeToString(sum[:])+"  "+name+"\n") {
			t.Errorf("SHA256SUMS lacks %s", name)
		}
	}
	if len(b) > 0 {
		t.Errorf("%d unexpected files", len(b))
	}

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.tar.gz"), a["raytap_1.2.3-rc.1_linux_amd64.tar.gz"], 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "tar", "-C", dir, "-xzf", filepath.Join(dir, "a.tar.gz"))
	if v := must(t, filepath.Join(dir, "raytap_1.2.3-rc.1_linux_amd64/raytap"), "version"); !strings.Contains(v, "version 1.2.3-rc.1 (branch: release, revision: ") {
		t.Errorf("raytap version prints %q", v)
	}
	checkBill(t, a["raytap_1.2.3-rc.1_linux_amd64.cdx.json"])
}

// checkBill compares the bill of materials with the dependencies of the module.
func checkBill(t *testing.T, text []byte) {
	t.Helper()
	var bill struct {
		BomFormat  string
		Components []struct{ Name, Version, Purl string }
	}
	if err := json.Unmarshal(text, &bill); err != nil {
		t.Fatal(err)
	}
	if bill.BomFormat != "CycloneDX" {
		t.Errorf("the bill of materials has the format %q", bill.BomFormat)
	}
	var names []string
	for _, c := range bill.Components {
		names = append(names, c.Name)
		if c.Version == "" || c.Purl == "" {
			t.Errorf("the bill of materials lacks the version or purl of %s", c.Name)
		}
	}
	for line := range strings.Lines(must(t, "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", ".")) {
		if name := strings.TrimSpace(line); name != "" && !slices.Contains(names, name) {
			t.Errorf("the bill of materials lacks %s", name)
		}
	}
}

func TestRelease_InvalidVersion(t *testing.T) {
	for _, version := range []string{"", "1", "1.2", "latest", "1.2.3; rm", "1.2.3-"} {
		if _, err := command(t, nil, filepath.Join(root, "scripts/release"), version); err == nil {
			t.Errorf("version %q is accepted", version)
		}
	}
}

// TestPackage_Debian checks the metadata and the files of the package.
func TestPackage_Debian(t *testing.T) {
	dir := t.TempDir()
	must(t, "deploy/deb/build", "1.2.3-rc.1", "amd64", binary, dir)
	deb := filepath.Join(dir, "raytap_1.2.3~rc.1_amd64.deb")
	for field, want := range map[string]string{"Package": "raytap", "Version": "1.2.3~rc.1", "Architecture": "amd64"} {
		if got := strings.TrimSpace(must(t, "dpkg-deb", "--field", deb, field)); got != want {
			t.Errorf("%s is %q, want %q", field, got, want)
		}
	}
	for line := range strings.Lines(must(t, "dpkg-deb", "--contents", deb)) {
		if f := strings.Fields(line); f[1] != "root/root" || f[0][5] == 'w' || f[0][8] == 'w' || !strings.HasPrefix(f[0][7:], "r") {
			t.Errorf("%s", line)
		}
	}
	must(t, "dpkg-deb", "--extract", deb, dir)
	must(t, "dpkg-deb", "--control", deb, filepath.Join(dir, "DEBIAN"))
	if v := must(t, filepath.Join(dir, "usr/bin/raytap"), "version"); !strings.HasPrefix(v, "raytap, version") {
		t.Errorf("raytap version prints %q", v)
	}
	conffiles, err := os.ReadFile(filepath.Join(dir, "DEBIAN/conffiles"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.Lines(string(conffiles)) {
		text, err := os.ReadFile(filepath.Join(dir, strings.TrimSpace(name)))
		if err != nil {
			t.Fatal(err)
		}
		checkConfig(t, nil, string(text))
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		must(t, "sh", "-n", filepath.Join(dir, "DEBIAN", script))
	}
	// The command and the user of the unit.
	unit, err := os.ReadFile(filepath.Join(dir, "usr/lib/systemd/system/raytap.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nExecStart=/usr/bin/raytap --config.file=/etc/raytap/raytap.yaml\n", "\nUser=raytap\n"} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("the unit lacks %q", want)
		}
	}
	for name, text := range map[string]string{"passwd": "root:x:0:0::/root:/bin/sh\n", "group": "root:x:0:\n"} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must(t, tool(t, "systemd-sysusers"), "--root="+dir, "raytap.conf")
	if passwd, err := os.ReadFile(filepath.Join(dir, "etc/passwd")); err != nil || !strings.Contains(string(passwd), "\nraytap:x:") {
		t.Errorf("sysusers creates no user: %v %s", err, passwd)
	}
}

// maxExposure limits the exposure level of systemd-analyze security (0 to 10).
const maxExposure = 1.2

func TestUnit_IsValidAndHardened(t *testing.T) {
	unit := strings.ReplaceAll(read(t, "deploy/systemd/raytap.service"), "/usr/bin/raytap", binary)
	file := filepath.Join(t.TempDir(), "raytap.service")
	if err := os.WriteFile(file, []byte(unit), 0o600); err != nil {
		t.Fatal(err)
	}
	analyze := tool(t, "systemd-analyze")
	must(t, analyze, "verify", "--man=no", file)
	must(t, analyze, "security", "--offline=yes", fmt.Sprintf("--threshold=%d", int(maxExposure*10)), file)
	checkConfig(t, nil, read(t, "deploy/systemd/raytap.yaml"))
}
