package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

func TestFile_Contract(t *testing.T) {
	for name, o := range map[string]FileOptions{
		"fsync by the owner": {},
		"fsync always":       {Fsync: FsyncAlways},
		"fsync never":        {Fsync: FsyncNever},
		"rotated often":      {MaxSize: 10000},
	} {
		t.Run(name, func(t *testing.T) {
			testContract(t, func(t *testing.T) subject {
				o := o
				o.Path = filepath.Join(t.TempDir(), "out")
				return subject{mustFile(t, o), func() []byte { return readAll(t, o.Path) }}
			})
		})
	}
}

func mustFile(t testing.TB, o FileOptions) *File {
	t.Helper()
	f, err := NewFile(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// readAll returns the content of the rotated files and the current one.
func readAll(t *testing.T, path string) []byte {
	t.Helper()
	all, err := listArchive(osFS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, a := range all {
		b = append(b, mustRead(t, archiveName(path, a.number))...)
	}
	return append(b, mustRead(t, path)...)
}

// openMem opens a File in memory.
func openMem(t *testing.T, fs *memFS, o FileOptions) *File {
	o.Path, o.fs = "/d/out", fs
	return mustFile(t, o)
}

// inBackground starts a Write in a synctest bubble.
func inBackground(ctx context.Context, f *File, p string) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f.Write(ctx, []byte(p)) }()
	synctest.Wait()
	return done
}

func pending(t *testing.T, done <-chan error, what string) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatalf("%s: Write returned %v instead of waiting", what, err)
	default:
	}
}

func TestFile_DiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		log, lines := newLog()
		f := openMem(t, fs, FileOptions{Log: log})
		fs.setRoom(9)
		done := inBackground(t.Context(), f, "first\nsecond\n")
		time.Sleep(10 * time.Minute) // fake time
		pending(t, done, "disk full")
		if w := f.Written(); w.Offset != 0 {
			t.Errorf("watermark %+v includes a partial record", w)
		}
		if since := f.Stats().StalledSince.Load(); since == 0 {
			t.Error("StalledSince is 0 while Write waits")
		}
		if n := strings.Count(lines(), "level=error"); n < 5 || n > 11 {
			t.Errorf("%d log lines in ten minutes, want about 10:\n%s", n, lines())
		}
		fs.setRoom(-1)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := fs.all("/d/out"); got != "first\nsecond\n" {
			t.Errorf("got %q", got)
		}
		if !strings.Contains(lines(), "free some space") || !strings.Contains(lines(), "Sink recovered") {
			t.Errorf("no hint or no recovery in the log:\n%s", lines())
		}
		if kinds := errorsOf(f.Stats()); kinds["full"] == 0 || f.Stats().StalledSince.Load() != 0 {
			t.Errorf("errors %v, want some of kind full; StalledSince %d, want 0", kinds, f.Stats().StalledSince.Load())
		}
	})
}

func errorsOf(s *Stats) map[string]uint64 {
	m := map[string]uint64{}
	for kind, n := range s.Errors {
		m[kind] = n
	}
	return m
}

// newLog returns a log and a function that returns its lines.
func newLog() (logrus.FieldLogger, func() string) {
	var mu sync.Mutex
	var b bytes.Buffer
	log := logrus.New()
	log.Out = writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return b.Write(p)
	})
	log.Formatter = &logrus.TextFormatter{DisableColors: true}
	return log, func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.String()
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestFile_ContextEndsWait(t *testing.T) {
	for _, c := range []struct {
		name   string
		room   int
		failed bool
	}{
		{"before the first byte", 0, false},
		{"after a partial record", 3, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := newMemFS()
				f := openMem(t, fs, FileOptions{})
				fs.setRoom(c.room)
				ctx, cancel := context.WithCancel(t.Context())
				done := inBackground(ctx, f, "record\n")
				pending(t, done, c.name)
				cancel()
				err := <-done
				if !errors.Is(err, context.Canceled) || errors.Is(err, ErrFailed) != c.failed {
					t.Errorf("got %v, want Canceled, with ErrFailed: %v", err, c.failed)
				}
				fs.setRoom(-1)
				err = f.Write(t.Context(), []byte("next\n"))
				if errors.Is(err, ErrFailed) != c.failed || (err == nil) == c.failed {
					t.Errorf("next write: %v", err)
				}
				want := "next\n"
				if c.failed {
					want = "rec"
				}
				if got := fs.all("/d/out"); got != want {
					t.Errorf("file contains %q, want %q", got, want)
				}
			})
		})
	}
}

func TestFile_ErrorsAreFinal(t *testing.T) {
	for _, c := range []struct{ name, step, kind string }{
		{"fsync", "fsync", "fsync"},
		{"write", "write", "other"},
		{"fsync of the directory", "syncdir", "fsync"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := newMemFS()
			f := openMem(t, fs, FileOptions{Fsync: FsyncAlways, MaxSize: 8})
			if err := f.Write(t.Context(), []byte("first\n")); err != nil {
				t.Fatal(err)
			}
			mark := f.Durable()
			once := true
			fs.setFault(func(step string) error {
				if step == c.step && once {
					once = false
					return syscall.EIO
				}
				return nil
			})
			for i := range 2 {
				if err := f.Write(t.Context(), []byte("second\n")); !errors.Is(err, ErrFailed) || !errors.Is(err, syscall.EIO) {
					t.Errorf("write %d: %v, want ErrFailed", i, err)
				}
			}
			if err := f.Sync(t.Context()); !errors.Is(err, ErrFailed) {
				t.Errorf("sync: %v, want ErrFailed", err)
			}
			if d := f.Durable(); c.step == "fsync" && d != mark {
				t.Errorf("Durable advanced from %+v to %+v after a failed fsync", mark, d)
			}
			if n := errorsOf(f.Stats())[c.kind]; n != 1 {
				t.Errorf("%d errors of kind %s, want 1", n, c.kind)
			}
			mustClose(t, f)
		})
	}
}

func TestFile_SyncFails(t *testing.T) {
	fs := newMemFS()
	f := openMem(t, fs, FileOptions{})
	if err := f.Write(t.Context(), []byte("first\n")); err != nil {
		t.Fatal(err)
	}
	fs.setFault(func(step string) error {
		if step == "fsync" {
			return syscall.EIO
		}
		return nil
	})
	if err := f.Sync(t.Context()); !errors.Is(err, ErrFailed) {
		t.Errorf("sync: got %v, want ErrFailed", err)
	}
	if err := f.Write(t.Context(), []byte("second\n")); !errors.Is(err, ErrFailed) {
		t.Errorf("write: got %v, want ErrFailed", err)
	}
	if d := f.Durable(); d.Offset != 0 {
		t.Errorf("Durable is %+v after a failed fsync, want offset 0", d)
	}
}

// until polls until ok returns true.
func until(t *testing.T, ok func() (string, bool)) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		got, done := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("timeout, last state %q", got)
		}
	}
}

func TestFile_SyncWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f := mustFile(t, FileOptions{Path: path, MaxSize: 200})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := f.Sync(context.Background()); err != nil {
				t.Error(err)
				return
			}
			if d, w := f.Durable(), f.Written(); d.Number > w.Number || d.Number == w.Number && d.Offset > w.Offset {
				t.Errorf("Durable %+v is after Written %+v", d, w)
			}
		}
	})
	var want bytes.Buffer
	for i := range 300 {
		p := fmt.Appendf(nil, "record %d\n", i)
		want.Write(p)
		if err := f.Write(t.Context(), p); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	wg.Wait()
	mustClose(t, f)
	if f.Durable() != f.Written() {
		t.Errorf("after Close: Durable %+v, Written %+v; want the same", f.Durable(), f.Written())
	}
	if got := readAll(t, path); !bytes.Equal(got, want.Bytes()) {
		t.Errorf("files have %d bytes, which differ from the %d bytes written", len(got), want.Len())
	}
}

func TestFile_LogRateWhileDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		log, lines := newLog()
		f := openMem(t, fs, FileOptions{Log: log})
		fs.setRoom(0)
		done := inBackground(t.Context(), f, strings.Repeat("x", 299)+"\n")
		for range 300 {
			fs.setRoom(1)
			time.Sleep(200 * time.Millisecond)
		}
		fs.setRoom(-1)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(lines(), "level="); n == 0 || n > 14 {
			t.Errorf("%d log lines in a minute, want 1 to 14:\n%s", n, lines())
		}
	})
}

func TestNewFile_PartialRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, []byte("whole\npart"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFile(FileOptions{Path: path}); err == nil || !strings.Contains(err.Error(), "newline") {
		t.Errorf("got %v, want an error about the missing newline", err)
	}
}

func TestNewFile_Errors(t *testing.T) {
	if _, err := NewFile(FileOptions{Path: "/nonexistent/dir/out"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
	if _, err := NewFile(FileOptions{Path: os.DevNull}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("device: got %v", err)
	}
}

func TestNewFile_Mode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	mustFile(t, FileOptions{Path: path})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("mode %v, %v; want no permissions for others", info.Mode(), err)
	}
}

// The full disk is a small tmpfs, which only root can mount.
func TestFile_DiskFullTmpfs(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 32<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "out")
	f := mustFile(t, FileOptions{Path: path})
	p := bytes.Repeat([]byte("0123456789abcde\n"), 3<<10) // 48 KiB
	done := make(chan error, 1)
	go func() { done <- f.Write(t.Context(), p) }()
	until(t, func() (string, bool) {
		return fmt.Sprint(errorsOf(f.Stats())), errorsOf(f.Stats())["full"] > 0
	})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mustClose(t, f)
	if got := mustRead(t, path); !bytes.Equal(got, p) {
		t.Errorf("file has %d bytes, which differ from the %d bytes written", len(got), len(p))
	}
}

// RLIMIT_FSIZE also raises SIGXFSZ, which must not kill the process.
func TestFile_FileSizeLimit(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "out")
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "SINK_TEST_HELPER=exceed file size limit", "SINK_TEST_PATH="+path)
	if out, err := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("helper: %v, want exit code 7\n%s", err, out)
	}
	if got := string(mustRead(t, path)); got != "12345678\n1234" {
		t.Errorf("file contains %q", got)
	}
}

func BenchmarkFileWrite(b *testing.B) {
	batch := bytes.Repeat(append(bytes.Repeat([]byte("r"), 199), '\n'), 320)
	f := mustFile(b, FileOptions{Path: filepath.Join(b.TempDir(), "out"), MaxSize: 256 << 20, MaxFiles: 1})
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Write(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
}
