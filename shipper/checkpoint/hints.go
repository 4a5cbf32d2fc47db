package checkpoint

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isFull reports whether an error means that there is no space left.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// hint returns what an operator can do about a failed save, as the end of an error message;
// "" if there is nothing to add.
func hint(err error) string {
	for _, r := range []struct {
		text   string
		causes []error
	}{
		{"free some space, or raise the quota or the file size limit", []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG}},
		{"make the file and its directory writable for this user", []error{unix.EACCES, unix.EPERM, unix.EROFS}},
		{"raise the limit of open files (LimitNOFILE= of the unit, ulimit -n)", []error{unix.EMFILE, unix.ENFILE}},
		{"the file itself is a mount point and cannot be replaced: mount its directory instead", []error{unix.EBUSY, unix.EXDEV}},
		{"check the kernel's log for disk errors", []error{unix.EIO}},
	} {
		for _, cause := range r.causes {
			if errors.Is(err, cause) {
				return ": " + r.text
			}
		}
	}
	return ""
}
