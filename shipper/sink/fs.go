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
	// readDirNames returns the names in a directory.
	readDirNames(dir string) ([]string, error)
	// syncDir makes the names in a directory durable.
	syncDir(dir string) error
	// mkdirAll creates a directory and its missing parents.
	mkdirAll(dir string) error
}

// fsFile is one open file.
type fsFile interface {
	io.Writer
	io.ReaderAt
	io.Closer
	Sync() error
	Truncate(size int64) error
	// size returns bytes, and an error unless the file is a regular one.
	size() (int64, error)
	// createdAt returns the creation time, or the closest that the file system knows.
	createdAt() time.Time
	// sameFile reports whether path names this file.
	sameFile(path string) (bool, error)
	// links returns the number of names of the file; 0 once the last is removed.
	links() (uint64, error)
	// lock locks the file until it is closed. It returns ErrLocked at once if another
	// open file description has the lock.
	lock() error
}

// osFS is the operating system's file system.
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
func (osFS) mkdirAll(dir string) error    { return os.MkdirAll(dir, 0o750) }

func (osFS) readDirNames(dir string) ([]string, error) {
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
		return nil // this file system does not sync directories
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
		return 0, errors.New("not a regular file")
	}
	return info.Size(), nil
}

func (f osFile) createdAt() time.Time {
	if at, ok := btime(f.File); ok {
		return at
	}
	if info, err := f.Stat(); err == nil {
		return info.ModTime()
	}
	return time.Now()
}

func (f osFile) sameFile(path string) (bool, error) {
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
