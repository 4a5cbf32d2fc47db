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

// Console is where a command reads and writes, and what it may take for
// granted there. The zero value of all but the streams is a script's console.
type Console struct {
	In       io.Reader
	Out, Err io.Writer

	// Asks is true where a person can be asked: In and Err are a terminal.
	Asks bool
	// Colors is true where Out is a terminal that wants colours.
	Colors bool
	// Width is the terminal's behind Out, in columns; 0 where it is none.
	Width int
	// Unread waits until nothing reads Out any more, and reports whether that came
	// before the end of ctx; nil where Out has no reader that can go.
	Unread func(ctx context.Context) bool
	// Now gives the time that "3m ago" counts from; nil is time.Now.
	Now func() time.Time
}

// NewConsole looks at the streams of a process. A NO_COLOR that is not empty
// and a TERM that is dumb switch colours off.
func NewConsole(in, out, err *os.File, env func(string) string) Console {
	c := Console{In: in, Out: out, Err: err}
	c.Asks = term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(err.Fd()))
	if fd := int(out.Fd()); term.IsTerminal(fd) {
		c.Colors = env("NO_COLOR") == "" && env("TERM") != "dumb"
		c.Width = 80
		if w, _, err := term.GetSize(fd); err == nil && w > 0 {
			c.Width = w
		}
	}
	if info, err := out.Stat(); err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) != 0 {
		c.Unread = func(ctx context.Context) bool { return readerGone(ctx, out) }
	}
	return c
}

// whileRead returns a context that also ends, with a cause that is EPIPE, when
// nothing reads Out any more. release frees what it holds.
func (c Console) whileRead(ctx context.Context) (_ context.Context, fail context.CancelCauseFunc, release func()) {
	ctx, fail = context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	if c.Unread != nil {
		wg.Go(func() {
			if c.Unread(ctx) {
				fail(errUnread)
			}
		})
	}
	return ctx, fail, func() {
		fail(nil)
		wg.Wait()
	}
}

// errUnread ends a command whose answer nothing reads any more.
var errUnread = fmt.Errorf("write the answer: %w", syscall.EPIPE)

// Unread reports whether a command ended because nothing reads its answer any
// more, which is no news.
func Unread(err error) bool { return errors.Is(err, errUnread) }

func (c Console) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// clusterClock returns the clock that ages of what a cluster reports count from: its
// own, as far as its answers show it, unless the console has one.
func clusterClock(c Console, cluster any) func() time.Time {
	ahead, ok := cluster.(interface{ ClockAhead() time.Duration })
	if c.Now != nil || !ok {
		return c.Now
	}
	return func() time.Time { return time.Now().Add(ahead.ClockAhead()) }
}

// notef tells a person something that is no part of the answer.
func (c Console) notef(format string, args ...any) {
	fmt.Fprintf(c.Err, "raytap: "+format+"\n", args...)
}

// confirm asks for leave to do what cannot be undone. Where nobody can be asked
// it refuses; only "y" and "yes" agree.
func (c Console) confirm(ctx context.Context, question string, yes bool) error {
	if yes {
		return nil
	}
	if !c.Asks {
		return usagef("this would ask first, and there is no terminal to ask at: give --yes to do it without a question")
	}
	fmt.Fprintf(c.Err, "%s [y/N] ", question)
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(c.In).ReadString('\n') // an end of the input is a no
		answers <- line
	}()
	select {
	case line := <-answers:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return errRefused
	case <-ctx.Done():
		fmt.Fprintln(c.Err)
		return ctx.Err()
	}
}
