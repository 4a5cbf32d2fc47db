//go:build linux

package realray

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

// daemon is a script that starts a daemon, which leaves its parent, group and session
// like Ray's do. It writes the PIDs of the daemon and its child to a file.
const daemon = `setsid sh -c 'trap "" TERM HUP INT; sleep 600 & echo $$ $! >"%s"; wait' &`

func startDaemon(t *testing.T, k *supervisor, dir string) []int {
	t.Helper()
	pidFile := filepath.Join(dir, "pids")
	a, err := k.start(request{
		Argv: []string{"/bin/sh", "-c", fmt.Sprintf(daemon, pidFile)},
		Env:  os.Environ(), Dir: "/", Log: filepath.Join(dir, "log"), Wait: true,
	})
	if err != nil || a.Exit != 0 {
		t.Fatalf("start: exit code %d, %v", a.Exit, err)
	}
	var found []int
	poll(t, "the daemon runs", func() bool {
		b, _ := os.ReadFile(pidFile)
		found = found[:0]
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return false
			}
			found = append(found, pid)
		}
		return len(found) == 2 && alive(found[0]) && alive(found[1])
	})
	return found
}

func TestSupervisor_KillsDaemons(t *testing.T) {
	dir, err := os.MkdirTemp(t.TempDir(), "head")
	if err != nil {
		t.Fatal(err)
	}
	k, err := startSupervisor(dir)
	if err != nil {
		t.Fatal(err)
	}
	daemons := startDaemon(t, k, dir)
	if err := k.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	for _, pid := range daemons {
		if alive(pid) {
			t.Errorf("process %d outlives the supervisor", pid)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory still exists: %v", err)
	}
}

func TestSupervisor_InputEndsDuringRequest(t *testing.T) {
	dir := t.TempDir()
	k, err := startSupervisor(filepath.Join(dir, "head"))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, k.closeInput)
	_, err = k.start(request{Argv: []string{"/bin/sleep", "600"}, Dir: "/", Log: filepath.Join(dir, "log"), Wait: true})
	if err == nil {
		t.Error("the request succeeds after the end of the input")
	}
	if err := k.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestSupervisor_CommandDoesNotExist(t *testing.T) {
	dir := t.TempDir()
	k, err := startSupervisor(filepath.Join(dir, "head"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = k.stop() }()
	if _, err := k.start(request{Argv: []string{"/no/such/command"}, Dir: "/", Log: filepath.Join(dir, "log")}); err == nil {
		t.Error("no error for a command that does not exist")
	}
}

func TestCleanEnv(t *testing.T) {
	for _, name := range []string{"RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAYTAP_X", "PYTHONPATH", "http_proxy", "HTTPS_PROXY"} {
		t.Setenv(name, "x")
	}
	t.Setenv("KEPT", "x")
	var kept bool
	for _, kv := range CleanEnv() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "KEPT":
			kept = true
		case "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAYTAP_X", "PYTHONPATH", "http_proxy", "HTTPS_PROXY":
			t.Errorf("%s is not removed", name)
		}
	}
	if !kept {
		t.Error("an unrelated variable is removed")
	}
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("timeout after 20 s: %s", what)
		}
	}
}
