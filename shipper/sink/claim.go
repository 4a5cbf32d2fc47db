package sink

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Claim is a sink file that this process has locked, to recover and write it. The lock
// is on the file itself, so renaming the file does not release it.
type Claim struct {
	path    string
	fs      fileSystem
	file    fsFile // nil once NewFile owns it, or after Close
	created bool   // the file did not exist
}

// Acquire opens the file at path, creates it if it does not exist, and locks it. It
// returns ErrLocked at once if another process has the lock, also while that process
// rotates the file. Resolve symbolic links first (see Resolve).
func Acquire(path string) (*Claim, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open sink file: %w", err)
	}
	c, err := acquire(osFS{}, path, DefaultFileMode)
	if err != nil {
		return nil, fmt.Errorf("open sink file %s: %w", path, err)
	}
	return c, nil
}

func acquire(fs fileSystem, path string, mode os.FileMode) (*Claim, error) {
	file, created, err := openLocked(fs, path, mode)
	if err != nil {
		return nil, err
	}
	c := &Claim{path: path, fs: fs, file: file, created: created}
	if err := checkRotation(fs, path); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close releases the file unless NewFile owns it, and removes it if Acquire created it
// and it is empty. A second Close does nothing.
func (c *Claim) Close() error {
	if c.file == nil {
		return nil
	}
	var err error
	if size, serr := c.file.size(); c.created && serr == nil && size == 0 {
		// It is still locked: a process that opens it now finds its name removed.
		if same, serr := c.file.sameFile(c.path); serr == nil && same {
			err = c.fs.remove(c.path)
		}
	}
	err = errors.Join(err, c.file.Close())
	c.file = nil
	return err
}

// Recover reads the file after a crash. If saved is of the same path, it truncates a
// torn last record, and calls record for each whole record after saved, in order,
// without the newline and with at most its first MaxRecord bytes. record must not
// retain the slice; Recover ends with the first error that it returns.
//
// After an error, Recover may be called again. Call NewFile next.
func (c *Claim) Recover(saved Watermark, record func([]byte) error) (Recovery, error) {
	file := c.file
	if c.created {
		file = nil
	}
	r, err := recoverFile(c.fs, file, c.path, saved, record)
	if err != nil {
		return r, fmt.Errorf("recover sink file %s: %w", c.path, err)
	}
	return r, nil
}

// maxOpenAttempts bounds how often a file is opened that is renamed before it can be
// locked.
const maxOpenAttempts = 100

// openLocked opens path, creates it if it does not exist, and locks it. The returned
// file is at path. created reports whether it did not exist.
func openLocked(fs fileSystem, path string, mode os.FileMode) (file fsFile, created bool, err error) {
	for range maxOpenAttempts {
		file, err = fs.open(path, os.O_RDWR|os.O_APPEND, mode)
		if errors.Is(err, os.ErrNotExist) {
			created = true
			file, err = fs.open(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, mode)
		}
		if err != nil {
			return nil, created, err
		}
		if err = file.lock(); err != nil {
			_ = file.Close()
			return nil, created, lockError(err)
		}
		same, serr := file.sameFile(path)
		if serr == nil && same {
			return file, created, nil
		}
		_ = file.Close()
		if serr != nil {
			return nil, created, serr
		}
		created = false // another process renamed it, and has created the next
	}
	return nil, false, errors.New("other processes keep renaming or removing it")
}

func lockError(err error) error {
	if errors.Is(err, ErrLocked) {
		return fmt.Errorf("it is %w: stop that process, or configure a different path for this one", err)
	}
	return fmt.Errorf("lock it: %w", err)
}

// checkRotation returns ErrLocked if another process is between the rename and the
// next open of a rotation of path: it keeps the lock on the newest rotated file until
// it has locked the next file.
func checkRotation(fs fileSystem, path string) error {
	all, err := listArchive(fs, path)
	if err != nil {
		return fmt.Errorf("list its directory: %w", err)
	}
	if len(all) == 0 || !all[len(all)-1].uncompressed {
		return nil
	}
	newest, err := fs.open(archiveName(path, all[len(all)-1].number), os.O_RDWR, 0)
	if err != nil {
		return nil // removed or not writable: no process writes it
	}
	defer newest.Close()
	if err := newest.lock(); errors.Is(err, ErrLocked) {
		return lockError(err)
	}
	return nil
}

// maxSymlinks bounds a chain of symbolic links; the kernel's limit is the same.
const maxSymlinks = 40

// Resolve returns the absolute path of the file that path leads to through symbolic
// links, even if that file does not exist yet. With it, a rotation renames the file
// and not the link.
func Resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	for range maxSymlinks {
		if err != nil {
			return "", err
		}
		var to string
		to, err = os.Readlink(path)
		switch {
		case errors.Is(err, syscall.EINVAL), errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return path, nil
		case err != nil:
			continue
		case !filepath.IsAbs(to):
			// .. is relative to the real directory.
			dir, derr := filepath.EvalSymlinks(filepath.Dir(path))
			to, err = filepath.Join(dir, to), derr
		}
		path = to
	}
	return "", fmt.Errorf("%s: more than %d symbolic links", path, maxSymlinks)
}

// lockOwner describes the process that has a lock on f, for error messages. Only Linux
// names it.
func lockOwner(f *os.File) string {
	const unknown = "another process"
	info, err := f.Stat()
	if err != nil {
		return unknown
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return unknown
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return unknown
	}
	defer locks.Close()
	inode, owner := fmt.Sprintf(":%d", st.Ino), unknown
	// 1: FLOCK  ADVISORY  WRITE 1234 08:02:1311 0 EOF
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		field := strings.Fields(lines.Text())
		if len(field) < 6 || field[1] != "FLOCK" || !strings.HasSuffix(field[5], inode) {
			continue
		}
		if owner != unknown {
			return unknown // the same number on two file systems
		}
		owner = "process " + field[4]
	}
	return owner
}
