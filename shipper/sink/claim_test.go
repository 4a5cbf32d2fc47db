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

// The law: never do two write one file, whatever happens to names.
func TestASinkFileHasOneWriterWhateverHappensToItsName(t *testing.T) {
	for _, c := range []struct {
		what  string
		after func(path string) error
		taken bool // by another one, at another file
	}{
		{"nothing", func(string) error { return nil }, false},
		{"it is renamed, and an empty file put there", func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.WriteFile(path, nil, 0o600))
		}, true},
		{"it is removed", os.Remove, true},
		{"it is renamed, and comes back", func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.Rename(path+".away", path))
		}, false},
		{"all lock files are removed", func(path string) error {
			locks, err := filepath.Glob(filepath.Dir(path) + "/*.lock")
			for _, l := range locks {
				err = errors.Join(err, os.Remove(l))
			}
			return err
		}, false},
		{"it has a second name", func(path string) error {
			return errors.Join(os.Link(path, path+".2"), os.Remove(path), os.Rename(path+".2", path))
		}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			f := mustFile(t, FileOptions{Path: path})
			if err := f.Write(t.Context(), []byte("ours\n")); err != nil {
				t.Fatal(err)
			}
			if err := c.after(path); err != nil {
				t.Fatal(err)
			}
			second, err := Take(path)
			if c.taken != (err == nil) || err != nil && (!errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path)) {
				t.Fatalf("the second one: %v", err)
			}
			if err != nil {
				return
			}
			defer second.Close()
			// The first one has lost the path: it must stop, and must not write there.
			err = f.Reopen(t.Context())
			if errors.Is(err, ErrRemoved) {
				err = f.Remake(t.Context(), func([]byte) error { return nil })
			}
			if !errors.Is(err, ErrFailed) || !errors.Is(err, ErrLocked) {
				t.Errorf("the first one: %v", err)
			}
			if err := f.Write(t.Context(), []byte("theirs\n")); !errors.Is(err, ErrLocked) {
				t.Errorf("its next write: %v", err)
			}
			if b := mustRead(t, path); len(b) > 0 {
				t.Errorf("the other one's file holds %q", b)
			}
		})
	}
}

// Whoever looks at any step of a rotation finds the file taken.
func TestNobodyTakesTheFileDuringARotation(t *testing.T) {
	fs := newMemFS()
	f := openMem(t, fs, FileOptions{MaxSize: 5})
	looks := 0
	fs.onStep = func(step string) {
		if step == "write" {
			return // the file is open then: no step of a rotation
		}
		looks++
		if c, err := take(fs, "/d/out", 0); !errors.Is(err, ErrLocked) {
			t.Errorf("before %q: %v", step, err)
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
	if looks < 8 {
		t.Errorf("%d steps of two rotations were looked at", looks)
	}
}

func TestATakenFileIsAnErrorForOnceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		f := openMem(t, fs, FileOptions{MaxSize: 5})
		if err := f.Write(t.Context(), []byte("1234\n")); err != nil {
			t.Fatal(err)
		}
		// One that starts looks whether the file is taken while it is between names.
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
			t.Errorf("%q, errors %v", got, errorsOf(f.Stats()))
		}
	})
}

func TestAClaimLeavesNothingWhereItCreatedTheFile(t *testing.T) {
	dir := t.TempDir()
	c, err := Take(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestResolveFollowsLinksToTheFile(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "sub", "deep")
	if err := os.MkdirAll(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{
		"absolute":        filepath.Join(sub, "file"),
		"relative":        "sub/deep/file",
		"of-a-link":       "relative",
		"linked-dir":      "sub/deep",
		"sub/deep/up":     "../beside",
		"loop":            "loop",
		"sub/deep/nobody": "missing/file",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"absolute":        "sub/deep/file",
		"relative":        "sub/deep/file",
		"of-a-link":       "sub/deep/file",
		"linked-dir/up":   "sub/beside",
		"plain":           "plain",
		"sub/deep/nobody": "sub/deep/missing/file",
		"no/such/dir":     "no/such/dir",
	} {
		if got, err := Resolve(filepath.Join(dir, path)); err != nil || got != filepath.Join(dir, want) {
			t.Errorf("%s: %s, %v; want %s", path, got, err, want)
		}
	}
	if got, err := Resolve(filepath.Join(dir, "loop")); err == nil {
		t.Errorf("a loop leads to %s", got)
	}
}

func TestARotationLeavesTheLinkAlone(t *testing.T) {
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
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if a, b := string(mustRead(t, archiveName(target, 1))), string(mustRead(t, link)); a != "1234\n" || b != "5678\n" {
		t.Errorf("the files hold %q and %q", a, b)
	}
}
