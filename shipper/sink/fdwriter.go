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

// newFDWriter returns a writer to f whose writes ctx can end.
//
// A process gets stdout as a blocking file descriptor, and a blocked write cannot be
// interrupted. Making it non-blocking would affect all that share it: the shell, and
// stderr after 2>&1. Linux can instead open the same pipe or terminal again, with
// flags of its own.
func newFDWriter(f *os.File) ctxWriter {
	conn, err := f.SyscallConn()
	if err != nil {
		return closedWriter{err}
	}
	if f.SetWriteDeadline(time.Time{}) == nil {
		return &pollWriter{f: f, conn: conn}
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		return &blockingWriter{conn: conn}
	}
	again, err := reopen(conn)
	if err != nil { // a socket, no /proc, or a pipe of another user
		return &blockingWriter{conn: conn, chunk: pipeBuf}
	}
	if again.SetWriteDeadline(time.Time{}) != nil {
		// It cannot be polled, so it is always writable: /dev/null.
		_ = again.Close()
		return &blockingWriter{conn: conn}
	}
	conn, err = again.SyscallConn()
	if err != nil {
		_ = again.Close()
		return closedWriter{err}
	}
	return &pollWriter{f: again, conn: conn, owned: true}
}

// reopen opens the file of conn again, non-blocking.
func reopen(conn syscall.RawConn) (f *os.File, err error) {
	// f.Fd() would make f blocking again.
	cerr := conn.Control(func(fd uintptr) {
		f, err = os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(fd)), os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	})
	if cerr != nil {
		return nil, cerr
	}
	return f, err
}

// writeFD writes to fd once, and again after EINTR. The os package would also raise
// SIGPIPE.
func writeFD(fd uintptr, p []byte) (int, error) {
	for {
		n, err := unix.Write(int(fd), p)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// pollWriter writes to a non-blocking file through the runtime's poller.
type pollWriter struct {
	f     *os.File
	conn  syscall.RawConn
	owned bool // close closes f
}

func (o *pollWriter) write(ctx context.Context, p []byte) (n int, err error) {
	var werr error
	err = o.conn.Write(func(fd uintptr) bool {
		n, werr = writeFD(fd, p)
		return true
	})
	if err != nil || !wouldBlock(werr) {
		return n, errors.Join(err, werr)
	}
	return o.wait(ctx, p)
}

// wait writes p as soon as the file is writable.
func (o *pollWriter) wait(ctx context.Context, p []byte) (n int, err error) {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = o.f.SetWriteDeadline(time.Unix(1, 0))
	})
	var werr error
	err = o.conn.Write(func(fd uintptr) bool {
		n, werr = writeFD(fd, p)
		return !wouldBlock(werr)
	})
	if !stop() {
		<-fired // otherwise it could end a later write
		_ = o.f.SetWriteDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, ctx.Err()
	}
	return n, errors.Join(err, werr)
}

func (o *pollWriter) close() error {
	if !o.owned {
		return nil
	}
	err := o.f.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// wouldBlock reports whether err is EAGAIN: the file is not writable now.
func wouldBlock(err error) bool { return errors.Is(err, unix.EAGAIN) }

const (
	// pipeBuf is how many bytes a pipe that polls as writable accepts without blocking
	// (POSIX; on Linux a whole page is free then). A socket accepts more.
	pipeBuf = 4096
	// pollInterval is the maximum delay until the end of ctx is noticed.
	pollInterval = 100 * time.Millisecond
)

// blockingWriter writes to a blocking file in chunks that do not block, each once the
// file is writable.
type blockingWriter struct {
	conn  syscall.RawConn
	chunk int // bytes; 0 if the file never blocks
}

func (o *blockingWriter) write(ctx context.Context, p []byte) (n int, err error) {
	if o.chunk > 0 {
		p = p[:min(len(p), o.chunk)]
	}
	poll := o.chunk > 0
	for {
		var werr error
		err = o.conn.Write(func(fd uintptr) bool {
			if poll && !writable(fd) {
				n, werr = 0, unix.EAGAIN
			} else {
				n, werr = writeFD(fd, p)
			}
			return true
		})
		poll = true // another process made it non-blocking
		if err != nil || !wouldBlock(werr) {
			return n, errors.Join(err, werr)
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
}

// writable waits for at most pollInterval. It returns true if the reader has closed:
// the write then returns EPIPE.
func writable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, int(pollInterval/time.Millisecond))
	return err == nil && n > 0
}

func (*blockingWriter) close() error { return nil }

// closedWriter is a file that was already closed.
type closedWriter struct{ err error }

func (o closedWriter) write(context.Context, []byte) (int, error) { return 0, o.err }
func (closedWriter) close() error                                 { return nil }
