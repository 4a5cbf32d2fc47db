package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"raytap/shipper/checkpoint"

	"golang.org/x/sys/unix"

	"raytap/shipper/sink"
)

// settings are the parts of raytap's configuration that differ between rounds.
type settings struct {
	url, protocol, agents string
	sink, positions       string // paths
	interval              time.Duration
	fsync                 string
	maxSize               string
	gzip                  bool
	tails                 int
	backoff               time.Duration // maximum
	lostAfter             time.Duration
	aggregated            bool // raytap joins multiline records and thins progress bars
}

// write writes the configuration file. All intervals are as short as the
// configuration allows, so that much happens in little time.
func (s settings) write(path string) error {
	record := "{}"
	if s.aggregated {
		record = "{multiline: {enabled: true, max_lines: 20, max_wait_time: 100ms}, progress_interval: 200ms, line_time: true}"
	}
	return os.WriteFile(path, fmt.Appendf(nil, `
clusters: [{name: chaos, url: %q, timeout: 1s, node_agents: {mode: %q, allow: [127.0.0.0/8]}}]
collector: {enabled: false}
shipper:
  discovery: {interval: 100ms}
  protocol: %s
  timeout: 1s
  poll_interval: 100ms
  grace_period: 100ms
  lost_after: %s
  backoff: {initial: 20ms, max: %s}
  websocket: {max_tails: %d}
  limits: {max_message_size: %d}
  record: %s
  positions: {file: %q, interval: %s}
sink:
  file: {path: %q, fsync: %s, rotate: {max_size: %s, max_age: 0s, max_files: 0, gzip: %t}}
web: {listen_addresses: ["127.0.0.1:0"]}
log: {level: debug}
`, s.url, s.agents, s.protocol, s.lostAfter, s.backoff, s.tails, maxMessage, record, s.positions, s.interval, s.sink, s.fsync, s.maxSize, s.gzip), 0o600)
}

// subject is the raytap under test: one process after another.
type subject struct {
	binary string
	config string // path of its configuration
	s      settings
	log    *os.File // stderr of all its processes
	cmd    *exec.Cmd
	end    chan error // exit of the current process
	pid    atomic.Int64
}

func (s *subject) start() error {
	if err := s.s.write(s.config); err != nil {
		return err
	}
	s.cmd = exec.Command(s.binary, "--config.file", s.config)
	s.cmd.Stderr = s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it must not outlive the harness
	fmt.Fprintln(s.log, logSeparator)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.pid.Store(int64(s.cmd.Process.Pid))
	end := make(chan error, 1)
	s.end = end
	cmd := s.cmd
	go func() { end <- cmd.Wait() }()
	return nil
}

// kill ends raytap by SIGKILL. It returns an error if raytap had exited before.
func (s *subject) kill() error {
	select {
	case err := <-s.end:
		return fmt.Errorf("raytap exited: %w", errors.Join(err, errExited))
	default:
	}
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	<-s.end
	return nil
}

var errExited = errors.New("unexpected exit")

const logSeparator = "--- new process"

// running waits until the current process logs that it is running: before that, it
// does not handle SIGTERM.
func (s *subject) running() error {
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); wait(context.Background(), 10*time.Millisecond) {
		b, err := os.ReadFile(s.log.Name())
		if err != nil {
			return err
		}
		if strings.Contains(string(b[strings.LastIndex(string(b), logSeparator)+1:]), "raytap is running") {
			return nil
		}
		select {
		case err := <-s.end:
			return fmt.Errorf("raytap exited: %w", errors.Join(err, errExited))
		default:
		}
	}
	return errors.New("raytap does not finish its start within 10 s")
}

// stop ends raytap by SIGTERM and requires exit code 0.
func (s *subject) stop() error {
	if err := s.running(); err != nil {
		return err
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("raytap exited: %w", err)
	}
	select {
	case err := <-s.end:
		if err != nil {
			return fmt.Errorf("SIGTERM: %w", err)
		}
		return nil
	case <-time.After(20 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.end
		return errors.New("SIGTERM: still running after 20 s")
	}
}

// freeze suspends raytap, so that its files do not change; false: it has exited.
func (s *subject) freeze() bool {
	if s.cmd.Process.Signal(syscall.SIGSTOP) != nil {
		return false
	}
	stat := "/proc/" + strconv.Itoa(s.cmd.Process.Pid) + "/stat"
	for {
		b, err := os.ReadFile(stat)
		if err != nil {
			return false
		}
		i := strings.LastIndexByte(string(b), ')')
		switch state := string(b[i+2 : i+3]); state {
		case "T":
			return true
		case "Z", "X":
			return false
		}
	}
}

func (s *subject) thaw() { _ = s.cmd.Process.Signal(syscall.SIGCONT) }

// saved is the content of a positions file.
type saved struct {
	*checkpoint.Saved
	Sink sink.Watermark
}

func (s *subject) saved() (v saved, err error) {
	v.Saved, err = checkpoint.Read(s.s.positions)
	if err == nil && v.Saved.Sink != nil {
		v.Sink = *v.Saved.Sink
	}
	return v, err
}

// hasPendingEvents reports whether an event is saved that is not written yet.
func (v saved) hasPendingEvents() bool {
	for _, c := range v.Clusters {
		for _, l := range c.Logs {
			if len(l.Pending) > 0 {
				return true
			}
		}
	}
	return false
}

// size returns the size of the sink's current file in bytes, -1 if there is none.
func (s *subject) size() int64 {
	info, err := os.Stat(s.s.sink)
	if err != nil {
		return -1
	}
	return info.Size()
}

// watch reports changes to the files in a directory (inotify).
type watch struct {
	fd  int
	buf []byte
}

func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO|unix.IN_MODIFY); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &watch{fd: fd, buf: make([]byte, 64<<10)}, nil
}

func (w *watch) close() { _ = unix.Close(w.fd) }

// next waits for a change of the given kind to a file whose name matches; false:
// none happened within d.
func (w *watch) next(name *regexp.Regexp, kind uint32, d time.Duration) bool {
	for deadline := time.Now().Add(d); ; {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		fds := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(left/time.Millisecond)+1); n <= 0 || err != nil {
			continue
		}
		n, err := unix.Read(w.fd, w.buf)
		if err != nil {
			continue
		}
		for b := w.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			mask := le32(b[4:])
			size := int(le32(b[12:]))
			file := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
			b = b[unix.SizeofInotifyEvent+size:]
			if mask&kind != 0 && name.MatchString(file) {
				return true
			}
		}
	}
}

// drain discards all changes so far.
func (w *watch) drain() {
	for {
		if n, err := unix.Read(w.fd, w.buf); n <= 0 || err != nil && !errors.Is(err, io.EOF) {
			return
		}
	}
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

// Names of the watched files in the sink's directory.
var (
	currentName   = regexp.MustCompile(`^raytap\.jsonl$`)
	rotatedName   = regexp.MustCompile(`^raytap\.jsonl\.\d+$`)
	positionsName = regexp.MustCompile(`^positions\.db$`)
)

func paths(dir string) (sinkFile, positions string) {
	return filepath.Join(dir, "raytap.jsonl"), filepath.Join(dir, "positions.db")
}
