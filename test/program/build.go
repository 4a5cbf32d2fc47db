// Package program builds the real raytap for tests, and runs it and other
// programs so that none outlives its test.
package program

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

var built struct {
	once sync.Once
	dir  string // "" until the first test asks
	err  error
}

// Main runs the tests of a package, removes the binary that they ran, and gives
// the exit code of the process.
func Main(m *testing.M) int {
	defer func() {
		if built.dir != "" {
			os.RemoveAll(built.dir)
		}
	}()
	return m.Run()
}

// Binary gives the path of raytap as it is released, in a folder of its own. It
// is built once for a package's tests, by the first that asks. The package's
// TestMain has to call Main.
func Binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "raytap-test"); built.err != nil {
			return
		}
		built.err = Build(filepath.Join(built.dir, "raytap"), "raytap")
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "raytap")
}

// Build builds a main package of raytap into a file.
func Build(file, pkg string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-o", file, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// Find gives the path of a program that scripts/tools installs, by its place
// under .tools: "bin/vlagent".
func Find(place string) (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for !isFile(filepath.Join(root, "go.mod")) {
		if root == filepath.Dir(root) {
			return "", fmt.Errorf("the tests do not run in a folder of a module, so that .tools/%s cannot be found", place)
		}
		root = filepath.Dir(root)
	}
	path := filepath.Join(root, ".tools", filepath.FromSlash(place))
	if !isFile(path) {
		return "", fmt.Errorf("there is no %s to test with (scripts/tools installs it, as the Makefile's targets do)", path)
	}
	return path, nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// Tool is Find where a missing program fails the test, which would show nothing.
func Tool(t testing.TB, place string) string {
	t.Helper()
	path, err := Find(place)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Raytap is a command of the binary, not started yet.
func Raytap(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(Binary(t), args...)
}

// Serve starts a raytap that Raytap gave, with its page on a free port, and waits
// until it is served. url is the page's, without a path.
func Serve(t testing.TB, cmd *exec.Cmd) (p *Process, url string) {
	t.Helper()
	address := FreeAddress(t)
	cmd.Args = append(cmd.Args, "--web.listen-address", address)
	p, url = Start(t, cmd), "http://"+address
	p.Until(20*time.Second, "raytap serves its page", func() bool { return Get(url+"/-/healthy") != "" })
	return p, url
}
