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

// waitTimeout limits each wait for a condition.
const waitTimeout = 10 * time.Minute

// process is a measured process or one that serves a measurement.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer // closing it ends a serving process
	url   string    // of a serving process
}

// launch starts a process. out is its stdout; nil means /dev/null.
func launch(out *os.File, name string, args ...string) (*process, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	if out != nil {
		cmd.Stdout = out
	}
	return &process{cmd: cmd}, cmd.Start()
}

// serve starts this program as a subprocess that prints its URL and serves until its
// stdin ends.
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

// cpu returns the user and system time of the process so far.
func (p *process) cpu() time.Duration {
	var t unix.Timespec
	// The ID of the process's CPU clock, computed as in clock_getcpuclockid(3).
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|2), &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// memory returns a value of the process's status in bytes: VmRSS or VmHWM.
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

// await polls until the condition holds.
func await(what string, condition func() bool) error {
	for began := time.Now(); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > waitTimeout {
			return fmt.Errorf("timeout after %s: waiting until %s", waitTimeout, what)
		}
	}
	return nil
}

// fetch returns the body of a response, "" on an error.
func fetch(url string) string {
	res, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return string(b)
}

// sample returns the sum of the samples of one metric.
func sample(text, name string) float64 {
	sum := 0.0
	for line := range strings.Lines(text) {
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

// freeAddress returns a free loopback address.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
