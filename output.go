package main

import (
	"errors"
	"fmt"
	"io"
	"syscall"
)

// output is a command's standard output. It remembers the first write error, so that
// no command exits with 0 if its output was not written.
type output struct {
	to  io.Writer
	err error
}

// Write writes p and remembers the first error.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

// neverFailing is an output for the command-line parser, which panics on a write
// error.
type neverFailing struct{ *output }

// Write writes p and returns no error.
func (n neverFailing) Write(p []byte) (int, error) {
	_, _ = n.output.Write(p) // output remembers the error
	return len(p), nil
}

// code returns the exit code of a command that would exit with code. If its output was
// not written it prints the error and returns a failure; it prints nothing if the
// reader is gone, as with head(1).
func (o *output) code(code int, stderr io.Writer) int {
	switch {
	case o.err == nil:
		return code
	case code == exitOK && !errors.Is(o.err, syscall.EPIPE):
		fmt.Fprintf(stderr, "raytap: write output: %v\n", o.err)
	}
	return max(code, exitFailure)
}
