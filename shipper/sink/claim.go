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

// Claim is a sink file that this process alone may recover and write. The lock is
// on the file itself, so it holds whatever happens to the file's name.
type Claim struct {
	path    string
	fs      fileSystem
	file    fsFile // nil once NewFile has it, or Close was called
	created bool   // the file was missing
}

// Take opens the file at path, creating it if need be, and locks it. The error is
// ErrLocked at once where another process has it, also where that one is in the
// middle of a rotation. A path that is a symbolic link has to be resolved before
// (see Resolve).
func Take(path string) (*Claim, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open sink file: %w", err)
	}
	c, err := take(osFS{}, path, DefaultFileMode)
	if err != nil {
		return nil, fmt.Errorf("open sink file %s: %w", path, err)
	}
	return c, nil
}

func take(fs fileSystem, path string, mode os.FileMode) (*Claim, error) {
	file, created, err := openLocked(fs, path, mode)
	if err != nil {
		return nil, err
	}
	c := &Claim{path: path, fs: fs, file: file, created: created}
	if err := rotating(fs, path); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Close releases the file where NewFile has not taken it, and removes it again
// where Take created it. A second Close does nothing.
func (c *Claim) Close() error {
	if c.file == nil {
		return nil
	}
	var err error
	if size, serr := c.file.size(); c.created && serr == nil && size == 0 {
		// Still locked: who opens it now finds out that its name has gone.
		if here, aerr := c.file.at(c.path); aerr == nil && here {
			err = c.fs.remove(c.path)
		}
	}
	err = errors.Join(err, c.file.Close())
	c.file = nil
	return err
}

// Recover reads the file after a crash: if saved is of its path, it cuts a torn
// last record off, and gives each whole record behind saved to record, in order,
// without its newline and at most its first MaxRecord bytes. The slice is record's
// only until it returns; an error that it returns ends the recovery.
//
// It is safe to recover again after any error. NewFile is what comes next.
func (c *Claim) Recover(saved Watermark, record func([]byte) error) (Recovered, error) {
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

// openTries bounds how often a file that is moved between its opening and its
// locking is opened again.
const openTries = 100

// openLocked opens path, creating it if need be, and locks it. The file that it
// returns is at path. created: path named none.
func openLocked(fs fileSystem, path string, mode os.FileMode) (file fsFile, created bool, err error) {
	for range openTries {
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
		here, aerr := file.at(path)
		if aerr == nil && here {
			return file, created, nil
		}
		_ = file.Close()
		if aerr != nil {
			return nil, created, aerr
		}
		created = false // by the one that moved it
	}
	return nil, false, errors.New("others rename or remove it as fast as it is opened")
}

func lockError(err error) error {
	if errors.Is(err, ErrLocked) {
		return fmt.Errorf("it is %w: stop that one, or give this one a path of its own", err)
	}
	return fmt.Errorf("lock it: %w", err)
}

// rotating returns ErrLocked where another process is between the rename and the
// next open of a rotation of path: it holds the newest rotated file until it has
// the next one.
func rotating(fs fileSystem, path string) error {
	all, err := listArchive(fs, path)
	if err != nil {
		return fmt.Errorf("list its directory: %w", err)
	}
	if len(all) == 0 || !all[len(all)-1].plain {
		return nil
	}
	newest, err := fs.open(archiveName(path, all[len(all)-1].number), os.O_RDWR, 0)
	if err != nil {
		return nil // removed, or never writable: nobody is writing it
	}
	defer newest.Close()
	if err := newest.lock(); errors.Is(err, ErrLocked) {
		return lockError(err)
	}
	return nil
}

// maxSymlinks bounds a chain of symbolic links, as the kernel does.
const maxSymlinks = 40

// Resolve follows path where it is a symbolic link, to the file that it leads to,
// or will once that is created. So a rotation renames the file, beside itself, and
// not the link. A path that is none comes back as it is, but absolute.
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
			// What .. is, the real directory tells.
			dir, derr := filepath.EvalSymlinks(filepath.Dir(path))
			to, err = filepath.Join(dir, to), derr
		}
		path = to
	}
	return "", fmt.Errorf("%s: more than %d symbolic links", path, maxSymlinks)
}

// lockOwner says who holds a lock of f, for people. Only Linux tells.
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
