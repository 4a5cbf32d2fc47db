//go:build linux

package realray

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// supervisorEnv marks a process as a supervisor. Its value is the directory that the
// supervisor removes at its end.
const supervisorEnv = "RAYTAP_REALRAY_SUPERVISOR"

// killTimeout limits how long a supervisor tries to kill its descendants.
const killTimeout = 20 * time.Second

// Main runs the process as a supervisor if it was started as one, and then does not
// return. A program that uses this package must call it first.
func Main() {
	if dir, ok := os.LookupEnv(supervisorEnv); ok {
		os.Exit(supervise(dir, os.Stdin, os.Stdout))
	}
}

// request requests a process from a supervisor. With Wait, the response comes when the
// process has exited.
type request struct {
	Argv []string
	Env  []string
	Dir  string
	Log  string // file to which stdout and stderr are appended
	Wait bool
}

// response is the supervisor's response to a request.
type response struct {
	PID   int
	Exit  int // exit code, -1 after a signal; only with Wait
	Error string
}

// supervise handles requests until in ends, then kills all descendants and removes
// dir. It returns the exit code.
func supervise(dir string, in io.Reader, out io.Writer) int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "realray: become a subreaper:", err)
		return 1
	}
	// Ctrl-C reaches the whole foreground group; the end of in is the only stop.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	r := newReaper()
	enc := json.NewEncoder(out)
	requests, closed := readRequests(in)
	for q := range requests {
		_ = enc.Encode(r.handle(q, closed)) // if the reader is gone, in ends, too
	}
	code := 0
	if n := killDescendants(os.Getpid(), killTimeout); n > 0 {
		fmt.Fprintf(os.Stderr, "realray: %d processes cannot be killed\n", n)
		code = 1
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "realray: remove the head's directory:", err)
		code = 1
	}
	return code
}

// readRequests reads in until it ends, also while a request is handled, and then
// closes both channels.
func readRequests(in io.Reader) (<-chan request, <-chan struct{}) {
	requests, closed := make(chan request), make(chan struct{})
	go func() {
		defer close(requests)
		defer close(closed)
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var q request
			if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
				fmt.Fprintln(os.Stderr, "realray: decode a request:", err)
				return
			}
			requests <- q
		}
	}()
	return requests, closed
}

// reaper waits for all child processes, its own and adopted ones.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan int // by PID
}

func newReaper() *reaper {
	r := &reaper{waiting: make(map[int]chan int)}
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	go func() {
		for range died {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c, ok := r.waiting[pid]; ok {
			delete(r.waiting, pid)
			c <- status.ExitStatus()
		}
	}
}

// handle starts a process. With Wait, it returns when the process exits or closed is
// closed.
func (r *reaper) handle(q request, closed <-chan struct{}) response {
	pid, exited, err := r.start(q)
	if err != nil {
		return response{Error: err.Error()}
	}
	res := response{PID: pid}
	if !q.Wait {
		return res
	}
	select {
	case res.Exit = <-exited:
	case <-closed:
		res.Error = "the input of the supervisor was closed"
	}
	return res
}

func (r *reaper) start(q request) (int, <-chan int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	log, err := os.OpenFile(q.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, nil, err
	}
	defer log.Close()
	path, err := exec.LookPath(q.Argv[0])
	if err != nil {
		return 0, nil, err
	}
	// Without the lock, reap could reap the child before it is in the map.
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, q.Argv, &syscall.ProcAttr{
		Dir:   q.Dir,
		Env:   q.Env,
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", path, err)
	}
	exited := make(chan int, 1)
	r.waiting[pid] = exited
	return pid, exited, nil
}

// killDescendants kills the descendants of root until none is left or the timeout has
// passed. It returns how many are left. It repeats, because a process can fork before it
// is killed.
func killDescendants(root int, timeout time.Duration) int {
	deadline := time.Now().Add(timeout)
	for {
		pids := descendants(root)
		if len(pids) == 0 || time.Now().After(deadline) {
			return len(pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have exited
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// descendants returns the PIDs of all descendants of root, except zombies.
func descendants(root int) []int {
	children := make(map[int][]int)
	for _, pid := range pids() {
		parent, state, ok := stat(pid)
		if ok && state != "Z" {
			children[parent] = append(children[parent], pid)
		}
	}
	var all []int
	for next := []int{root}; len(next) > 0; {
		pid := next[0]
		next = append(next[1:], children[pid]...)
		if pid != root {
			all = append(all, pid)
		}
	}
	return all
}

func pids() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// stat returns the parent and the state of a process. The process's name may contain
// spaces and parentheses; it ends at the last ')'.
func stat(pid int) (parent int, state string, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, "", false
	}
	_, rest, found := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 2 {
		return 0, "", false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[0], err == nil
}
