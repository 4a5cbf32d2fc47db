package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"raytap/cli"
)

// interruptPatience is how long a command that was interrupted may take to end
// what it has begun.
const interruptPatience = 500 * time.Millisecond

// operate runs an operator's command up to its exit code: after a signal 128
// and its number, as shells have it.
func operate(commands *cli.Commands, name string, out *answer, stderr io.Writer) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- commands.Run(ctx, name) }()
	select {
	case err := <-done:
		if cli.IsReaderGone(err) || errors.Is(out.err, syscall.EPIPE) && errors.Is(err, out.err) {
			return exitFailure // its reader has what it wanted
		}
		return out.code(told(stderr, err), stderr)
	case s := <-signals:
		stop()
		select {
		case <-done:
		case <-signals:
		case <-time.After(interruptPatience):
		}
		number, _ := s.(syscall.Signal)
		return 128 + int(number)
	}
}

// told prints why a command failed, and gives the exit code for it.
func told(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if text := cli.ErrorMessage(err); text != "" {
		for line := range strings.SplitSeq(text, "\n") {
			fmt.Fprintln(stderr, "raytap: "+line)
		}
	}
	var usage *cli.UsageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}
