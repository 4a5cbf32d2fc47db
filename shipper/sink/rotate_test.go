package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestFile_CheckpointFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		failing := true
		var saved []Watermark
		var mu sync.Mutex
		log, lines := newLog()
		f := openMem(t, fs, FileOptions{MaxSize: 10, Log: log, Checkpoint: func(_ context.Context, w Watermark) error {
			mu.Lock()
			defer mu.Unlock()
			if failing {
				return errors.New("positions unavailable")
			}
			saved = append(saved, w)
			return nil
		}})
		if err := f.Write(t.Context(), []byte("12345678\n")); err != nil {
			t.Fatal(err)
		}
		done := inBackground(t.Context(), f, "next\n")
		time.Sleep(time.Hour)
		pending(t, done, "checkpoint fails")
		if got := fs.all("/d/out"); got != "12345678\n" {
			t.Errorf("file contains %q, want no new record", got)
		}
		if fs.files["/d/out.000001"] != nil {
			t.Error("file was renamed before the positions were saved")
		}
		if !strings.Contains(lines(), "positions unavailable") {
			t.Errorf("no cause in the log:\n%s", lines())
		}
		mu.Lock()
		failing = false
		mu.Unlock()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(saved) != 1 || saved[0] != (Watermark{"/d/out", 1, 9}) {
			t.Errorf("saved %+v, want the end of the rotated file", saved)
		}
		if w := f.Written(); w != (Watermark{"/d/out", 2, 5}) {
			t.Errorf("watermark %+v, want offset 5 of file 2", w)
		}
	})
}

func TestFile_RotationFails(t *testing.T) {
	for _, step := range []string{"rename out.000001", "open out"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := newMemFS()
				f := openMem(t, fs, FileOptions{MaxSize: 10})
				if err := f.Write(t.Context(), []byte("12345678\n")); err != nil {
					t.Fatal(err)
				}
				fs.setFault(func(s string) error {
					if s == step {
						return syscall.EROFS
					}
					return nil
				})
				ctx, cancel := context.WithCancel(t.Context())
				done := inBackground(ctx, f, "next\n")
				time.Sleep(time.Hour)
				pending(t, done, step)
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, ErrFailed) {
					t.Errorf("got %v, want only ctx's error", err)
				}
				fs.setFault(nil)
				if err := f.Write(t.Context(), []byte("next\n")); err != nil {
					t.Fatal(err)
				}
				if a, b := fs.files["/d/out.000001"], fs.files["/d/out"]; a == nil || b == nil || string(b.data) != "next\n" {
					t.Errorf("files contain %q", fs.all("/d/out"))
				}
			})
		})
	}
}

func TestFile_RotatesBySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f := mustFile(t, FileOptions{Path: path, MaxSize: 20, MaxFiles: 3})
	for i := range 12 {
		if err := f.Write(t.Context(), fmt.Appendf(nil, "record %d\n", 100+i)); err != nil { // 11 bytes
			t.Fatal(err)
		}
	}
	huge := strings.Repeat("h", 50) + "\n"
	if err := f.Write(t.Context(), []byte(huge)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"out.000010": "record 109\n", "out.000011": "record 110\n", "out.000012": "record 111\n", "out": huge,
	} {
		if got := string(mustRead(t, filepath.Join(filepath.Dir(path), name))); got != want {
			t.Errorf("%s contains %q, want %q", name, got, want)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 4 {
		t.Errorf("%d files in the directory, want 4: %v", len(entries), entries)
	}
	if n, m := f.Stats().Rotations.Load(), f.Stats().Removed.Load(); n != 12 || m != 9 {
		t.Errorf("%d rotations and %d removed files, want 12 and 9", n, m)
	}
}

func TestFile_RotatesByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		f := openMem(t, fs, FileOptions{MaxAge: time.Hour})
		time.Sleep(2 * time.Hour) // an empty file is not rotated
		for _, p := range []string{"a\n", "b\n"} {
			if err := f.Write(t.Context(), []byte(p)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Minute)
		}
		if fs.files["/d/out.000001"] == nil || string(fs.files["/d/out"].data) != "b\n" {
			t.Errorf("files contain %q, rotated: %v", fs.all("/d/out"), fs.files["/d/out.000001"] != nil)
		}
		if err := f.Write(t.Context(), []byte("c\n")); err != nil {
			t.Fatal(err)
		}
		if string(fs.files["/d/out"].data) != "b\nc\n" {
			t.Error("rotated before MaxAge")
		}
	})
}

func TestFile_NumbersAreNotReused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	for name, want := range map[string]uint64{
		"out.000007": 8, "out.000009.gz": 10, "out.1000000": 1000001, "out.7": 1, "out.000007.bak": 1, "other.000008": 1,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			f := mustFile(t, FileOptions{Path: filepath.Join(dir, "out")})
			if got := f.Written().Number; got != want {
				t.Errorf("number %d, want %d", got, want)
			}
		})
	}
	t.Run("saved watermark", func(t *testing.T) {
		f := mustFile(t, FileOptions{Path: path, Saved: Watermark{path, 42, 0}})
		if got := f.Written().Number; got != 42 {
			t.Errorf("number %d, want 42", got)
		}
	})
}

func TestFile_Gzip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		f := openMem(t, fs, FileOptions{MaxSize: 5, Gzip: true, MaxFiles: 4})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		for i := range 7 {
			if err := f.Write(t.Context(), fmt.Appendf(nil, "%04d\n", i)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		names, _ := fs.readDirNames("")
		slices.Sort(names)
		want := "out out.000003.gz out.000004.gz out.000005 out.000006"
		if got := strings.Join(names, " "); got != want {
			t.Errorf("got files %q, want %q", got, want)
		}
		if got := unzip(fs.files["/d/out.000003.gz"].data); got != "0002\n" {
			t.Errorf("decompressed content is %q", got)
		}
	})
}

func TestFile_GzipFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		log, lines := newLog()
		f := openMem(t, fs, FileOptions{MaxSize: 5, Gzip: true, Log: log})
		for i := range 4 {
			if err := f.Write(t.Context(), fmt.Appendf(nil, "%04d\n", i)); err != nil {
				t.Fatal(err)
			}
		}
		fs.setRoom(3)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		synctest.Wait()
		cancel()
		<-done
		names, _ := fs.readDirNames("")
		slices.Sort(names)
		if got := strings.Join(names, " "); got != "out out.000001 out.000002 out.000003" {
			t.Errorf("got files %q", got)
		}
		if !strings.Contains(lines(), "compress") || errorsOf(f.Stats())["rotate"] == 0 {
			t.Errorf("errors %v, log: %s", errorsOf(f.Stats()), lines())
		}
	})
}

func TestFile_Reopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	var saved []Watermark
	f := mustFile(t, FileOptions{Path: path, Checkpoint: func(_ context.Context, w Watermark) error {
		saved = append(saved, w)
		return nil
	}})
	write := func(p string) {
		t.Helper()
		if err := f.Write(t.Context(), []byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n")
	if err := f.Reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(saved) != 1 || saved[0].Offset != 7 {
		t.Errorf("reopen without a rename: saved %+v", saved)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	write("still\n")
	if err := f.Reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	write("after\n")
	if got := string(mustRead(t, path+".away")); got != "before\nstill\n" {
		t.Errorf("renamed file contains %q", got)
	}
	if got := string(mustRead(t, path)); got != "after\n" {
		t.Errorf("file contains %q", got)
	}
	if len(saved) != 3 || saved[1].Offset != 13 || saved[2].Offset != 0 {
		t.Errorf("saved %+v, want the end of the old file and the start of the new one", saved)
	}
	if n := f.Stats().Reopens.Load(); n != 2 {
		t.Errorf("%d reopens, want 2", n)
	}
}

func TestFile_RotationAfterRename(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f := mustFile(t, FileOptions{Path: path, MaxSize: 10})
	if err := f.Write(t.Context(), []byte("12345678\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(t.Context(), []byte("next\n")); err != nil {
		t.Fatal(err)
	}
	if got := string(mustRead(t, path)); got != "other\nnext\n" {
		t.Errorf("file contains %q", got)
	}
	if _, err := os.Stat(archiveName(path, 1)); err == nil {
		t.Error("a file of another process was renamed")
	}
}

func TestFile_RotatedDuringSync(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
	}{
		{"file is closed", nil},
		{"fsync fails", syscall.EIO},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fs := newMemFS()
				f := openMem(t, fs, FileOptions{MaxSize: 8})
				if err := f.Write(t.Context(), []byte("first\n")); err != nil {
					t.Fatal(err)
				}
				release := make(chan struct{})
				var calls atomic.Int32
				fs.slowSync = func() error {
					if calls.Add(1) > 1 {
						return nil
					}
					<-release
					return c.err
				}
				synced := make(chan error, 1)
				go func() { synced <- f.Sync(t.Context()) }()
				synctest.Wait()
				if err := f.Write(t.Context(), []byte("second\n")); err != nil {
					t.Fatal(err)
				}
				close(release)
				if err := <-synced; (c.err == nil) != (err == nil) || !errors.Is(err, c.err) {
					t.Errorf("sync: %v", err)
				}
				if d := f.Durable(); d != (Watermark{"/d/out", 2, 0}) {
					t.Errorf("Durable is %+v, want the start of the second file", d)
				}
				if err := f.Write(t.Context(), []byte("x\n")); errors.Is(err, ErrFailed) != (c.err != nil) {
					t.Errorf("write: %v", err)
				}
			})
		})
	}
}
