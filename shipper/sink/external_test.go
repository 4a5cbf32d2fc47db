package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Positions are not saved for records in a removed file.
func TestFile_Removed(t *testing.T) {
	for name, act := range map[string]func(f *File) error{
		"maintenance": func(f *File) error { return f.Maintain(t.Context()) },
		"check":       func(f *File) error { return f.Check() },
		"reopen":      func(f *File) error { return f.Reopen(t.Context()) },
		"rotation":    func(f *File) error { return f.Write(t.Context(), []byte("12345678\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			var saved []Watermark
			path := filepath.Join(t.TempDir(), "out")
			f := mustFile(t, FileOptions{Path: path, MaxSize: 10, Checkpoint: func(_ context.Context, w Watermark) error {
				saved = append(saved, w)
				return nil
			}})
			if err := f.Write(t.Context(), []byte("lost\n")); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := act(f); !errors.Is(err, ErrRemoved) {
				t.Fatalf("got %v, want ErrRemoved", err)
			}
			if len(saved) > 0 || errorsOf(f.Stats())["removed"] != 1 {
				t.Errorf("saved %+v, want nothing; errors %v, want 1 of kind removed", saved, errorsOf(f.Stats()))
			}
			if err := f.Write(t.Context(), []byte("x\n")); !errors.Is(err, ErrRemoved) {
				t.Errorf("next write: got %v, want ErrRemoved", err)
			}
			if err := f.Recreate(t.Context(), func([]byte) error { return errors.New("unexpected record") }); err != nil {
				t.Fatal(err)
			}
			if want := []Watermark{{path, 1, 0}}; !slices.Equal(saved, want) {
				t.Errorf("saved %+v, want %+v", saved, want)
			}
			if err := f.Write(t.Context(), []byte("again\n")); err != nil {
				t.Fatal(err)
			}
			if got := string(mustRead(t, path)); got != "again\n" {
				t.Errorf("file contains %q", got)
			}
		})
	}
}

// A removed file frees its space only when it is closed.
func TestFile_RemovedWhileDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		f := openMem(t, fs, FileOptions{})
		fs.setRoom(3)
		done := inBackground(t.Context(), f, "first\n")
		time.Sleep(time.Minute)
		pending(t, done, "the disk is full")
		fs.mu.Lock()
		delete(fs.files, "/d/out")
		fs.mu.Unlock()
		if err := <-done; !errors.Is(err, ErrRemoved) {
			t.Errorf("got %v, want ErrRemoved", err)
		}
	})
}

func TestFile_RecreateReadsExistingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	f := mustFile(t, FileOptions{Path: path})
	err := errors.Join(f.Write(t.Context(), []byte("a\nb\nc\n")), os.WriteFile(path+".new", []byte("a\nb\n"), 0o600), os.Rename(path+".new", path))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Maintain(t.Context()); !errors.Is(err, ErrRemoved) {
		t.Fatalf("got %v, want ErrRemoved", err)
	}
	var got []string
	if err := f.Recreate(t.Context(), func(b []byte) error { got = append(got, string(b)); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := f.Write(t.Context(), []byte("c\n")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{"a", "b"}) || string(mustRead(t, path)) != "a\nb\nc\n" {
		t.Errorf("got records %q, file contains %q", got, mustRead(t, path))
	}
}

func TestFile_RecreateIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		f := openMem(t, fs, FileOptions{})
		delete(fs.files, "/d/out")
		if err := f.Check(); !errors.Is(err, ErrRemoved) {
			t.Fatal(err)
		}
		fs.setFault(func(step string) error {
			if step == "open out" {
				return syscall.EROFS
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		none := func([]byte) error { return nil }
		if err := f.Recreate(ctx, none); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want DeadlineExceeded", err)
		}
		if err := f.Write(t.Context(), []byte("x\n")); !errors.Is(err, ErrRemoved) {
			t.Errorf("write: got %v, want ErrRemoved", err)
		}
		fs.setFault(nil)
		if err := errors.Join(f.Recreate(t.Context(), none), f.Write(t.Context(), []byte("x\n"))); err != nil {
			t.Error(err)
		}
	})
}

func TestFile_TruncatedByAnotherProcess(t *testing.T) {
	for size, want := range map[int64]string{0: "third\n", 6: "first\nthird\n", 9: "first\nthird\n"} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			log, lines := newLog()
			f := mustFile(t, FileOptions{Path: path, Log: log})
			if err := errors.Join(f.Write(t.Context(), []byte("first\nsecond\n")), os.Truncate(path, size), f.Maintain(t.Context())); err != nil {
				t.Fatal(err)
			}
			if errorsOf(f.Stats())["truncated"] != 1 || !strings.Contains(lines(), "truncated by another process") {
				t.Errorf("errors %v, want 1 of kind truncated; log:\n%s", errorsOf(f.Stats()), lines())
			}
			if err := errors.Join(f.Write(t.Context(), []byte("third\n")), f.Sync(t.Context()), f.Maintain(t.Context())); err != nil {
				t.Fatal(err)
			}
			if got := string(mustRead(t, path)); got != want || f.Durable().Offset != int64(len(want)) {
				t.Errorf("file contains %q, want %q; durable %+v", got, want, f.Durable())
			}
		})
	}
}

func TestFile_RotatesByAgeWithoutWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		f := openMem(t, fs, FileOptions{MaxAge: time.Hour})
		tend := func(d time.Duration) {
			for range d / time.Second {
				time.Sleep(time.Second)
				if err := f.Maintain(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		tend(2 * time.Hour)
		if fs.files["/d/out.000001"] != nil {
			t.Error("an empty file was rotated")
		}
		if err := f.Write(t.Context(), []byte("last line\n")); err != nil {
			t.Fatal(err)
		}
		tend(59 * time.Minute)
		if fs.files["/d/out.000001"] == nil || fs.files["/d/out"] == nil {
			t.Errorf("not rotated: files contain %q", fs.all("/d/out"))
		}
	})
}

func TestFile_Hints(t *testing.T) {
	for err, want := range map[error]string{
		syscall.EMFILE: "raise the limit of open files",
		syscall.ENFILE: "raise the limit of open files",
		syscall.EBUSY:  "mount its directory",
		syscall.EROFS:  "writable",
	} {
		for _, step := range []string{"rename out.000001", "open out"} {
			t.Run(step+" "+err.Error(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fs := newMemFS()
					log, lines := newLog()
					f := openMem(t, fs, FileOptions{MaxSize: 5, Log: log})
					if err := f.Write(t.Context(), []byte("1234\n")); err != nil {
						t.Fatal(err)
					}
					fs.setFault(func(s string) error {
						if s == step {
							return err
						}
						return nil
					})
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					if err := f.Write(ctx, []byte("5678\n")); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("got %v, want DeadlineExceeded", err)
					}
					if !strings.Contains(lines(), want) {
						t.Errorf("no %q in the log:\n%s", want, lines())
					}
				})
			})
		}
	}
}

// A log rotator sends SIGHUP: the log reports whether the file was reopened.
func TestFile_ReopenLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	log, lines := newLog()
	f := mustFile(t, FileOptions{Path: path, Log: log})
	if err := f.Reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(lines(), "was not renamed") || !strings.Contains(lines(), path) {
		t.Errorf("got %s", lines())
	}
	if err := errors.Join(os.Rename(path, path+".away"), f.Reopen(t.Context())); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(lines(), "was renamed, opened a new one") {
		t.Errorf("got %s", lines())
	}
}
