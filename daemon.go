package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/common/version"
	"github.com/sirupsen/logrus"

	"raytap/config"
	"raytap/daemon"
)

// duplicateSignalWindow is the time within which a second signal is ignored as a
// duplicate of the first: timeout(1), and supervisors that signal a whole process
// group, send it twice.
const duplicateSignalWindow = 300 * time.Millisecond

// runDaemon runs the daemon until a signal stops it, and returns the exit code.
func runDaemon(f *daemonFlags, stdout, stderr io.Writer) int {
	log := logrus.New()
	log.SetOutput(stderr)
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})

	// If the reader of stdout or stderr is gone, a write returns an error instead of
	// ending the process.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	cfg, err := f.load()
	if err != nil {
		printErrors(stderr, log, f.logFormat, err)
		return exitUsage
	}
	if cfg.Log.Format == "json" {
		log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano})
	}
	if level, err := logrus.ParseLevel(cfg.Log.Level); err == nil {
		log.SetLevel(level)
	}
	if note := cfg.Note(); note != "" {
		log.Warn(note)
	}
	d, err := daemon.New(cfg, daemon.Options{
		Load: f.load, Stdout: stdout, SystemdSocket: *f.web.WebSystemdSocket,
		StopTimeout: f.stopTimeout, Version: version.Version, Log: log,
	})
	if err != nil {
		printErrors(stderr, log, cfg.Log.Format, err)
		var problems *config.Problems
		if errors.As(err, &problems) {
			return exitUsage
		}
		return exitFailure
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go handleSignals(ctx, signals, stop, d, log)
	if err := d.Run(ctx); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			log.Error(line)
		}
		return exitFailure
	}
	return exitOK
}

// handleSignals reloads the configuration on SIGHUP, calls stop on the first SIGTERM
// or SIGINT, and exits immediately on the second.
func handleSignals(ctx context.Context, signals <-chan os.Signal, stop func(), d *daemon.Daemon, log *logrus.Logger) {
	var first time.Time
	for s := range signals {
		log := log.WithField("signal", s.String())
		switch {
		case s == syscall.SIGHUP:
			go func() { _ = d.Reload(ctx) }() // Reload logs its errors
		case !first.IsZero() && time.Since(first) < duplicateSignalWindow:
		case !first.IsZero():
			log.Error("Second signal received, exiting immediately")
			os.Exit(exitFailure)
		default:
			log.Info("Shutting down; a second signal exits immediately")
			first = time.Now()
			stop()
		}
	}
}
