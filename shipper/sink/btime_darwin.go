package sink

import (
	"os"
	"syscall"
	"time"
)

// btime returns the creation time of a file, and false if it is unknown.
func btime(f *os.File) (time.Time, bool) {
	info, err := f.Stat()
	if err != nil {
		return time.Time{}, false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(stat.Birthtimespec.Sec, stat.Birthtimespec.Nsec), true
}
