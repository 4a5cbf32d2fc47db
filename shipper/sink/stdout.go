package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Stdout writes records to a pipe, terminal, socket or file that the caller opened. It
// delivers up to there: what is unread in a pipe when its reader dies is lost.
//
// A reader that does not read is back-pressure, which ctx can end at any time. A
// reader that has exited (EPIPE) is ErrClosed. If stdout is redirected to a full disk,
// Write waits for space.
//
// It never raises SIGPIPE, which os.Stdout.Write does for file descriptor 1, and which
// kills the process. The program's own log on stderr still does: main should call
// signal.Ignore(syscall.SIGPIPE).
//
// Stats may be called concurrently.
type Stdout struct {
	// Log gets messages about a full disk. It may be nil; set it before the first
	// Write.
	Log logrus.FieldLogger

	out       ctxWriter
	failedErr error // non-nil: failed or closed
	full      stall
	stats     Stats
}

// ctxWriter writes bytes and may block until ctx ends.
type ctxWriter interface {
	// write writes p, and returns how much of it was written when ctx ends or an
	// error occurs.
	write(ctx context.Context, p []byte) (int, error)
	close() error
}

// NewStdout returns a sink that writes to w, normally os.Stdout. ctx can end a blocked
// Write only if w is an *os.File.
//
// It does not change w's file status flags, which all processes that have w open
// share. Close leaves w open.
func NewStdout(w io.Writer) *Stdout {
	if f, ok := w.(*os.File); ok {
		return &Stdout{out: newFDWriter(f)}
	}
	return &Stdout{out: plainWriter{w}}
}

// Stats returns the sink's counters. They may be read concurrently.
func (s *Stdout) Stats() *Stats { return &s.stats }

// Write implements Sink.
func (s *Stdout) Write(ctx context.Context, p []byte) error {
	if s.failedErr != nil {
		return s.failedErr
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	for done := 0; done < len(p); {
		n, err := s.out.write(ctx, p[done:])
		done += n
		if n > 0 {
			s.full.recovered(&s.stats)
		}
		if err == nil {
			continue
		}
		if ctx.Err() == nil {
			s.stats.countError(kindOf(err))
			if kindOf(err) == kindFull {
				err = s.full.wait(ctx, s.Log, &s.stats, err, "free some space on the disk that stdout is redirected to")
			}
		}
		if err != nil {
			s.stats.StalledSince.Store(0)
			return s.end(err, done)
		}
	}
	s.stats.Bytes.Add(uint64(len(p)))
	return nil
}

// end returns the error of a Write that failed with err after done bytes, and marks
// the sink as failed if the error is final.
func (s *Stdout) end(err error, done int) error {
	switch {
	case errors.Is(err, unix.EPIPE), errors.Is(err, io.ErrClosedPipe):
		s.failedErr = fmt.Errorf("write to stdout: its reader has exited: %w", ErrClosed)
	case done == 0 && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return fmt.Errorf("write to stdout: its reader is blocked: %w", err)
	default:
		s.failedErr = fmt.Errorf("write to stdout: %w after %d bytes: %w", ErrFailed, done, err)
	}
	return s.failedErr
}

// Close implements Sink.
func (s *Stdout) Close() error {
	if s.failedErr == nil {
		s.failedErr = fmt.Errorf("write to stdout: %w", ErrClosed)
	}
	return s.out.close()
}

// plainWriter writes to any writer, which ctx cannot interrupt.
type plainWriter struct{ w io.Writer }

func (o plainWriter) write(_ context.Context, p []byte) (int, error) {
	n, err := o.w.Write(p)
	if errors.Is(err, io.ErrShortWrite) && n > 0 {
		err = nil
	}
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	return n, err
}

func (plainWriter) close() error { return nil }
