// Package cli implements the commands with which an operator, or a script,
// queries and changes one cluster.
//
// Each command declares the one or two calls that it needs in an interface of its
// own. Results go to stdout, as a table, JSON or YAML; everything else goes to
// stderr.
package cli

import (
	"context"

	"github.com/alecthomas/kingpin/v2"
)

// Cluster has the methods that the commands call. Both clients implement it; a
// method that an API does not support returns an error with code 501.
type Cluster interface {
	jobLister
	jobStopper
	tailer
	nodeGetter
	taskGetter
	serveLister
	applicationDeleter
	applicationDeployer
	acceleratorReader
	prober
	Close()
}

// Flags is an application or a command to which flags can be added.
type Flags interface {
	Flag(name, help string) *kingpin.FlagClause
}

// Options connects the commands to the rest of the program.
type Options struct {
	Console Console
	// ConnectFlags adds the flags that select the cluster.
	ConnectFlags func(Flags)
	// Connect returns a client of the cluster that these flags select. Its error
	// is a mistake on the command line or in the configuration.
	Connect func() (Cluster, error)
	// PositionsFile returns the positions file of the daemon's configuration. Its
	// error is a mistake on the command line or in the configuration.
	PositionsFile func() (string, error)
	// Positions reads a positions file; cluster selects one, "" all.
	Positions func(file, cluster string) (SavedPositions, error)
	// Dash reports that one of the arguments is "-", which the parser returns as "".
	Dash bool
}

// runFunc runs one command on a cluster.
type runFunc func(ctx context.Context, c Cluster, p printer) error

// Commands is the set of commands of an application.
type Commands struct {
	o      Options
	list   []command
	run    map[string]runFunc             // by the command's full name
	local  map[string]func(printer) error // commands that need no cluster
	format string
	color  string
}

// command is a command without subcommands.
type command struct {
	cmd       *kingpin.CmdClause
	hasOutput bool // it prints a result, with --output and --color
	local     bool // it needs no cluster
}

// New adds the commands to an application.
func New(app *kingpin.Application, o Options) *Commands {
	c := &Commands{o: o, run: map[string]runFunc{}, local: map[string]func(printer) error{}}
	c.addJobs(group(app, "jobs", "job", "List jobs, read their logs, stop them."))
	c.addNodeLogs(group(app, "logs", "log", "List, read, follow and collect the log files of the nodes."))
	c.addNodes(group(app, "nodes", "node", "List nodes and their resource usage."))
	c.addTasks(group(app, "tasks", "task", "List tasks."))
	c.addServe(group(app, "serve", "", "List, deploy and delete Serve applications."))
	c.addCluster(app)
	c.addPositions(group(app, "positions", "", "Show how far the daemon has shipped each log."))
	// The shared flags come after each command's own flags. Each command has its
	// own copy, because the parser does not complete the flags of a group.
	for _, command := range c.list {
		if command.hasOutput {
			command.cmd.Flag("output", "Output format: table, json or yaml.").Short('o').Default(formatTable).EnumVar(&c.format, formatTable, formatJSON, formatYAML)
			command.cmd.Flag("color", "Colors: auto (on a terminal, unless NO_COLOR is set), always or never.").Default("auto").EnumVar(&c.color, "auto", "always", "never")
		}
		if !command.local {
			o.ConnectFlags(command.cmd)
		}
	}
	return c
}

// Has reports whether name is one of these commands.
func (c *Commands) Has(name string) bool { return c.run[name] != nil || c.local[name] != nil }

// Run runs a command whose flags have been parsed, until it has finished or ctx
// ends.
func (c *Commands) Run(ctx context.Context, name string) error {
	console := c.o.Console
	switch c.color {
	case "always":
		console.Colors = true
	case "never":
		console.Colors = false
	}
	if run := c.local[name]; run != nil {
		return run(printer{console, c.format})
	}
	cluster, err := c.o.Connect()
	if err != nil {
		return &UsageError{err.Error()}
	}
	defer cluster.Close()
	console.Now = clusterClock(console, cluster)
	return c.run[name](ctx, cluster, printer{console, c.format})
}

// group adds a command that has subcommands.
func group(app *kingpin.Application, name, alias, help string) *kingpin.CmdClause {
	cmd := app.Command(name, help)
	if alias != "" {
		cmd.Alias(alias)
	}
	return cmd
}

// add sets what a command runs on a cluster.
func (c *Commands) add(cmd *kingpin.CmdClause, longHelp string, run runFunc) *kingpin.CmdClause {
	cmd.HelpLong(longHelp)
	c.run[cmd.FullCommand()] = run
	c.list = append(c.list, command{cmd: cmd})
	return cmd
}

// withOutput is add for a command that prints a result.
func (c *Commands) withOutput(cmd *kingpin.CmdClause, longHelp string, run runFunc) *kingpin.CmdClause {
	c.add(cmd, longHelp, run)
	c.list[len(c.list)-1].hasOutput = true
	return cmd
}

// withLocalOutput sets what a command runs that prints a result without a cluster.
func (c *Commands) withLocalOutput(cmd *kingpin.CmdClause, longHelp string, run func(printer) error) *kingpin.CmdClause {
	cmd.HelpLong(longHelp)
	c.local[cmd.FullCommand()] = run
	c.list = append(c.list, command{cmd: cmd, hasOutput: true, local: true})
	return cmd
}

func limitFlag(cmd *kingpin.CmdClause, limit *int) {
	countFlag(cmd.Flag("limit", "Maximum number of rows to show (0: no limit).").PlaceHolder("N").Default("0"), "limit", limit)
}
