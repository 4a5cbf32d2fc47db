package sink

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process has the lock.
var ErrLocked = errors.New("in use")

// Lock makes this process the only one that uses path, until the closer is
// closed or the process ends, however it ends. It locks path.lock, which stays
// there. It returns ErrLocked at once where another process has it.
func Lock(path string) (io.Closer, error) {
	name := path + ".lock"
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	err = flock(f)
	if err == nil {
		// Only for people: what counts is the lock.
		_ = f.Truncate(0)
		_, _ = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
		return f, nil
	}
	defer f.Close()
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	owner := "another process"
	pid, rerr := io.ReadAll(io.LimitReader(f, 20))
	if n, nerr := strconv.Atoi(strings.TrimSpace(string(pid))); rerr == nil && nerr == nil {
		owner = fmt.Sprintf("another raytap (process %d)", n)
	}
	return nil, fmt.Errorf("%s is %w by %s: stop that one, or give this one a path of its own", path, ErrLocked, owner)
}

// flock locks an open file for this opening of it alone, or returns an error at
// once. The lock ends with the file's Close, or with the process.
func flock(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := conn.Control(func(fd uintptr) { err = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
	return errors.Join(err, cerr)
}
