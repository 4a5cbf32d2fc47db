// Command raytap runs beside Ray clusters: it shows them as Prometheus metrics,
// and ships the logs of their jobs as JSON lines, on stdout or into a file.
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

	"github.com/prometheus/common/version"
	"github.com/sirupsen/logrus"

	"raytap/cli"
	"raytap/config"
	"raytap/daemon"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // something broke
	exitUsage   = 2 // the command line or the configuration is wrong, or cannot be read
)

// signalTwice is how soon a signal after the first is taken for the same one:
// timeout(1), and supervisors that signal a whole group, send it twice.
const signalTwice = 300 * time.Millisecond

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is raytap with its arguments, up to its exit code. stdout gets the
// records, or the answer of a command that gives one; all else goes to stderr.
func run(args []string, stdin, stdout, stderr *os.File) int {
	if version.Version == "" { // not set by the linker
		version.Version = "dev"
	}
	console, out := cli.NewConsole(stdin, stdout, stderr, os.Getenv), &answer{to: stdout}
	console.Out = out
	f := newFlags(args, console, unfailing{out})
	command, err := f.app.Parse(args)
	switch {
	case f.answered: // --help, --version and completion
		return out.code(exitOK, stderr)
	case err != nil:
		fmt.Fprintf(stderr, "raytap: %v; try %s\n", err, f.help(args))
		return exitUsage
	case f.commands.Has(command):
		return operate(f.commands, command, out, stderr)
	case command == daemonCommand:
		return serve(f.run, stdout, stderr)
	}
	return out.code(f.explain(command, out, stderr), stderr)
}

// explain runs the commands that are about raytap itself.
func (f *flags) explain(command string, stdout, stderr io.Writer) int {
	switch command {
	case "version":
		fmt.Fprintln(stdout, version.Print("raytap"))
	case "completion":
		fmt.Fprint(stdout, f.completion())
	case "config check":
		cfg, err := config.Load(f.checked, os.LookupEnv)
		if err == nil {
			err = daemon.Check(cfg)
		}
		if err != nil {
			report(stderr, logrus.New(), "text", err)
			return exitUsage
		}
		for _, warning := range daemon.Warnings(cfg) {
			fmt.Fprintln(stderr, "raytap: warning: "+warning)
		}
		fmt.Fprintf(stdout, "%s is right.\n", f.checked)
	case "config show":
		cfg, err := f.show.load()
		if err != nil {
			report(stderr, logrus.New(), "text", err)
			return exitUsage
		}
		if note := cfg.Note(); note != "" {
			f.note(note)
		}
		fmt.Fprint(stdout, cfg.Redacted())
	}
	return exitOK
}

// serve runs the daemon until it is told to stop.
func serve(f *daemonFlags, stdout, stderr io.Writer) int {
	log := logrus.New()
	log.SetOutput(stderr)
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})

	// A reader of stdout or stderr that is gone is an error of a write, not the
	// end of the process.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	cfg, err := f.load()
	if err != nil {
		report(stderr, log, f.logFormat, err)
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
		report(stderr, log, cfg.Log.Format, err)
		var problems *config.Problems
		if errors.As(err, &problems) {
			return exitUsage
		}
		return exitFailure
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go obey(ctx, signals, stop, d, log)
	if err := d.Run(ctx); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			log.Error(line)
		}
		return exitFailure
	}
	return exitOK
}

// obey does what signals say: reload on SIGHUP, stop on the first of SIGTERM
// and SIGINT, and exit at once on the second.
func obey(ctx context.Context, signals <-chan os.Signal, stop func(), d *daemon.Daemon, log *logrus.Logger) {
	var first time.Time
	for s := range signals {
		switch {
		case s == syscall.SIGHUP:
			go func() { _ = d.Reload(ctx) }() // it logs its errors itself
		case !first.IsZero() && time.Since(first) < signalTwice:
		case !first.IsZero():
			log.Errorf("second %s: raytap exits at once", s)
			os.Exit(exitFailure)
		default:
			log.Infof("%s: raytap stops; a second one exits at once", s)
			first = time.Now()
			stop()
		}
	}
}

// report tells why raytap cannot run, a line for each reason.
func report(stderr io.Writer, log *logrus.Logger, format string, err error) {
	lines := []string{err.Error()}
	var problems *config.Problems
	if errors.As(err, &problems) {
		lines = problems.Lines()
	}
	for _, line := range lines {
		if format == "json" {
			log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano})
			log.Error(line)
		} else {
			fmt.Fprintln(stderr, "raytap: "+line)
		}
	}
}
