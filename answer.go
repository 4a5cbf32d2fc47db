package main

import (
	"errors"
	"fmt"
	"io"
	"syscall"
)

// answer is standard output as commands write to it: it remembers the first
// error, so that none ends well whose answer was not written.
type answer struct {
	to  io.Writer
	err error
}

// Write passes p on.
func (a *answer) Write(p []byte) (int, error) {
	n, err := a.to.Write(p)
	if err != nil && a.err == nil {
		a.err = err
	}
	return n, err
}

// unfailing is an answer for the command line's parser, which panics where it
// cannot write.
type unfailing struct{ *answer }

// Write passes p on, and never fails.
func (u unfailing) Write(p []byte) (int, error) {
	_, _ = u.answer.Write(p) // which remembers its error
	return len(p), nil
}

// code is the exit code of a command that would end with code; where its answer
// was not written it is that of a failure, and says why. A reader that has gone,
// such as head, is no news.
func (a *answer) code(code int, stderr io.Writer) int {
	switch {
	case a.err == nil:
		return code
	case code == exitOK && !errors.Is(a.err, syscall.EPIPE):
		fmt.Fprintf(stderr, "raytap: write the answer: %v\n", a.err)
	}
	return max(code, exitFailure)
}
