package sink

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Two processes never write one file, however it is renamed.
func TestClaim_OneWriterPerFile(t *testing.T) {
	for _, c := range []struct {
		name     string
		after    func(path string) error
		acquired bool // a second claim on the path succeeds, on another file
	}{
		{"unchanged", func(string) error { return nil }, false},
		{"renamed and replaced by an empty file", func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.WriteFile(path, nil, 0o600))
		}, true},
		{"removed", os.Remove, true},
		{"renamed and renamed back", func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.Rename(path+".away", path))
		}, false},
		{"lock files removed", func(path string) error {
			locks, err := filepath.Glob(filepath.Dir(path) + "/*.lock")
			for _, l := range locks {
				err = errors.Join(err, os.Remove(l))
			}
			return err
		}, false},
		{"replaced by a hard link", func(path string) error {
			return errors.Join(os.Link(path, path+".2"), os.Remove(path), os.Rename(path+".2", path))
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			f := mustFile(t, FileOptions{Path: path})
			if err := f.Write(t.Context(), []byte("first\n")); err != nil {
				t.Fatal(err)
			}
			if err := c.after(path); err != nil {
				t.Fatal(err)
			}
			second, err := Acquire(path)
			if c.acquired != (err == nil) || err != nil && (!errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path)) {
				t.Fatalf("second claim: %v, want success %v", err, c.acquired)
			}
			if err != nil {
				return
			}
			defer second.Close()
			// The first process has lost the path: it must fail, and not write to it.
			err = f.Reopen(t.Context())
			if errors.Is(err, ErrRemoved) {
				err = f.Recreate(t.Context(), func([]byte) error { return nil })
			}
			if !errors.Is(err, ErrFailed) || !errors.Is(err, ErrLocked) {
				t.Errorf("first process: got %v, want ErrFailed and ErrLocked", err)
			}
			if err := f.Write(t.Context(), []byte("second\n")); !errors.Is(err, ErrLocked) {
				t.Errorf("its next write: got %v, want ErrLocked", err)
			}
			if b := mustRead(t, path); len(b) > 0 {
				t.Errorf("the second process's file contains %q, want nothing", b)
			}
		})
	}
}

// At each step of a rotation other processes find the file locked.
func TestClaim_LockedDuringRotation(t *testing.T) {
	fs := newMemFS()
	f := openMem(t, fs, FileOptions{MaxSize: 5})
	steps := 0
	fs.onStep = func(step string) {
		if step == "write" {
			return // not a step of a rotation
		}
		steps++
		if c, err := acquire(fs, "/d/out", 0); !errors.Is(err, ErrLocked) {
			t.Errorf("before step %q: got %v, want ErrLocked", step, err)
			if c != nil {
				c.Close()
			}
		}
	}
	for range 3 {
		if err := f.Write(t.Context(), []byte("1234\n")); err != nil {
			t.Fatal(err)
		}
	}
	if steps < 8 {
		t.Errorf("checked %d steps of two rotations, want at least 8", steps)
	}
}

func TestFile_LockedBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		f := openMem(t, fs, FileOptions{MaxSize: 5})
		if err := f.Write(t.Context(), []byte("1234\n")); err != nil {
			t.Fatal(err)
		}
		// Another process starts, and locks the file briefly during a rotation.
		other := &memFile{fs: fs}
		fs.onStep = func(step string) {
			if step == "open out" && other.i == nil {
				fs.mu.Lock()
				other.i = &inode{created: time.Now()}
				fs.files["/d/out"] = other.i
				fs.mu.Unlock()
				if err := other.lock(); err != nil {
					t.Error(err)
				}
				time.AfterFunc(time.Millisecond, func() { other.Close() })
			}
		}
		if err := f.Write(t.Context(), []byte("5678\n")); err != nil {
			t.Fatal(err)
		}
		if got := fs.all("/d/out"); got != "1234\n5678\n" || errorsOf(f.Stats())["locked"] != 1 {
			t.Errorf("files contain %q, errors %v", got, errorsOf(f.Stats()))
		}
	})
}

func TestClaim_CloseRemovesCreatedFile(t *testing.T) {
	dir := t.TempDir()
	c, err := Acquire(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("directory contains %v, want nothing", left)
	}
}

func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "sub", "deep")
	if err := os.MkdirAll(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{
		"absolute":          filepath.Join(sub, "file"),
		"relative":          "sub/deep/file",
		"of-a-link":         "relative",
		"linked-dir":        "sub/deep",
		"sub/deep/up":       "../next",
		"loop":              "loop",
		"sub/deep/dangling": "missing/file",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"absolute":          "sub/deep/file",
		"relative":          "sub/deep/file",
		"of-a-link":         "sub/deep/file",
		"linked-dir/up":     "sub/next",
		"plain":             "plain",
		"sub/deep/dangling": "sub/deep/missing/file",
		"no/such/dir":       "no/such/dir",
	} {
		if got, err := Resolve(filepath.Join(dir, path)); err != nil || got != filepath.Join(dir, want) {
			t.Errorf("Resolve(%s) = %s, %v; want %s", path, got, err, want)
		}
	}
	if got, err := Resolve(filepath.Join(dir, "loop")); err == nil {
		t.Errorf("Resolve of a loop = %s, want an error", got)
	}
}

func TestFile_RotationKeepsSymlink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "volume", "out"), filepath.Join(dir, "out")
	if err := errors.Join(os.Mkdir(filepath.Dir(target), 0o700), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	path, err := Resolve(link)
	if err != nil {
		t.Fatal(err)
	}
	f := mustFile(t, FileOptions{Path: path, MaxSize: 5})
	for _, p := range []string{"1234\n", "5678\n"} {
		if err := f.Write(t.Context(), []byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	if to, err := os.Readlink(link); err != nil || to != target {
		t.Errorf("the link leads to %q, %v; want %q", to, err, target)
	}
	if a, b := string(mustRead(t, archiveName(target, 1))), string(mustRead(t, link)); a != "1234\n" || b != "5678\n" {
		t.Errorf("files contain %q and %q", a, b)
	}
}
