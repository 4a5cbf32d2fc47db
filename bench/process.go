package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait for a condition.
const patience = 10 * time.Minute

// process is one that is measured, or that serves a measurement.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer // its end ends those that serve
	url   string    // of those that print one
}

// launch starts a process. out is its stdout; nil is /dev/null.
func launch(out *os.File, name string, args ...string) (*process, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	if out != nil {
		cmd.Stdout = out
	}
	return &process{cmd: cmd}, cmd.Start()
}

// serve starts a part of this very program that prints its URL and serves until
// its stdin ends.
func serve(self string, args ...string) (*process, error) {
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	return &process{cmd: cmd, stdin: in, url: strings.TrimSpace(url)}, err
}

// stop ends a process and waits for it.
func (p *process) stop() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	} else {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	_ = p.cmd.Wait()
}

// cpu is the user and system time that the process has taken so far.
func (p *process) cpu() time.Duration {
	var t unix.Timespec
	// The id of a process's CPU clock, as clock_getcpuclockid(3) makes it.
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|2), &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// memory reads a figure of the process's status, in bytes: VmRSS or VmHWM.
func (p *process) memory(key string) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(line, ":"); name == key {
			kb, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// await asks until it is so.
func await(what string, so func() bool) error {
	for began := time.Now(); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > patience {
			return fmt.Errorf("waited in vain until %s", what)
		}
	}
	return nil
}

// fetch gives the body of a page, "" where there is none.
func fetch(url string) string {
	res, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return string(b)
}

// sample sums the samples of one metric on a page.
func sample(page, name string) float64 {
	sum := 0.0
	for line := range strings.Lines(page) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		fields := strings.Fields(rest)
		v, _ := strconv.ParseFloat(fields[len(fields)-1], 64)
		sum += v
	}
	return sum
}

// freeAddress gives an address of loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
