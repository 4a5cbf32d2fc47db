package checkpoint

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isFull reports whether an error says that there is no room.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}

// remedy is what an operator can do about a save that failed; "" where the error
// says it.
func remedy(err error) string {
	for _, r := range []struct {
		text   string
		causes []error
	}{
		{"free some space, or raise the quota or the file size limit", []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG}},
		{"make the file and its directory writable for this user", []error{unix.EACCES, unix.EPERM, unix.EROFS}},
		{"raise the limit of open files (LimitNOFILE= of the unit, ulimit -n)", []error{unix.EMFILE, unix.ENFILE}},
		{"the file is mounted by itself, so that it cannot be replaced: mount its directory", []error{unix.EBUSY, unix.EXDEV}},
		{"see the kernel's log for the state of the disk", []error{unix.EIO}},
	} {
		for _, cause := range r.causes {
			if errors.Is(err, cause) {
				return ": " + r.text
			}
		}
	}
	return ""
}
