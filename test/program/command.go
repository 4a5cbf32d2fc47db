package program

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// commandTimeout limits the waits of a Command.
const commandTimeout = 20 * time.Second

// Command is a raytap with an environment of its own, whose output is recorded.
type Command struct {
	*Process       // nil before Start or Serve
	Cmd            *exec.Cmd
	URL            string // of the HTTP server, after Serve
	Stdout, Stderr Output
	t              testing.TB
}

// NewCommand returns a raytap that is not started. Its home and its working directory
// are empty directories; env is added to its environment. The output is logged if the
// test fails.
func NewCommand(t testing.TB, env []string, args ...string) *Command {
	t.Helper()
	c := &Command{t: t, Cmd: Raytap(t, args...)}
	c.Cmd.Env = append([]string{"PATH=/nonexistent", "HOME=" + t.TempDir()}, env...)
	c.Cmd.Dir = t.TempDir()
	c.Cmd.Stdout, c.Cmd.Stderr = &c.Stdout, &c.Stderr
	return c
}

// Serve starts raytap with its HTTP server on a free port, waits until it serves, and
// returns c.
func (c *Command) Serve() *Command {
	c.t.Helper()
	c.logOutput()
	c.Process, c.URL = Serve(c.t, c.Cmd)
	return c
}

// Start starts raytap.
func (c *Command) Start() {
	c.t.Helper()
	c.logOutput()
	c.Process = Start(c.t, c.Cmd)
}

func (c *Command) logOutput() {
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("stderr:\n%s\nstdout:\n%.2000s", Last(c.Stderr.String(), 4000), c.Stdout.String())
		}
	})
}

// Code waits for the end of raytap and returns its exit code.
func (c *Command) Code() int {
	c.t.Helper()
	return c.Wait(commandTimeout)
}

// Get returns the body of a path of the HTTP server, "" if the request fails.
func (c *Command) Get(path string) string { return Get(c.URL + path) }

// Until polls for a condition while raytap runs, as Process.Until does.
func (c *Command) Until(what string, ok func() bool) {
	c.t.Helper()
	c.Process.Until(commandTimeout, what, ok)
}

// Run runs raytap to its end.
func Run(t testing.TB, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := NewCommand(t, env, args...)
	c.Start()
	code = c.Code()
	return code, c.Stdout.String(), c.Stderr.String()
}

// TempFile writes a configuration, or another file, into a directory of its own and
// returns its name.
func TempFile(t testing.TB, text string) string {
	t.Helper()
	return File(t, filepath.Join(t.TempDir(), "raytap.yaml"), text)
}
