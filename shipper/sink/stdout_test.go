package sink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// runHelper runs this test binary as a process whose stdout is its parent's pipe.
func runHelper() bool {
	switch os.Getenv("SINK_TEST_HELPER") {
	case "":
		return false
	case "write until closed":
		s := NewStdout(os.Stdout)
		for {
			if err := s.Write(context.Background(), []byte("a record\n")); err != nil {
				if errors.Is(err, ErrClosed) {
					os.Exit(7)
				}
				os.Exit(8)
			}
		}
	case "exceed file size limit":
		os.Exit(exceedFileSizeLimit(os.Getenv("SINK_TEST_PATH")))
	}
	return true
}

// exceedFileSizeLimit returns 7 if the second write waits for space.
func exceedFileSizeLimit(path string) int {
	limit := syscall.Rlimit{Cur: 13, Max: 13}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return 8
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	log := logrus.New()
	log.Out = writerFunc(func(p []byte) (int, error) { // Write is waiting
		cancel()
		return len(p), nil
	})
	f, err := NewFile(FileOptions{Path: path, Log: log})
	if err != nil {
		return 9
	}
	first, second := f.Write(ctx, []byte("12345678\n")), f.Write(ctx, []byte("12345678\n"))
	if first != nil || !errors.Is(second, syscall.EFBIG) || !errors.Is(second, context.Canceled) {
		return 10
	}
	return 7
}

// pipeEnds open the kinds of pipes that stdout can be.
var pipeEnds = map[string]func(t *testing.T) (w, r *os.File){
	"polled pipe": func(t *testing.T) (w, r *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		return w, r
	},
	"inherited blocking pipe": func(t *testing.T) (w, r *os.File) {
		r, w = blockingPipe(t)
		return w, r
	},
	"blocking socket as of systemd": func(t *testing.T) (w, r *os.File) {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fds[0]), "w"), os.NewFile(uintptr(fds[1]), "r")
	},
}

// blockingPipe returns a pipe like one that a process inherits.
func blockingPipe(t *testing.T) (r, w *os.File) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
}

func TestStdout_Contract(t *testing.T) {
	for name, pipe := range pipeEnds {
		t.Run(name, func(t *testing.T) {
			testContract(t, func(t *testing.T) subject {
				w, r := pipe(t)
				var got []byte
				var wg sync.WaitGroup
				wg.Go(func() { got, _ = io.ReadAll(r) })
				t.Cleanup(func() { w.Close(); wg.Wait(); r.Close() })
				return subject{NewStdout(w), func() []byte { w.Close(); wg.Wait(); return got }}
			})
		})
	}
	t.Run("regular file", func(t *testing.T) {
		testContract(t, func(t *testing.T) subject {
			path := filepath.Join(t.TempDir(), "out")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return subject{NewStdout(f), func() []byte { return mustRead(t, path) }}
		})
	})
	t.Run("short writes", func(t *testing.T) {
		testContract(t, func(t *testing.T) subject {
			var b bytes.Buffer
			return subject{NewStdout(shortWriter{&b}), b.Bytes}
		})
	})
}

type shortWriter struct{ w io.Writer }

func (w shortWriter) Write(p []byte) (int, error) {
	if len(p) > 7 {
		n, _ := w.w.Write(p[:7])
		return n, io.ErrShortWrite
	}
	return w.w.Write(p)
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStdout_ReaderBlocked(t *testing.T) {
	for name, pipe := range pipeEnds {
		t.Run(name, func(t *testing.T) {
			w, r := pipe(t)
			defer w.Close()
			defer r.Close()
			s := NewStdout(w)
			defer s.Close()
			fill(t, s, w)

			err := s.Write(shortTimeout(t), []byte("late\n"))
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrFailed) {
				t.Fatalf("got %v, want only ctx's error", err)
			}
			go func() { _, _ = io.Copy(io.Discard, r) }()
			if err := s.Write(t.Context(), []byte("late\n")); err != nil {
				t.Fatalf("write after the reader reads again: %v", err)
			}
		})
	}
}

// fill writes small records until the reader's buffer is full.
func fill(t *testing.T, s *Stdout, w *os.File) {
	t.Helper()
	record := append(bytes.Repeat([]byte("f"), pipeBuf-1), '\n')
	for range 1000 {
		if full(w) {
			return
		}
		if err := s.Write(shortTimeout(t), record); errors.Is(err, ErrFailed) {
			t.Fatalf("partial write of a record of one page: %v", err)
		}
	}
	t.Fatal("the pipe does not fill up")
}

// full reports whether a write to w would block now.
func full(w *os.File) bool {
	conn, err := w.SyscallConn()
	if err != nil {
		return false
	}
	n := -1
	_ = conn.Control(func(fd uintptr) {
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
	})
	return n == 0
}

// untilFull returns a ctx that is cancelled once w is full.
func untilFull(t *testing.T, w *os.File) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		until(t, func() (string, bool) { return "not full", full(w) })
	})
	t.Cleanup(wg.Wait)
	return ctx
}

// shortTimeout returns a ctx that ends soon.
func shortTimeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestStdout_PartialRecord(t *testing.T) {
	for name, pipe := range pipeEnds {
		t.Run(name, func(t *testing.T) {
			w, r := pipe(t)
			defer r.Close()
			s := NewStdout(w)
			long := append(bytes.Repeat([]byte("l"), 4<<20), '\n')
			err := s.Write(untilFull(t, w), long)
			if !errors.Is(err, ErrFailed) || !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, want ErrFailed and ctx's error", err)
			}
			if again := s.Write(t.Context(), []byte("next\n")); !errors.Is(again, ErrFailed) {
				t.Errorf("later write: got %v, want ErrFailed", again)
			}
			mustClose(t, s)
			w.Close()
			got, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) == 0 || strings.Trim(string(got), "l") != "" {
				t.Errorf("got %d bytes that end in %q, want a partial record only", len(got), tail(got))
			}
			if n := s.Stats().Bytes.Load(); n != 0 {
				t.Errorf("%d bytes counted as accepted, want 0", n)
			}
		})
	}
}

func tail(b []byte) []byte { return b[max(0, len(b)-20):] }

func TestStdout_ReaderClosed(t *testing.T) {
	for name, pipe := range pipeEnds {
		t.Run(name+"/before the first write", func(t *testing.T) {
			w, r := pipe(t)
			defer w.Close()
			r.Close()
			s := NewStdout(w)
			defer s.Close()
			for range 2 {
				if err := s.Write(t.Context(), []byte("a\n")); !errors.Is(err, ErrClosed) {
					t.Errorf("got %v, want ErrClosed", err)
				}
			}
		})
		t.Run(name+"/while a write waits", func(t *testing.T) {
			w, r := pipe(t)
			defer w.Close()
			s := NewStdout(w)
			defer s.Close()
			fill(t, s, w)
			var wg sync.WaitGroup
			wg.Go(func() { r.Close() })
			if err := s.Write(t.Context(), []byte("a\n")); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
			wg.Wait()
		})
	}
}

func TestStdout_SIGPIPE(t *testing.T) {
	for name, pipe := range pipeEnds {
		t.Run(name, func(t *testing.T) {
			w, r := pipe(t)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), "SINK_TEST_HELPER=write until closed")
			cmd.Stdout = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if _, err := io.ReadFull(r, make([]byte, 9)); err != nil {
				t.Error(err)
			}
			r.Close()
			err = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 7 {
				t.Errorf("helper: %v, want exit code 7", err)
			}
		})
	}
}

func TestStdout_FileFlagsUnchanged(t *testing.T) {
	r, w := blockingPipe(t)
	defer r.Close()
	defer w.Close()
	s := NewStdout(w)
	if err := s.Write(t.Context(), []byte("a\n")); err != nil {
		t.Fatal(err)
	}
	flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, w.Fd(), syscall.F_GETFL, 0)
	if errno != 0 || flags&syscall.O_NONBLOCK != 0 {
		t.Errorf("flags %#x (%v): the pipe was made non-blocking", flags, errno)
	}
	mustClose(t, s)
	if _, err := w.Write([]byte("b\n")); err != nil {
		t.Errorf("write after Close: %v, want the caller's file to stay open", err)
	}
}

func TestStdout_ClosedFile(t *testing.T) {
	r, w := blockingPipe(t)
	r.Close()
	w.Close()
	s := NewStdout(w)
	if err := s.Write(t.Context(), []byte("a\n")); !errors.Is(err, ErrFailed) {
		t.Errorf("got %v, want ErrFailed", err)
	}
}

func TestStdout_NetConn(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	go func() { _, _ = io.ReadFull(b, make([]byte, 2)); b.Close() }()
	s := NewStdout(a)
	var err error
	for range 3 {
		if err = s.Write(t.Context(), []byte("a\n")); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func BenchmarkStdoutWrite(b *testing.B) {
	record := append(bytes.Repeat([]byte("r"), 199), '\n')
	batch := bytes.Repeat(record, 320) // 64 KB
	for name, open := range map[string]func() (w, r *os.File){
		"pipe": func() (w, r *os.File) { r, w, _ = os.Pipe(); return },
		"dev null": func() (w, r *os.File) {
			w, _ = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
			return w, nil
		},
	} {
		b.Run(name, func(b *testing.B) {
			w, r := open()
			defer w.Close()
			if r != nil {
				go func() { _, _ = io.Copy(io.Discard, r) }()
				defer r.Close()
			}
			s := NewStdout(w)
			defer s.Close()
			b.SetBytes(int64(len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Write(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
