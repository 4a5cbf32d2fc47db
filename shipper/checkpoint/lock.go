package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"raytap/shipper/sink"
)

// lockFile opens a file and locks it. It does not wait: a lock of another process is an
// error that wraps sink.ErrLocked. The locked file is the one that has the path now.
func lockFile(path string, flag int) (*os.File, error) {
	for range 10 {
		f, err := os.OpenFile(path, flag, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(f); err != nil {
			_ = f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("%s is %w by %s: stop that process, or configure a different path for this one", path, sink.ErrLocked, owner(path))
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		same, err := hasName(f, path)
		if err == nil && same {
			return f, nil
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("lock %s: another program keeps replacing the file: stop it", path)
}

func flock(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := conn.Control(func(fd uintptr) { err = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
	return errors.Join(err, cerr)
}

// hasName reports whether path names the open file.
func hasName(f *os.File, path string) (bool, error) {
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(path)
	return err == nil && os.SameFile(opened, named), err
}

// owner describes the process that has locked a file, with its id if the file has it.
func owner(path string) string {
	pid := 0
	_ = readUnlocked(path, func(bucket string, key, value []byte) error {
		if bucket == bucketMeta && string(key) == keyProcess {
			if value, err := unseal(bucket, key, value); err == nil {
				pid, _ = strconv.Atoi(string(value))
			}
		}
		return nil
	})
	if pid == 0 {
		return "another raytap"
	}
	return fmt.Sprintf("another raytap (process %d)", pid)
}
