//go:build linux

// Command agent measures what raytap costs Ray's node agent: it starts its own Ray, fills its
// log directory with files of workers, and compares the CPU time of the agent's process
// without and with raytap. See docs/sizing.md.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"raytap/test/realray"
)

func main() {
	realray.Main()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

// measurement is one row of the table.
type measurement struct {
	name     string
	quiet    int // workers whose two files are read, and stay as they are
	old      int // files of workers that ended before raytap was started; they are listed only
	backfill string
}

var measurements = []measurement{
	{"200 quiet workers, 400 files", 200, 0, "all"},
	{"50,000 files of ended workers", 0, 50_000, "running"},
}

type settings struct {
	ray, raytap     string
	idle, settle, d time.Duration
}

func run() error {
	var s settings
	flag.StringVar(&s.ray, "ray", ".tools/ray/bin/ray", "the ray command")
	flag.StringVar(&s.raytap, "raytap", "bin/raytap", "raytap binary to measure")
	flag.DurationVar(&s.idle, "idle", 2*time.Minute, "measures the agent without raytap for so long")
	flag.DurationVar(&s.settle, "settle", 2*time.Minute, "raytap runs for so long before it is measured: until quiet files are read at the longest interval")
	flag.DurationVar(&s.d, "for", 5*time.Minute, "measures the agent with raytap for so long")
	only := flag.Int("only", 0, "the number of the only row to measure; 0: all")
	flag.Parse()
	for _, p := range []*string{&s.ray, &s.raytap} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	fmt.Println("| log directory | CPU of the agent without raytap | with raytap | raytap's part | requests/s | CPU of raytap | memory of raytap |\n|---|---|---|---|---|---|---|")
	for i, m := range measurements {
		if *only == 0 || *only == i+1 {
			if err := s.measure(m); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	return nil
}

// measure measures one row, on a Ray of its own.
func (s settings) measure(m measurement) error {
	starting, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	head, err := realray.Start(starting, realray.Options{Ray: s.ray, CPUs: 1})
	if err != nil {
		return err
	}
	defer head.Stop() //nolint:errcheck // it is a measurement
	if err := fill(head.LogDir(), m); err != nil {
		return err
	}
	pid, err := head.AgentPID()
	if err != nil {
		return err
	}
	idle := share(pid, s.idle)
	port, err := realray.FreePorts(1)
	if err != nil {
		return err
	}
	file := filepath.Join(head.Dir, "raytap.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
clusters: [{name: bench, url: %q}]
collector: {enabled: false}
shipper: {sources: [driver, worker], discovery: {backfill: %s}}
sink: {file: {path: %q}}
web: {listen_addresses: ["127.0.0.1:%d"]}
log: {level: warn}
`, head.URL, m.backfill, filepath.Join(head.Dir, "raytap.jsonl"), port[0]), 0o600); err != nil {
		return err
	}
	tap := exec.Command(s.raytap, "--config.file", file)
	tap.Stderr = os.Stderr
	if err := tap.Start(); err != nil {
		return err
	}
	defer tap.Wait()                          //nolint:errcheck // its signal ends it
	defer tap.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	time.Sleep(s.settle)
	requests, own := agentRequests(head.LogDir()), cpu(tap.Process.Pid)
	with := share(pid, s.d)
	rate := float64(agentRequests(head.LogDir())-requests) / s.d.Seconds()
	fmt.Printf("| %s | %.2f %% | %.2f %% | %.2f %% | %.1f | %.2f %% | %s |\n", m.name, idle, with, with-idle, rate,
		100*(cpu(tap.Process.Pid)-own).Seconds()/s.d.Seconds(), resident(tap.Process.Pid))
	return nil
}

// fill writes files as Ray names those of workers: as many lines as a worker prints that has
// little to say.
func fill(dir string, m measurement) error {
	text := []byte(":job_id:01000000\n:task_name:train\n" + strings.Repeat("step\n", 20))
	for i := range m.quiet + m.old/2 {
		for _, stream := range []string{"out", "err"} {
			name := fmt.Sprintf("worker-%056x-01000000-%d.%s", 0xabc000000+i, 100_000+i, stream)
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// share returns the CPU that a process uses for some time (percent of a core).
func share(pid int, d time.Duration) float64 {
	began, used := time.Now(), cpu(pid)
	time.Sleep(d)
	return 100 * (cpu(pid) - used).Seconds() / time.Since(began).Seconds()
}

// cpu returns the user and system time of a process so far.
func cpu(pid int) time.Duration {
	var t unix.Timespec
	// The id of the process's CPU clock, computed as in clock_getcpuclockid(3).
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// resident returns the resident memory of a process, as /proc shows it.
func resident(pid int) string {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")))
			return fmt.Sprintf("%.0f MiB", float64(n)/1024)
		}
	}
	return errors.ErrUnsupported.Error()
}

// agentRequests returns how many requests for logs the agent has answered: it logs each one.
func agentRequests(dir string) int {
	text, _ := os.ReadFile(filepath.Join(dir, "dashboard_agent.log"))
	return bytes.Count(text, []byte(" /logs/"))
}
