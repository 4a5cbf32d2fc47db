package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
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
	return c
}

func (c Console) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
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
