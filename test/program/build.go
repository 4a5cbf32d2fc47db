// Package program builds the real raytap for tests, and runs it and other programs so
// that no process outlives its test.
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
	dir  string // "" until the first call of Binary
	err  error
}

// Main runs the tests of a package, removes the binary of raytap, and returns the exit
// code of the process.
func Main(m *testing.M) int {
	defer func() {
		if built.dir != "" {
			os.RemoveAll(built.dir)
		}
	}()
	return m.Run()
}

// Binary returns the path of a raytap binary like the released one, in a directory of
// its own. The first call in a package builds it. The package's TestMain must call Main.
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

// Build builds a main package of raytap and writes the binary to file.
func Build(file, pkg string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-o", file, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// Find returns the path of a program that scripts/tools installs. name is its path in
// .tools, such as "bin/vlagent".
func Find(name string) (string, error) {
	root, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for !isFile(filepath.Join(root, "go.mod")) {
		if root == filepath.Dir(root) {
			return "", fmt.Errorf("find .tools/%s: the working directory is not in a module", name)
		}
		root = filepath.Dir(root)
	}
	path := filepath.Join(root, ".tools", filepath.FromSlash(name))
	if !isFile(path) {
		return "", fmt.Errorf("%s does not exist: install it with scripts/tools, as the Makefile's targets do", path)
	}
	return path, nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// Tool is Find, but a missing program fails the test.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Raytap returns a command of the raytap binary. It is not started.
func Raytap(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(Binary(t), args...)
}

// Serve starts a command returned by Raytap, with its HTTP server on a free port, and
// waits until the server is ready. url is the server's URL without a path.
func Serve(t testing.TB, cmd *exec.Cmd) (p *Process, url string) {
	t.Helper()
	address := FreeAddress(t)
	cmd.Args = append(cmd.Args, "--web.listen-address", address)
	p, url = Start(t, cmd), "http://"+address
	p.Until(20*time.Second, "raytap serves HTTP", func() bool { return Get(url+"/-/healthy") != "" })
	return p, url
}
