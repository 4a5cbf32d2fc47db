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

// Output keeps the last MiB of the output of a process. It may be read while the process
// writes. The zero value is ready to use.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

const maxOutput = 1 << 20

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := len(p)
	p = p[max(0, n-maxOutput):]
	o.b.Next(max(0, o.b.Len()+len(p)-maxOutput))
	o.b.Write(p)
	return n, nil
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// Last returns the last n bytes of a text, or all of it if it is shorter.
func Last(text string, n int) string { return text[max(0, len(text)-n):] }

// Process is a process that ends with its test at the latest. Call its methods from the
// test's goroutine.
type Process struct {
	Cmd    *exec.Cmd
	Exited <-chan struct{} // closed when it has exited and its output is complete
	Output Output          // stdout and stderr, unless the test has set its own
	t      testing.TB
}

// Env returns an environment without the user's variables: PATH, an empty HOME, and
// more.
func Env(t testing.TB, more ...string) []string {
	t.Helper()
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, more...)
}

// Start starts a process. A nil environment is replaced by Env. A nil stdout or stderr
// is kept in Output, the end of which is logged if the test fails.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	exited := make(chan struct{})
	p := &Process{Cmd: cmd, Exited: exited, t: t}
	if cmd.Env == nil {
		cmd.Env = Env(t)
	}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.Output
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.Output
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	dieWithParent(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // ProcessState has the result
		close(exited)
	}()
	t.Cleanup(func() {
		p.Kill()
		if text := p.Output.String(); t.Failed() && text != "" {
			t.Logf("output of %s:\n%s", p.name(), Last(text, 4000))
		}
	})
	return p
}

func (p *Process) name() string { return filepath.Base(p.Cmd.Path) }

// Signal sends a signal to a running process.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.Cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("send %s to %s: %v", s, p.name(), err)
	}
}

// Kill kills the process and waits until it has exited. It may have exited before.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	<-p.Exited
}

// Stop sends SIGTERM, waits, and returns the exit code like Wait.
func (p *Process) Stop(limit time.Duration) int {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	return p.Wait(limit)
}

// Wait waits until the process exits and returns the exit code, -1 if a signal ended
// it. A timeout fails the test.
func (p *Process) Wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.Exited:
		return p.Cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("%s does not exit within %s", p.name(), limit)
		return -1
	}
}

// Until polls until a condition holds. A timeout, or the exit of the process, fails the
// test.
func (p *Process) Until(limit time.Duration, what string, ok func() bool) {
	p.t.Helper()
	timeout := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-p.Exited:
			p.t.Fatalf("%s exited (%s) while the test waited until %s", p.name(), p.Cmd.ProcessState, what)
		case <-timeout:
			p.t.Fatalf("timeout after %s: waiting until %s", limit, what)
		case <-tick.C:
		}
	}
}
