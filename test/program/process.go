package program

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Output is what a process says, the last MiB of it at most. It may be read
// while the process writes. The zero value is ready for use.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

const keep = 1 << 20

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(p)
	p = p[max(0, n-keep):]
	o.b.Next(max(0, o.b.Len()+len(p)-keep))
	o.b.Write(p)
	return n, nil
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Last gives the end of a text, n bytes of it at most.
func Last(text string, n int) string { return text[max(0, len(text)-n):] }

// Process is one that ends with its test at the latest. Its methods are for the
// test's goroutine.
type Process struct {
	Cmd    *exec.Cmd
	Exited <-chan struct{} // closed once it has ended and all that it wrote is taken
	Said   Output          // what went to neither a stdout nor a stderr of the test's own
	t      testing.TB
}

// Env is the environment of a process that has nothing of the user's: PATH, an
// empty HOME, and more.
func Env(t testing.TB, more ...string) []string {
	t.Helper()
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, more...)
}

// Start starts a process. Where its environment is nil it gets Env; a stdout or
// stderr that is nil is kept in Said, the end of which is logged if the test fails.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	exited := make(chan struct{})
	p := &Process{Cmd: cmd, Exited: exited, t: t}
	if cmd.Env == nil {
		cmd.Env = Env(t)
	}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.Said
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.Said
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	dieWithParent(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // the state tells all
		close(exited)
	}()
	t.Cleanup(func() {
		p.Kill()
		if text := p.Said.String(); t.Failed() && text != "" {
			t.Logf("%s said:\n%s", p.name(), Last(text, 4000))
		}
	})
	return p
}

func (p *Process) name() string { return filepath.Base(p.Cmd.Path) }

// Signal sends a signal to a process that runs.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %s to %s: %v", s, p.name(), err)
	}
}

// Kill kills the process and waits for its end; one that has ended is fine.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	<-p.Exited
}

// Stop sends SIGTERM and gives the exit code, as Wait does.
func (p *Process) Stop(limit time.Duration) int {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait(limit)
}

// Wait waits for the end and gives the exit code, -1 of a process that a signal
// ended. One that does not end in time fails the test.
func (p *Process) Wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.Exited:
		return p.Cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("%s does not end within %s", p.name(), limit)
		return -1
	}
}

// Until polls for a condition while the process runs. What is not so in time, or
// when the process has ended, fails the test.
func (p *Process) Until(limit time.Duration, what string, ok func() bool) {
	p.t.Helper()
	over := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-p.Exited:
			p.t.Fatalf("%s ended (%s) before this: %s", p.name(), p.Cmd.ProcessState, what)
		case <-over:
			p.t.Fatalf("not within %s: %s", limit, what)
		case <-tick.C:
		}
	}
}
