package sink

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// btime returns the creation time of a file, and false if it is unknown.
func btime(f *os.File) (time.Time, bool) {
	var stat unix.Statx_t
	conn, err := f.SyscallConn()
	if err != nil {
		return time.Time{}, false
	}
	cerr := conn.Control(func(fd uintptr) {
		err = unix.Statx(int(fd), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &stat)
	})
	if err != nil || cerr != nil || stat.Mask&unix.STATX_BTIME == 0 {
		return time.Time{}, false
	}
	return time.Unix(stat.Btime.Sec, int64(stat.Btime.Nsec)), true
}
