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

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"
	"github.com/sirupsen/logrus"

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

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is raytap with its arguments, up to its exit code. stdout gets the
// records, or the answer of a command that gives one; all else goes to stderr.
func run(args []string, stdout, stderr io.Writer) int {
	if version.Version == "" { // not set by the linker
		version.Version = "dev"
	}
	f := newFlags(stdout)
	command, err := f.app.Parse(args)
	switch {
	case f.answered: // --help and --version
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "raytap: %v; try raytap --help\n", err)
		return exitUsage
	}
	switch command {
	case "version":
		fmt.Fprintln(stdout, version.Print("raytap"))
		return exitOK
	case "config check":
		if _, err := config.Load(f.checked, os.LookupEnv); err != nil {
			report(stderr, logrus.New(), "text", err)
			return exitUsage
		}
		fmt.Fprintf(stdout, "%s is right.\n", f.checked)
		return exitOK
	case "config show":
		cfg, err := f.load()
		if err != nil {
			report(stderr, logrus.New(), "text", err)
			return exitUsage
		}
		fmt.Fprint(stdout, cfg.Redacted())
		return exitOK
	}
	return serve(f, stdout, stderr)
}

// serve runs the daemon until it is told to stop.
func serve(f *flags, stdout, stderr io.Writer) int {
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

// flags is the command line.
type flags struct {
	app      *kingpin.Application
	answered bool // the parser itself gave the answer

	configFile  string
	web         *web.FlagConfig
	logLevel    string
	logFormat   string
	collector   bool
	shipper     bool
	stopTimeout time.Duration
	checked     string // the file of config check

	given map[string]*bool // which of the flags that stand above the file were given
}

func newFlags(stdout io.Writer) *flags {
	f := &flags{given: map[string]*bool{}}
	app := kingpin.New("raytap", "Metrics and logs of Ray clusters.\n\n"+
		"Without a configuration file raytap watches the Ray that Ray's own tools would find: at RAY_API_SERVER_ADDRESS, "+
		"else RAY_ADDRESS if that is http, else http://127.0.0.1:8265, with the token in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token. "+
		"It serves metrics on :9265 and writes the lines of running jobs to stdout as JSON, its own log to stderr. "+
		"What was shipped it remembers in $XDG_STATE_HOME/raytap or ~/.local/state/raytap.")
	app.UsageWriter(stdout).ErrorWriter(stdout)
	app.Terminate(func(int) { f.answered = true })
	app.HelpFlag.Short('h')
	app.Version(version.Print("raytap"))
	app.VersionFlag.Short('V')
	f.app = app

	above := func(name string, clause *kingpin.FlagClause) *kingpin.FlagClause {
		f.given[name] = new(bool)
		return clause.IsSetByUser(f.given[name])
	}
	app.Flag("config.file", "The configuration, in YAML. See config.example.yaml.").StringVar(&f.configFile)
	f.web = kingpinflag.AddFlags(app, ":9265")
	for _, name := range []string{"web.listen-address", "web.config.file"} {
		above(name, app.GetFlag(name))
	}
	above("log.level", app.Flag("log.level", "debug, info, warning or error.").Default("info")).StringVar(&f.logLevel)
	above("log.format", app.Flag("log.format", "text or json.").Default("text")).EnumVar(&f.logFormat, "text", "json")
	above("collector", app.Flag("collector.enabled", "Collect metrics.").Default("true")).BoolVar(&f.collector)
	above("shipper", app.Flag("shipper.enabled", "Ship log lines.").Default("true")).BoolVar(&f.shipper)
	app.Flag("stop-timeout", "How long stopping may take before what is left is given up.").Default("10s").DurationVar(&f.stopTimeout)

	app.Command("run", "Run the daemon: what raytap does without a command.").Default()
	conf := app.Command("config", "Work on configurations.")
	check := conf.Command("check", "Tell everything that is wrong with a configuration file.")
	conf.Command("show", "Print the configuration that these flags give, defaults included, without its secrets.")
	check.Arg("file", "The file.").Required().StringVar(&f.checked)
	app.Command("version", "Print the version.")
	return f
}

// load reads the configuration, and lays over it the flags that were given.
func (f *flags) load() (config.Config, error) {
	var c config.Config
	var err error
	if f.configFile != "" {
		c, err = config.Load(f.configFile, os.LookupEnv)
	} else {
		c, err = config.Local(os.LookupEnv)
	}
	if err != nil {
		return c, err
	}
	for name, apply := range map[string]func(){
		"web.listen-address": func() { c.Web.ListenAddresses = *f.web.WebListenAddresses },
		"web.config.file":    func() { c.Web.ConfigFile = config.Path(*f.web.WebConfigFile) },
		"log.level":          func() { c.Log.Level = f.logLevel },
		"log.format":         func() { c.Log.Format = f.logFormat },
		"collector":          func() { c.Collector.Enabled = f.collector },
		"shipper":            func() { c.Shipper.Enabled = f.shipper },
	} {
		if *f.given[name] {
			apply()
		}
	}
	return c, c.Validate()
}
