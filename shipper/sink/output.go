package sink

import (
	"context"
	"errors"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// newFileOutput finds the way to write to f that ctx can end.
//
// The file descriptor that a process gets as stdout is a blocking one, and a
// blocked write cannot be called back. Making it non-blocking would make it so
// for everybody who shares it: the shell, and stderr after 2>&1. Linux can open
// the same pipe or terminal once more instead, with flags of its own.
func newFileOutput(f *os.File) output {
	conn, err := f.SyscallConn()
	if err != nil {
		return failedOutput{err}
	}
	if f.SetWriteDeadline(time.Time{}) == nil {
		return &polledOutput{f: f, conn: conn}
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		return &blockingOutput{conn: conn}
	}
	again, err := reopen(conn)
	if err != nil { // a socket, no /proc, or a pipe of another user's
		return &blockingOutput{conn: conn, chunk: pipeBuf}
	}
	if again.SetWriteDeadline(time.Time{}) != nil {
		// It cannot be polled, so it is always ready: /dev/null.
		_ = again.Close()
		return &blockingOutput{conn: conn}
	}
	conn, err = again.SyscallConn()
	if err != nil {
		_ = again.Close()
		return failedOutput{err}
	}
	return &polledOutput{f: again, conn: conn, own: true}
}

// reopen opens what lies behind conn once more, non-blocking.
func reopen(conn syscall.RawConn) (f *os.File, err error) {
	// Not f.Fd(): that would make f blocking again.
	cerr := conn.Control(func(fd uintptr) {
		f, err = os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(fd)), os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	})
	if cerr != nil {
		return nil, cerr
	}
	return f, err
}

// writeFD writes to fd once, and again where a signal came between. The os
// package would do more: raise SIGPIPE.
func writeFD(fd uintptr, p []byte) (int, error) {
	for {
		n, err := unix.Write(int(fd), p)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// polledOutput writes to a non-blocking file that the runtime's poller watches.
type polledOutput struct {
	f    *os.File
	conn syscall.RawConn
	own  bool // f is ours to close
}

func (o *polledOutput) write(ctx context.Context, p []byte) (n int, err error) {
	var werr error
	err = o.conn.Write(func(fd uintptr) bool {
		n, werr = writeFD(fd, p)
		return true
	})
	if err != nil || !again(werr) {
		return n, errors.Join(err, werr)
	}
	return o.wait(ctx, p)
}

// wait writes p as soon as there is room.
func (o *polledOutput) wait(ctx context.Context, p []byte) (n int, err error) {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = o.f.SetWriteDeadline(time.Unix(1, 0))
	})
	var werr error
	err = o.conn.Write(func(fd uintptr) bool {
		n, werr = writeFD(fd, p)
		return !again(werr)
	})
	if !stop() {
		<-fired // else it could end a later write
		_ = o.f.SetWriteDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, ctx.Err()
	}
	return n, errors.Join(err, werr)
}

func (o *polledOutput) close() error {
	if !o.own {
		return nil
	}
	err := o.f.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// again reports whether a write found no room.
func again(err error) bool { return errors.Is(err, unix.EAGAIN) }

const (
	// pipeBuf is how much a pipe that polls as writable takes without blocking
	// (POSIX; Linux has a whole page free then). A socket has more.
	pipeBuf = 4096
	// pollSlice bounds how long the end of a ctx goes unnoticed.
	pollSlice = 100 * time.Millisecond
)

// blockingOutput writes to a blocking file in pieces that cannot block, each
// once there is room for it.
type blockingOutput struct {
	conn  syscall.RawConn
	chunk int // bytes; 0 for a file that never blocks
}

func (o *blockingOutput) write(ctx context.Context, p []byte) (n int, err error) {
	if o.chunk > 0 {
		p = p[:min(len(p), o.chunk)]
	}
	ask := o.chunk > 0
	for {
		var werr error
		err = o.conn.Write(func(fd uintptr) bool {
			if ask && !writable(fd) {
				n, werr = 0, unix.EAGAIN
			} else {
				n, werr = writeFD(fd, p)
			}
			return true
		})
		ask = true // somebody made it non-blocking
		if err != nil || !again(werr) {
			return n, errors.Join(err, werr)
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
}

// writable waits for at most one slice. A reader that has gone counts as
// writable: the write then says so.
func writable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, int(pollSlice/time.Millisecond))
	return err == nil && n > 0
}

func (*blockingOutput) close() error { return nil }

// failedOutput is a file that was closed before it came here.
type failedOutput struct{ err error }

func (o failedOutput) write(context.Context, []byte) (int, error) { return 0, o.err }
func (failedOutput) close() error                                 { return nil }
