package main

import (
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
	"raytap/config"
	"raytap/connect"
)

// flags is the command line.
type flags struct {
	app      *kingpin.Application
	answered bool // the parser itself gave the answer

	configFile string
	run, show  *daemonFlags // of run and of config show
	checked    string       // the file of config check
	shell      string       // of completion

	target   connect.Target
	note     func(text string) // tells a person something
	commands *cli.Commands
}

func newFlags(args []string, console cli.Console, out io.Writer) *flags {
	f := &flags{note: func(text string) { fmt.Fprintln(console.Err, "raytap: "+text) }}
	app := kingpin.New("raytap", "Metrics and logs of Ray clusters.\n\n"+
		"Without a command raytap is a daemon that watches clusters: those of --config.file, else the Ray that Ray's own tools would find, "+
		"at RAY_API_SERVER_ADDRESS, else that of RAY_ADDRESS (http, or host:6379 for http://host:8265; others are refused), else http://127.0.0.1:8265, with the token in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token and the headers in RAY_JOB_HEADERS. "+
		"It serves metrics on :9265 and writes the lines of running jobs to stdout as JSON, its own log to stderr. "+
		"What was shipped it remembers in $XDG_STATE_HOME/raytap or ~/.local/state/raytap.\n\n"+
		"The commands ask one cluster something, for a person or a script: the one of --cluster or --url, else the one that Ray's own tools would find. "+
		"They exit with 0 when done, 1 when something failed, 2 when the command line or the configuration is wrong.")
	app.UsageWriter(out).ErrorWriter(out).UsageTemplate(usage).UsageFuncs(usageFuncs(app))
	app.Terminate(func(int) { f.answered = true })
	app.HelpFlag.Short('h').Help("Explain this.")
	app.Version(version.Print("raytap"))
	app.VersionFlag.Short('V').Help("Print the version of raytap.")
	f.app = app
	app.Flag("config.file", "The configuration, in YAML. See config.example.yaml.").PlaceHolder("FILE").StringVar(&f.configFile)

	run := app.Command(daemonCommand, "Run the daemon: what raytap does without a command.")
	if !slices.Contains(args, "--completion-bash") { // the parser would complete no other command than its default
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
	conf := app.Command("config", "Work on configurations.")
	check := conf.Command("check", "Tell everything that is wrong with a configuration file, and warn of what has no effect.").
		HelpLong("Example:\n\n  raytap config check /etc/raytap.yaml && systemctl reload raytap")
	check.Arg("file", "The file.").Required().StringVar(&f.checked)
	show := conf.Command("show", "Print the configuration that these flags give, defaults included, without its secrets.").
		HelpLong("Example:\n\n  raytap config show --config.file raytap.yaml --log.level debug")
	f.show = newDaemonFlags(show, &f.configFile)
	app.Command("version", "Print the version of raytap.").HelpLong("What a cluster runs is told by raytap health.")
	f.addCompletion()
	return f
}

// connect makes the client of the cluster that the flags name.
func (f *flags) connect() (cli.Cluster, error) {
	target := f.target
	target.ConfigFile = f.configFile
	target.Note = f.note
	cluster, err := target.Resolve(os.LookupEnv)
	if err != nil {
		return nil, err
	}
	o := connect.Options{Version: version.Version}
	if cluster.API == config.APISynapse {
		return connect.Synapse(cluster, o)
	}
	return connect.Dashboard(cluster, o)
}

// help is the command that explains the command line that did not parse.
func (f *flags) help(args []string) string {
	context, _ := f.app.ParseContext(args) // what it could make of them
	if context == nil || context.SelectedCommand == nil || context.SelectedCommand.FullCommand() == daemonCommand {
		return "raytap --help"
	}
	return "raytap " + context.SelectedCommand.FullCommand() + " --help"
}

// daemonCommand is what runs without a command.
const daemonCommand = "run"

// daemonFlags are the flags that stand above the configuration's file.
type daemonFlags struct {
	configFile  *string
	web         *web.FlagConfig
	logLevel    string
	logFormat   string
	collector   bool
	collectors  map[string]*bool // by their section of the configuration
	shipper     bool
	stopTimeout time.Duration

	given map[string]*bool // which of them were given
}

func newDaemonFlags(cmd *kingpin.CmdClause, configFile *string) *daemonFlags {
	f := &daemonFlags{configFile: configFile, collectors: map[string]*bool{}, given: map[string]*bool{}}
	above := func(name string, clause *kingpin.FlagClause) *kingpin.FlagClause {
		f.given[name] = new(bool)
		return clause.IsSetByUser(f.given[name])
	}
	f.web = kingpinflag.AddFlags(cmd, ":9265")
	for _, name := range []string{"web.listen-address", "web.config.file"} {
		above(name, cmd.GetFlag(name))
	}
	above("log.level", cmd.Flag("log.level", "debug, info, warning or error.").Default("info")).
		HintOptions("debug", "info", "warning", "error").StringVar(&f.logLevel)
	above("log.format", cmd.Flag("log.format", "text or json.").Default("text")).EnumVar(&f.logFormat, "text", "json")
	above("collector", cmd.Flag("collector.enabled", "Collect metrics.").Default("true")).BoolVar(&f.collector)
	for _, one := range []struct{ section, of string }{
		{"cluster", "resources, and of what waits for them"}, {"jobs", "jobs"}, {"nodes", "nodes"},
		{"tasks", "tasks"}, {"actors", "actors and placement groups"}, {"serve", "Serve"},
	} {
		name := "collector." + one.section + ".enabled"
		f.collectors[one.section] = above(name, cmd.Flag(name, "Collect metrics of "+one.of+".").Default("true")).Bool()
	}
	above("shipper", cmd.Flag("shipper.enabled", "Ship log lines.").Default("true")).BoolVar(&f.shipper)
	cmd.Flag("stop-timeout", "How long stopping may take before what is left is given up.").Default("10s").DurationVar(&f.stopTimeout)
	return f
}

// load reads the configuration, and lays over it the flags that were given.
func (f *daemonFlags) load() (config.Config, error) {
	var c config.Config
	var err error
	if *f.configFile != "" {
		c, err = config.Load(*f.configFile, os.LookupEnv)
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
	for section, enabled := range map[string]*bool{
		"cluster": &c.Collector.Cluster.Enabled, "jobs": &c.Collector.Jobs.Enabled, "nodes": &c.Collector.Nodes.Enabled,
		"tasks": &c.Collector.Tasks.Enabled, "actors": &c.Collector.Actors.Enabled, "serve": &c.Collector.Serve.Enabled,
	} {
		if *f.given["collector."+section+".enabled"] {
			*enabled = *f.collectors[section]
		}
	}
	return c, c.Validate()
}
