//go:build e2e && linux

// Package pipelines runs raytap with each program that can be had between it and
// a store, by the configurations in deploy/pipelines, and compares what the store
// holds with what the jobs printed.
package pipelines

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary is the raytap under test; tools is where the Makefile put the others.
var binary, tools string

const shipped = "../../deploy/pipelines"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "raytap-pipelines")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if tools, err = filepath.Abs("../../.tools/bin"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary = filepath.Join(dir, "raytap")
	build := exec.Command("go", "build", "-o", binary, "../..")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build raytap:", err)
		return 1
	}
	return m.Run()
}

// tool gives the path of one of the programs that scripts/tools installs. A
// test without it would show nothing, so it fails.
func tool(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(tools, name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("there is no %s to test with (make pipelines installs it): %v", name, err)
	}
	return path
}

// process is one that ends with the test at the latest.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	exited chan struct{}
	said   *said
}

// said is what a process wrote, the last of it.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.b.Len() > 1<<20 {
		s.b.Reset()
	}
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start runs a program whose pipes and environment, beside PATH and HOME, are set.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, exited: make(chan struct{}), said: &said{}}
	cmd.Env = append(cmd.Env, "PATH="+os.Getenv("PATH"), "HOME="+t.TempDir())
	// It must not outlive the test.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if cmd.Stdout == nil {
		cmd.Stdout = p.said
	}
	cmd.Stderr = p.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // whether it was told to end is what counts
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			text := p.said.String()
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), text[max(0, len(text)-3000):])
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // one that has ended is fine
	<-p.exited
}

// stop asks the process to end, and waits.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		p.t.Fatalf("%s does not stop", filepath.Base(p.cmd.Path))
	}
}

// until polls for a condition while the process runs.
func (p *process) until(d time.Duration, what string, ok func() bool) {
	p.t.Helper()
	limit := time.After(d)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-p.exited:
			p.t.Fatalf("%s ended before this: %s", filepath.Base(p.cmd.Path), what)
		case <-limit:
			p.t.Fatalf("not within %s: %s", d, what)
		case <-tick.C:
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get gives the body of a page, "" where there is none.
func get(url string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	res, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(b)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
