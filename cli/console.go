package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"
)

// Console has the streams of a command and the properties of its terminal. The
// zero value of all fields but the streams is right for a script.
type Console struct {
	In       io.Reader
	Out, Err io.Writer

	// Interactive is true if In and Err are a terminal, so that a command can ask for confirmation.
	Interactive bool
	// Colors enables colors on Out.
	Colors bool
	// Width of the terminal that Out is, in columns; 0 if Out is not a terminal.
	Width int
	// ErrWidth is the width of the terminal that Err is; 0 if Err is not a terminal.
	ErrWidth int
	// WaitReaderGone blocks until the reader of Out is gone or ctx ends, and returns
	// true in the first case; nil if Out is not a pipe or socket.
	WaitReaderGone func(ctx context.Context) bool
	// Now returns the time from which ages are computed; nil is time.Now.
	Now func() time.Time
}

// NewConsole returns the console of a process with these streams. A non-empty
// NO_COLOR or TERM=dumb disables colors.
func NewConsole(in, out, err *os.File, env func(string) string) Console {
	c := Console{In: in, Out: out, Err: err}
	c.Interactive = term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(err.Fd()))
	if fd := int(out.Fd()); term.IsTerminal(fd) {
		c.Colors = env("NO_COLOR") == "" && env("TERM") != "dumb"
		c.Width = 80
		if w, _, err := term.GetSize(fd); err == nil && w > 0 {
			c.Width = w
		}
	}
	if fd := int(err.Fd()); term.IsTerminal(fd) && env("TERM") != "dumb" {
		c.ErrWidth = 80
		if w, _, err := term.GetSize(fd); err == nil && w > 0 {
			c.ErrWidth = w
		}
	}
	if info, err := out.Stat(); err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
		c.WaitReaderGone = func(ctx context.Context) bool { return waitReaderGone(ctx, out) }
	}
	return c
}

// untilReaderGone returns a context that also ends, with the cause errReaderGone,
// when the reader of Out is gone. fail ends it with another cause. The caller must
// call release.
func (c Console) untilReaderGone(ctx context.Context) (_ context.Context, fail context.CancelCauseFunc, release func()) {
	ctx, fail = context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	if c.WaitReaderGone != nil {
		wg.Go(func() {
			if c.WaitReaderGone(ctx) {
				fail(errReaderGone)
			}
		})
	}
	return ctx, fail, func() {
		fail(nil)
		wg.Wait()
	}
}

// errReaderGone ends a command when the reader of its output is gone.
var errReaderGone = fmt.Errorf("write output: %w", syscall.EPIPE)

// IsReaderGone reports whether a command ended because the reader of its output is
// gone, which need not be reported.
func IsReaderGone(err error) bool { return errors.Is(err, errReaderGone) }

func (c Console) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// clusterClock returns the clock to compute ages from: the console's, else the
// cluster's own clock as estimated from its responses.
func clusterClock(c Console, cluster any) func() time.Time {
	ahead, ok := cluster.(interface{ ClockAhead() time.Duration })
	if c.Now != nil || !ok {
		return c.Now
	}
	return func() time.Time { return time.Now().Add(ahead.ClockAhead()) }
}

// infof prints a message on stderr.
func (c Console) infof(format string, args ...any) {
	fmt.Fprintf(c.Err, "raytap: "+format+"\n", args...)
}

// confirm asks for confirmation, unless yes is set. It returns nil for the answers
// "y" and "yes", and an error for all others, without a terminal, or when ctx ends.
func (c Console) confirm(ctx context.Context, question string, yes bool) error {
	if yes {
		return nil
	}
	if !c.Interactive {
		return usagef("confirmation required, but there is no terminal: use --yes to skip the confirmation")
	}
	fmt.Fprintf(c.Err, "%s [y/N] ", question)
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(c.In).ReadString('\n') // end of input means no
		lines <- line
	}()
	select {
	case line := <-lines:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return errNotConfirmed
	case <-ctx.Done():
		fmt.Fprintln(c.Err)
		return ctx.Err()
	}
}
