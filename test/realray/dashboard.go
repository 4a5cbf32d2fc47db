//go:build linux

package realray

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Dashboard is a head's dashboard process, with all that is needed to start it again.
// Ray itself never restarts it.
type Dashboard struct {
	PID  int
	argv []string
	env  []string
	dir  string
}

// Dashboard finds the head's dashboard process.
func (h *Head) Dashboard() (Dashboard, error) {
	for _, pid := range descendants(h.supervisor.cmd.Process.Pid) {
		argv := nulFields(fmt.Sprintf("/proc/%d/cmdline", pid))
		if !isDashboard(argv) {
			continue
		}
		dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		if err != nil {
			return Dashboard{}, err
		}
		return Dashboard{PID: pid, argv: argv, env: nulFields(fmt.Sprintf("/proc/%d/environ", pid)), dir: dir}, nil
	}
	return Dashboard{}, errors.New("the head has no dashboard process")
}

// isDashboard reports whether a command line is the dashboard's. The titles of its
// modules contain its name, too.
func isDashboard(argv []string) bool {
	for _, arg := range argv {
		if strings.HasSuffix(arg, filepath.Join("dashboard", "dashboard.py")) {
			return true
		}
	}
	return false
}

// KillModule kills one of the dashboard's modules ("JobHead") with SIGKILL. The
// dashboard starts it again within some seconds (Ray 2.60.0).
func (h *Head) KillModule(name string) error {
	pid, err := h.module(name)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// ModuleCPU returns the CPU time that one of the dashboard's modules has used, with all
// its threads.
func (h *Head) ModuleCPU(name string) (time.Duration, error) {
	pid, err := h.module(name)
	if err != nil {
		return 0, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may contain any character; utime and stime are the
	// 12th and 13th field after it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100, nil // USER_HZ is 100 on all platforms of Ray
}

func (h *Head) module(name string) (pid int, err error) {
	for _, pid := range descendants(h.supervisor.cmd.Process.Pid) {
		title := nulFields(fmt.Sprintf("/proc/%d/cmdline", pid))
		if len(title) > 0 && strings.HasPrefix(title[0], "ray-dashboard-"+name+"-") {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("the dashboard has no module %s", name)
}

func nulFields(name string) []string {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	var fields []string
	for f := range bytes.SplitSeq(bytes.TrimRight(b, "\x00"), []byte{0}) {
		fields = append(fields, string(f))
	}
	return fields
}

// KillDashboard kills the dashboard process with SIGKILL and returns when it and its
// modules have exited. Pass the result to [Head.StartDashboard].
func (h *Head) KillDashboard(ctx context.Context) (Dashboard, error) {
	d, err := h.Dashboard()
	if err != nil {
		return d, err
	}
	modules := descendants(d.PID)
	if err := syscall.Kill(d.PID, syscall.SIGKILL); err != nil {
		return d, fmt.Errorf("kill the dashboard: %w", err)
	}
	for _, pid := range append(modules, d.PID) {
		for alive(pid) {
			select {
			case <-ctx.Done():
				return d, fmt.Errorf("process %d of the dashboard is still running: %w", pid, ctx.Err())
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return d, nil
}

func alive(pid int) bool {
	_, state, ok := stat(pid)
	return ok && state != "Z"
}

// StartDashboard starts a killed dashboard again with the same command line and
// environment, and returns when it is ready.
func (h *Head) StartDashboard(ctx context.Context, d Dashboard) error {
	_, err := h.supervisor.start(request{Argv: d.argv, Env: d.env, Dir: d.dir, Log: h.dashboardLog()})
	if err != nil {
		return fmt.Errorf("start the dashboard again: %w", err)
	}
	return h.WaitReady(ctx)
}

// dashboardLog is the log of a restarted dashboard.
func (h *Head) dashboardLog() string { return filepath.Join(h.Dir, "dashboard-restarted.log") }

// AgentPID returns the process id of the head's node agent.
func (h *Head) AgentPID() (int, error) {
	for _, pid := range descendants(h.supervisor.cmd.Process.Pid) {
		// The raylet has the agent's command in one of its arguments.
		isAgent := func(arg string) bool {
			return strings.HasSuffix(arg, "dashboard/agent.py") || strings.HasPrefix(arg, "ray-dashboard-agent") || strings.HasPrefix(arg, "ray::DashboardAgent")
		}
		if slices.ContainsFunc(nulFields(fmt.Sprintf("/proc/%d/cmdline", pid)), isAgent) {
			return pid, nil
		}
	}
	return 0, errors.New("the head has no node agent")
}
