//go:build unix

package cli

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// pollRdBand is POLLRDBAND of Linux, macOS and the BSDs. It never occurs on the write
// end of a pipe; macOS reports nothing if no event is requested.
const pollRdBand = 0x80

// waitReaderGone blocks until the reader of f, a pipe or a socket, is gone or ctx
// ends, and returns true in the first case.
func waitReaderGone(ctx context.Context, f *os.File) bool {
	wake, end, err := os.Pipe()
	if err != nil {
		return false
	}
	defer wake.Close()
	stop := context.AfterFunc(ctx, func() { end.Close() })
	defer func() {
		if stop() {
			end.Close()
		}
	}()
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: pollRdBand}, {Fd: int32(wake.Fd())}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || fds[1].Revents != 0:
			return false
		case fds[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0:
			return true
		}
	}
}
