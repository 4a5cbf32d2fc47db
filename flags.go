package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"raytap/cli"
	"raytap/completion"
	"raytap/config"
	"raytap/connect"
)

// flags is the command line.
type flags struct {
	app  *kingpin.Application
	done bool // the parser has printed the output, such as --help

	configFile string
	run, show  *daemonFlags // of the commands run and config show
	checkFile  string       // argument of config check
	shell      string       // argument of completion

	target   connect.Target
	note     func(text string) // prints a message on stderr
	commands *cli.Commands
}

func newFlags(args []string, console cli.Console, out io.Writer) *flags {
	f := &flags{note: func(text string) { fmt.Fprintln(console.Err, "raytap: "+text) }}
	app := kingpin.New("raytap", "Prometheus exporter and log shipper for Ray clusters.\n\n"+
		"Without a command raytap runs as a daemon. It watches the clusters of --config.file, or without a configuration file the Ray that Ray's own tools would find: "+
		"at RAY_API_SERVER_ADDRESS, else at RAY_ADDRESS (an http URL, or host:6379 for http://host:8265; other values are errors), else at http://127.0.0.1:8265, "+
		"with the token in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token, and the headers in RAY_JOB_HEADERS. "+
		"It serves metrics on :9265, writes the log lines of running jobs to stdout as JSON, and its own log to stderr. "+
		"It saves its positions in $XDG_STATE_HOME/raytap or ~/.local/state/raytap.\n\n"+
		"The other commands query or change one cluster: that of --cluster or --url, else the one that Ray's own tools would find. "+
		"Exit codes: 0 success, 1 failure, 2 the command line or the configuration is wrong.")
	app.UsageWriter(out).ErrorWriter(out).UsageTemplate(usage).UsageFuncs(usageFuncs(app))
	app.Terminate(func(int) { f.done = true })
	app.HelpFlag.Short('h').Help("Show help.")
	app.Version(version.Print("raytap"))
	app.VersionFlag.Short('V').Help("Show the version.")
	f.app = app
	app.Flag("config.file", "Configuration file in YAML; see config.example.yaml.").PlaceHolder("FILE").StringVar(&f.configFile)

	run := app.Command(daemonCommand, "Run the daemon (default command).")
	if !slices.Contains(args, "--completion-bash") { // with a default command the parser completes no other command
		run.Default()
	}
	f.run = newDaemonFlags(run, &f.configFile)
	f.commands = cli.New(app, cli.Options{
		Console: console,
		ConnectFlags: func(to cli.Flags) {
			f.target.AddFlags(to, func() []string { return clusterNames(args) })
		},
		Connect:       f.connect,
		PositionsFile: f.positionsFile,
		Positions:     readPositions,
		Dash:          slices.Contains(args, "-"),
	})
	conf := app.Command("config", "Validate or print a configuration.")
	check := conf.Command("check", "Validate a configuration file and report all errors and warnings.").
		HelpLong("Example:\n\n  raytap config check /etc/raytap.yaml && systemctl reload raytap")
	check.Arg("file", "The configuration file.").Required().StringVar(&f.checkFile)
	show := conf.Command("show", "Print the effective configuration: file, flags and defaults, with secrets redacted.").
		HelpLong("Example:\n\n  raytap config show --config.file raytap.yaml --log.level debug")
	f.show = newDaemonFlags(show, &f.configFile)
	app.Command("version", "Print the version of raytap.").HelpLong("Use raytap health for the version of a cluster.")
	f.addCompletion()
	return f
}

func (f *flags) addCompletion() {
	// The parser has scripts of its own behind hidden flags
	// (--completion-script-bash); its bash script evaluates the suggestions.
	kingpin.BashCompletionTemplate, kingpin.ZshCompletionTemplate = completion.Script("bash"), completion.Script("zsh")
	cmd := f.app.Command("completion", "Print a shell completion script for commands, flags and cluster names.").
		HelpLong("Examples:\n\n  source <(raytap completion bash)\n  source <(raytap completion zsh)\n  raytap completion fish > ~/.config/fish/completions/raytap.fish")
	cmd.Arg("shell", "bash, zsh or fish.").Required().HintOptions("bash", "zsh", "fish").EnumVar(&f.shell, "bash", "zsh", "fish")
}

// connect returns a client of the cluster that the flags select.
func (f *flags) connect() (cli.Cluster, error) {
	target := f.target
	target.ConfigFile = f.configFile
	target.Note = f.note
	cluster, err := target.Resolve(context.Background(), os.LookupEnv)
	if err != nil {
		return nil, err
	}
	o := connect.Options{Version: version.Version, Live: cluster.Live}
	if cluster.API == config.APISynapse {
		return connect.Synapse(cluster.Cluster, o)
	}
	return connect.Dashboard(cluster.Cluster, o)
}

// help returns the command that shows the help for a command line that did not parse.
func (f *flags) help(args []string) string {
	context, _ := f.app.ParseContext(args) // a partial result
	if context == nil || context.SelectedCommand == nil || context.SelectedCommand.FullCommand() == daemonCommand {
		return "raytap --help"
	}
	return "raytap " + context.SelectedCommand.FullCommand() + " --help"
}

// daemonCommand is the default command.
const daemonCommand = "run"

// daemonFlags are the flags that override the configuration file.
type daemonFlags struct {
	configFile  *string
	web         *web.FlagConfig
	logLevel    string
	logFormat   string
	collector   bool
	collectors  map[string]*bool // by section of the configuration
	shipper     bool
	stopTimeout time.Duration

	setByUser map[string]*bool // which of the flags are set
}

func newDaemonFlags(cmd *kingpin.CmdClause, configFile *string) *daemonFlags {
	f := &daemonFlags{configFile: configFile, collectors: map[string]*bool{}, setByUser: map[string]*bool{}}
	override := func(name string, clause *kingpin.FlagClause) *kingpin.FlagClause {
		f.setByUser[name] = new(bool)
		return clause.IsSetByUser(f.setByUser[name])
	}
	f.web = kingpinflag.AddFlags(cmd, ":9265")
	for _, name := range []string{"web.listen-address", "web.config.file"} {
		override(name, cmd.GetFlag(name))
	}
	override("log.level", cmd.Flag("log.level", "Log level: debug, info, warning or error.").Default("info")).
		HintOptions("debug", "info", "warning", "error").StringVar(&f.logLevel)
	override("log.format", cmd.Flag("log.format", "Log format: text or json.").Default("text")).EnumVar(&f.logFormat, "text", "json")
	override("collector", cmd.Flag("collector.enabled", "Collect metrics.").Default("true")).BoolVar(&f.collector)
	for _, c := range []struct{ section, of string }{
		{"cluster", "cluster resources and demand"}, {"jobs", "jobs"}, {"nodes", "nodes"},
		{"tasks", "tasks"}, {"actors", "actors and placement groups"}, {"serve", "Serve"},
	} {
		name := "collector." + c.section + ".enabled"
		f.collectors[c.section] = override(name, cmd.Flag(name, "Collect metrics of "+c.of+".").Default("true")).Bool()
	}
	override("shipper", cmd.Flag("shipper.enabled", "Ship log lines.").Default("true")).BoolVar(&f.shipper)
	cmd.Flag("stop-timeout", "Time limit for a graceful shutdown.").Default("10s").DurationVar(&f.stopTimeout)
	return f
}

// load reads the configuration file, or else the environment, and applies the flags that are set.
func (f *daemonFlags) load() (config.Config, error) {
	c, err := loadConfig(*f.configFile)
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
		if *f.setByUser[name] {
			apply()
		}
	}
	for section, enabled := range map[string]*bool{
		"cluster": &c.Collector.Cluster.Enabled, "jobs": &c.Collector.Jobs.Enabled, "nodes": &c.Collector.Nodes.Enabled,
		"tasks": &c.Collector.Tasks.Enabled, "actors": &c.Collector.Actors.Enabled, "serve": &c.Collector.Serve.Enabled,
	} {
		if *f.setByUser["collector."+section+".enabled"] {
			*enabled = *f.collectors[section]
		}
	}
	return c, c.Validate()
}

// loadConfig reads a configuration file, or without one the environment.
func loadConfig(file string) (config.Config, error) {
	if file == "" {
		return config.FromEnvironment(os.LookupEnv)
	}
	return config.Load(file, os.LookupEnv)
}
