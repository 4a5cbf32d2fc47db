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

// keeperEnv marks a process as a keeper; its value is the directory that goes
// with the head.
const keeperEnv = "RAYTAP_REALRAY_KEEPER"

// killTimeout bounds how long a keeper tries to get rid of its descendants.
const killTimeout = 20 * time.Second

// Main turns the process into a keeper if it was started as one, and then does
// not return. A program that uses this package calls it first of all.
func Main() {
	if dir, ok := os.LookupEnv(keeperEnv); ok {
		os.Exit(keep(dir, os.Stdin, os.Stdout))
	}
}

// order asks a keeper to start a process; Wait asks it to answer only when the
// process has ended.
type order struct {
	Argv []string
	Env  []string
	Dir  string
	Log  string // file that standard output and error are appended to
	Wait bool
}

// answer is what a keeper says of an order.
type answer struct {
	PID   int
	Exit  int // exit code, -1 for a signal; of a waited order only
	Error string
}

// keep carries out orders until in ends, then kills every descendant and
// removes dir.
func keep(dir string, in io.Reader, out io.Writer) int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "realray: become a subreaper:", err)
		return 1
	}
	// Ctrl-C reaches the whole foreground group; the end of in is the only stop.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	r := newReaper()
	enc := json.NewEncoder(out)
	orders, gone := readOrders(in)
	for o := range orders {
		_ = enc.Encode(r.carryOut(o, gone)) // a reader that is gone also ends in
	}
	code := 0
	if left := killDescendants(os.Getpid(), killTimeout); left > 0 {
		fmt.Fprintf(os.Stderr, "realray: %d processes could not be killed\n", left)
		code = 1
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "realray: remove the head's directory:", err)
		code = 1
	}
	return code
}

// readOrders reads in to its end, which it tells by closing gone and orders:
// also while an order is being carried out.
func readOrders(in io.Reader) (<-chan order, <-chan struct{}) {
	orders, gone := make(chan order), make(chan struct{})
	go func() {
		defer close(orders)
		defer close(gone)
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var o order
			if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
				fmt.Fprintln(os.Stderr, "realray: order:", err)
				return
			}
			orders <- o
		}
	}()
	return orders, gone
}

// reaper waits for all children of the process, its own and adopted ones.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan int // by pid
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

func (r *reaper) carryOut(o order, gone <-chan struct{}) answer {
	pid, ended, err := r.start(o)
	if err != nil {
		return answer{Error: err.Error()}
	}
	a := answer{PID: pid}
	if !o.Wait {
		return a
	}
	select {
	case a.Exit = <-ended:
	case <-gone:
		a.Error = "nobody waits any more"
	}
	return a
}

func (r *reaper) start(o order) (int, <-chan int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	log, err := os.OpenFile(o.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, nil, err
	}
	defer log.Close()
	path, err := exec.LookPath(o.Argv[0])
	if err != nil {
		return 0, nil, err
	}
	// The lock keeps reap from seeing the child before it is in the map.
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, o.Argv, &syscall.ProcAttr{
		Dir:   o.Dir,
		Env:   o.Env,
		Files: []uintptr{null.Fd(), log.Fd(), log.Fd()},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", path, err)
	}
	ended := make(chan int, 1)
	r.waiting[pid] = ended
	return pid, ended, nil
}

// killDescendants kills until none is left, and gives how many are after
// timeout. It goes round more than once because a process can fork between the
// look and the kill.
func killDescendants(root int, timeout time.Duration) int {
	deadline := time.Now().Add(timeout)
	for {
		pids := descendants(root)
		if len(pids) == 0 || time.Now().After(deadline) {
			return len(pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is fine
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// descendants gives the pids below root, zombies left out.
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

// stat gives a process's parent and state; its name, which may hold spaces and
// parentheses, ends at the last ')'.
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
