//go:build unix

package cli

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// pollRdBand is POLLRDBAND of Linux, macOS and the BSDs. It is never true of the end
// of a pipe that is written to; macOS looks at nothing where no event is asked for.
const pollRdBand = 0x80

// readerGone waits until nothing reads what is written to f any more, and reports
// whether that came before the end of ctx. For a pipe or a socket: others have no
// readers.
func readerGone(ctx context.Context, f *os.File) bool {
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
