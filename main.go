// Command raytap exports the state of Ray clusters as Prometheus metrics, and ships
// the logs of their jobs as JSON lines to stdout or to a file.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/prometheus/common/version"
	"github.com/sirupsen/logrus"

	"raytap/cli"
	"raytap/completion"
	"raytap/config"
	"raytap/daemon"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // runtime error
	exitUsage   = 2 // the command line or the configuration is wrong or unreadable
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run parses the arguments, runs the command and returns the exit code. stdout gets
// the records of the daemon, or the output of a command; everything else goes to
// stderr.
func run(args []string, stdin, stdout, stderr *os.File) int {
	if version.Version == "" { // not set by the linker
		version.Version = "dev"
	}
	console, out := cli.NewConsole(stdin, stdout, stderr, os.Getenv), &output{to: stdout}
	console.Out = out
	f := newFlags(args, console, neverFailing{out})
	command, err := f.app.Parse(args)
	switch {
	case f.done: // --help, --version and completion
		return out.code(exitOK, stderr)
	case err != nil:
		fmt.Fprintf(stderr, "raytap: %v; try %s\n", err, f.help(args))
		return exitUsage
	case f.commands.Has(command):
		return runCommand(f.commands, command, out, stderr)
	case command == daemonCommand:
		return runDaemon(f.run, stdout, stderr)
	}
	return out.code(f.runLocal(command, out, stderr), stderr)
}

// runLocal runs the commands that concern raytap itself and returns the exit code.
func (f *flags) runLocal(command string, stdout, stderr io.Writer) int {
	switch command {
	case "version":
		fmt.Fprintln(stdout, version.Print("raytap"))
	case "completion":
		fmt.Fprint(stdout, completion.Script(f.shell))
	case "config check":
		cfg, err := config.Load(f.checkFile, os.LookupEnv)
		if err == nil {
			err = daemon.Check(cfg)
		}
		if err != nil {
			printErrors(stderr, logrus.New(), "text", err)
			return exitUsage
		}
		for _, warning := range daemon.Warnings(cfg) {
			fmt.Fprintln(stderr, "raytap: warning: "+warning)
		}
		fmt.Fprintf(stdout, "%s: configuration is valid\n", f.checkFile)
	case "config show":
		cfg, err := f.show.load()
		if err != nil {
			printErrors(stderr, logrus.New(), "text", err)
			return exitUsage
		}
		if note := cfg.Note(); note != "" {
			f.note(note)
		}
		fmt.Fprint(stdout, cfg.Redacted())
	}
	return exitOK
}

// printErrors prints why raytap cannot start, a line for each configuration error.
func printErrors(stderr io.Writer, log *logrus.Logger, format string, err error) {
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
