package sink

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fileSystem is what a File needs of the operating system.
type fileSystem interface {
	open(path string, flag int, mode os.FileMode) (fsFile, error)
	rename(from, to string) error
	remove(path string) error
	// names lists a directory.
	names(dir string) ([]string, error)
	// syncDir makes what names list durable.
	syncDir(dir string) error
	// makeDir creates a directory and those above it where they are missing.
	makeDir(dir string) error
}

// fsFile is one open file.
type fsFile interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Sync() error
	Truncate(size int64) error
	// size is in bytes; only a regular file has one.
	size() (int64, error)
	// born is when the file was created, as far as its file system tells.
	born() time.Time
	// at reports whether path names this very file.
	at(path string) (bool, error)
	// links is how many names the file has; 0 once the last one was removed.
	links() (uint64, error)
	// lock keeps the file for this opening of it until it is closed. It returns
	// an error that is ErrLocked at once where another opening has the lock.
	lock() error
}

// osFS is the real one.
type osFS struct{}

func (osFS) open(path string, flag int, mode os.FileMode) (fsFile, error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) rename(from, to string) error { return os.Rename(from, to) }
func (osFS) remove(path string) error     { return os.Remove(path) }
func (osFS) makeDir(dir string) error     { return os.MkdirAll(dir, 0o750) }

func (osFS) names(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (osFS) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) {
		return nil // a file system whose directories need none
	}
	return err
}

type osFile struct{ *os.File }

func (f osFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, errors.New("it is not a regular file")
	}
	return info.Size(), nil
}

func (f osFile) born() time.Time {
	if at, ok := birth(f.File); ok {
		return at
	}
	if info, err := f.Stat(); err == nil {
		return info.ModTime()
	}
	return time.Now()
}

func (f osFile) at(path string) (bool, error) {
	there, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(mine, there), nil
}

func (f osFile) links() (uint64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1, nil
	}
	return uint64(st.Nlink), nil
}

func (f osFile) lock() error {
	err := flock(f.File)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w by %s", ErrLocked, lockOwner(f.File))
	}
	return err
}
