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

// Stdout writes records to a pipe, a terminal, a socket or a file that
// somebody else opened. It delivers up to there: what lies unread in a pipe
// when its reader dies goes with the reader.
//
// A reader that does not read is back-pressure, which ctx can end at any time.
// A reader that has gone (EPIPE) is ErrClosed. A full disk behind a redirected
// stdout is waited out.
//
// It never raises SIGPIPE, which os.Stdout.Write does for file descriptor 1,
// killing the process. The program's own log on stderr still does: main should
// call signal.Ignore(syscall.SIGPIPE).
type Stdout struct {
	// Log is told of a full disk. It may be nil; set it before the first Write.
	Log logrus.FieldLogger

	out    output
	broken error // non-nil: finished
	full   stall
	stats  Stats
}

// output is one way to write bytes that may have to wait.
type output interface {
	// write writes p, waiting until ctx ends, and returns how much of it is out.
	write(ctx context.Context, p []byte) (int, error)
	close() error
}

// NewStdout writes to w, normally os.Stdout. Where w is an *os.File, waiting
// for its reader can be ended by ctx; for any other writer it cannot.
//
// It does not change w's file status flags (they are shared with every other
// process that holds it). Close leaves w open.
func NewStdout(w io.Writer) *Stdout {
	if f, ok := w.(*os.File); ok {
		return &Stdout{out: newFileOutput(f)}
	}
	return &Stdout{out: plainOutput{w}}
}

// Stats counts what was written; any goroutine may read it.
func (s *Stdout) Stats() *Stats { return &s.stats }

// Write implements Sink.
func (s *Stdout) Write(ctx context.Context, p []byte) error {
	if s.broken != nil {
		return s.broken
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	for done := 0; done < len(p); {
		n, err := s.out.write(ctx, p[done:])
		done += n
		if n > 0 {
			s.full.over(s.Log, &s.stats)
		}
		if err == nil {
			continue
		}
		if ctx.Err() == nil {
			s.stats.fail(kindOf(err))
			if kindOf(err) == kindFull {
				err = s.full.wait(ctx, s.Log, &s.stats, err, "free some space where stdout is redirected to")
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

// end turns the error that stopped a Write after done bytes into what the
// contract promises.
func (s *Stdout) end(err error, done int) error {
	switch {
	case errors.Is(err, unix.EPIPE), errors.Is(err, io.ErrClosedPipe):
		s.broken = fmt.Errorf("write to stdout: %w: nobody reads it any more", ErrClosed)
	case done == 0 && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return fmt.Errorf("write to stdout: its reader does not read: %w", err)
	default:
		s.broken = fmt.Errorf("write to stdout: %w after %d bytes: %w", ErrFailed, done, err)
	}
	return s.broken
}

// Close implements Sink.
func (s *Stdout) Close() error {
	if s.broken == nil {
		s.broken = fmt.Errorf("write to stdout: %w", ErrClosed)
	}
	return s.out.close()
}

// plainOutput is any writer: it waits as long as the writer does.
type plainOutput struct{ w io.Writer }

func (o plainOutput) write(_ context.Context, p []byte) (int, error) {
	n, err := o.w.Write(p)
	if errors.Is(err, io.ErrShortWrite) && n > 0 {
		err = nil
	}
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	return n, err
}

func (plainOutput) close() error { return nil }
