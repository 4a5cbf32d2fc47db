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

// interruptGrace is the time that an interrupted command has to finish.
const interruptGrace = 500 * time.Millisecond

// runCommand runs a command on a cluster and returns the exit code: after a signal
// 128 plus its number, as in shells.
func runCommand(commands *cli.Commands, name string, out *output, stderr io.Writer) int {
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
			return exitFailure // the reader has read enough: no message
		}
		return out.code(exitCode(stderr, err), stderr)
	case s := <-signals:
		stop()
		select {
		case <-done:
		case <-signals:
		case <-time.After(interruptGrace):
		}
		number, _ := s.(syscall.Signal)
		return 128 + int(number)
	}
}

// exitCode prints the error of a command and returns its exit code.
func exitCode(stderr io.Writer, err error) int {
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
