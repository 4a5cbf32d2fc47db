// Package cli is the operator's commands: what a person at a prompt, or a
// script, asks of a cluster.
//
// Each command needs one or two calls of a cluster and says so in an interface
// of its own. Answers go to stdout, as a table or in the one schema of JSON and
// YAML; all else goes to stderr.
package cli

import (
	"context"

	"github.com/alecthomas/kingpin/v2"
)

// Cluster is what all commands together ask of a cluster. The clients of both
// dialects give it; what an API has no notion of is an error of code 501.
type Cluster interface {
	jobLister
	jobStopper
	tailer
	nodeGetter
	taskGetter
	serveLister
	applicationDeleter
	applicationDeployer
	gpuReader
	prober
	Close()
}

// Flags is where flags are added: an application or a command.
type Flags interface {
	Flag(name, help string) *kingpin.FlagClause
}

// Options are what the commands need from outside.
type Options struct {
	Console Console
	// ConnectFlags adds the flags that say which cluster is meant.
	ConnectFlags func(Flags)
	// Connect makes the client of the cluster that those flags name. Its error
	// is a mistake on the command line or in the configuration.
	Connect func() (Cluster, error)
	// PositionsFile returns the positions file of the daemon's configuration. Its
	// error is a mistake on the command line or in the configuration.
	PositionsFile func() (string, error)
	// Positions reads a positions file; cluster selects one, "" all.
	Positions func(file, cluster string) (SavedPositions, error)
	// Dash: one of the arguments is "-". The parser hands it over as "".
	Dash bool
}

// action is one command at work.
type action func(ctx context.Context, c Cluster, p printer) error

// Commands are the commands of an application.
type Commands struct {
	o       Options
	leaves  []leaf
	actions map[string]action              // by the command's full name
	here    map[string]func(printer) error // of commands that ask no cluster
	form    string
	color   string
}

// leaf is a command that does something, and whether it prints an answer.
type leaf struct {
	cmd     *kingpin.CmdClause
	answers bool
	here    bool // it asks no cluster
}

// New adds the commands to an application.
func New(app *kingpin.Application, o Options) *Commands {
	c := &Commands{o: o, actions: map[string]action{}, here: map[string]func(printer) error{}}
	c.addJobs(group(app, "jobs", "job", "List jobs, read their logs, stop them."))
	c.addNodes(group(app, "nodes", "node", "List nodes and their readings."))
	c.addTasks(group(app, "tasks", "task", "List tasks."))
	c.addServe(group(app, "serve", "", "List Serve's applications, deploy them, delete one."))
	c.addCluster(app)
	c.addPositions(group(app, "positions", "", "Show what the daemon remembers to have shipped."))
	// After each command's own flags. Each has these as its own: those of a
	// group are not completed.
	for _, l := range c.leaves {
		if l.answers {
			l.cmd.Flag("output", "The form of the answer: table, json or yaml.").Short('o').Default(formTable).EnumVar(&c.form, formTable, formJSON, formYAML)
			l.cmd.Flag("color", "Colours: auto (on a terminal, unless NO_COLOR is set), always or never.").Default("auto").EnumVar(&c.color, "auto", "always", "never")
		}
		if !l.here {
			o.ConnectFlags(l.cmd)
		}
	}
	return c
}

// Has tells whether a command is one of these.
func (c *Commands) Has(name string) bool { return c.actions[name] != nil || c.here[name] != nil }

// Run runs a command whose flags have been parsed. ctx ends it.
func (c *Commands) Run(ctx context.Context, name string) error {
	console := c.o.Console
	switch c.color {
	case "always":
		console.Colors = true
	case "never":
		console.Colors = false
	}
	if do := c.here[name]; do != nil {
		return do(printer{console, c.form})
	}
	cluster, err := c.o.Connect()
	if err != nil {
		return &UsageError{err.Error()}
	}
	defer cluster.Close()
	console.Now = clusterClock(console, cluster)
	return c.actions[name](ctx, cluster, printer{console, c.form})
}

// group adds a command that has commands.
func group(app *kingpin.Application, name, alias, help string) *kingpin.CmdClause {
	cmd := app.Command(name, help)
	if alias != "" {
		cmd.Alias(alias)
	}
	return cmd
}

// add makes a command do something.
func (c *Commands) add(cmd *kingpin.CmdClause, example string, do action) *kingpin.CmdClause {
	cmd.HelpLong(example)
	c.actions[cmd.FullCommand()] = do
	c.leaves = append(c.leaves, leaf{cmd: cmd})
	return cmd
}

// answers makes a command do something that gives an answer.
func (c *Commands) answers(cmd *kingpin.CmdClause, example string, do action) *kingpin.CmdClause {
	c.add(cmd, example, do)
	c.leaves[len(c.leaves)-1].answers = true
	return cmd
}

// answersHere makes a command give an answer without a cluster.
func (c *Commands) answersHere(cmd *kingpin.CmdClause, example string, do func(printer) error) *kingpin.CmdClause {
	cmd.HelpLong(example)
	c.here[cmd.FullCommand()] = do
	c.leaves = append(c.leaves, leaf{cmd: cmd, answers: true, here: true})
	return cmd
}

func limitFlag(cmd *kingpin.CmdClause, limit *int) {
	counted(cmd.Flag("limit", "Show at most so many; 0 is all.").PlaceHolder("N").Default("0"), "limit", limit)
}
