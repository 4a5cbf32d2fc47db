package cli

import (
	"context"

	"github.com/alecthomas/kingpin/v2"

	"raytap/ray"
)

// This file declares the command line of the commands for log files of nodes.

// flags adds the flags of a selection to a command.
func (l *logSelection) flags(cmd *kingpin.CmdClause) {
	cmd.Flag("node", "Only this node: its ID, a prefix of it, or its IP; may be repeated.").PlaceHolder("ID").StringsVar(&l.s.Nodes)
	cmd.Flag("job", "Only this job: the logs of its driver and its workers; its submission ID or job ID; may be repeated.").PlaceHolder("ID").StringsVar(&l.s.Jobs)
	cmd.Flag("application", "Only the replicas of this Serve application; may be repeated.").PlaceHolder("NAME").StringsVar(&l.s.Applications)
	cmd.Flag("actor", "Only the workers of this actor, also those before it was restarted, as far as Ray lists their tasks: its ID, or a prefix of the ID of one that is alive; may be repeated.").PlaceHolder("ID").StringsVar(&l.s.Actors)
	cmd.Flag("worker", "Only this worker: its ID or a prefix of it; may be repeated.").PlaceHolder("ID").StringsVar(&l.s.Workers)
	cmd.Flag("file", "Only files of this name, a pattern, with or without its directory and its generation; may be repeated.").PlaceHolder("PATTERN").StringsVar(&l.files)
	var sources []string
	for _, s := range ray.LogSources {
		sources = append(sources, string(s))
	}
	choiceFlag(cmd, "source", "Only logs of drivers, workers, Serve, Ray's other processes (system), or events", "SOURCE", &l.sources, sources)
}

// withNodeLogs returns a command that runs on the log files of a cluster's nodes.
func withNodeLogs(run func(ctx context.Context, from nodeLogs, p printer) error) runFunc {
	return func(ctx context.Context, cluster Cluster, p printer) error {
		from, err := nodeLogsOf(cluster)
		if err != nil {
			return err
		}
		return run(ctx, from, p)
	}
}

func (c *Commands) addNodeLogs(logs *kingpin.CmdClause) {
	c.addLogsList(logs)
	c.addLogsGet(logs)
	c.addLogsTail(logs)
	c.addLogsCollect(logs)
}

func (c *Commands) addLogsList(logs *kingpin.CmdClause) {
	var sel logSelection
	var limit int
	list := c.withOutput(logs.Command("list", "List the log files of the nodes: of drivers, workers, Serve and Ray itself."),
		`Files of dead workers and older generations are listed, too. Node agents serve the files; where one cannot be used, the head lists them without sizes. The exit code is 1 if a node could not be listed.

Examples:

  raytap logs list --job raysubmit_abc123
  raytap logs list --node 6fa6c1d02a53 --source system
  raytap logs list --application shop -o json | jq -r '.[].name'`,
		withNodeLogs(func(ctx context.Context, from nodeLogs, p printer) error { return listLogs(ctx, from, &sel, limit, p) }))
	sel.flags(list)
	limitFlag(list, &limit)
}

func (c *Commands) addLogsGet(logs *kingpin.CmdClause) {
	var sel logSelection
	var all bool
	get := c.add(logs.Command("get", "Print one log file of a node, byte by byte, as it is now."),
		`The flags must select one log. If they select several, the command lists them.

Examples:

  raytap logs get --node 6fa6c1d02a53 --file raylet.out
  raytap logs get --actor c43a91570daa893b70cbbf2301000000 --file '*.err' --generations > actor.err`,
		withNodeLogs(func(ctx context.Context, from nodeLogs, p printer) error {
			return getLog(ctx, from, &sel, all, p.Console)
		}))
	sel.flags(get)
	get.Flag("generations", "Print all generations of a rotated log, the oldest first.").BoolVar(&all)
}

func (c *Commands) addLogsTail(logs *kingpin.CmdClause) {
	var sel logSelection
	var isFollowing, hasLines bool
	var lines int
	tail := c.add(logs.Command("tail", "Print the last lines of one log file of a node, or follow it."),
		`The flags must select one log. Without --follow it prints the last 10 lines, also those in older generations of a rotated log. With --follow it prints the log from the first line of its oldest generation, and then what is written to it, across rotations and the move of a dead worker's file; stop it with Ctrl-C. Both read from the node's agent; where it cannot be used, the head has the last lines of the newest file, and the log cannot be followed.

Examples:

  raytap logs tail --worker 32f9ef9674c1 --file '*.out'
  raytap logs tail -f -n 0 --node 6fa6c1d02a53 --file raylet.out     # only new lines`,
		withNodeLogs(func(ctx context.Context, from nodeLogs, p printer) error {
			switch {
			case isFollowing && hasLines:
				return followLog(ctx, from, &sel, lines, p.Console)
			case isFollowing:
				return followLog(ctx, from, &sel, -1, p.Console)
			case !hasLines:
				lines = defaultLines
			}
			return tailLog(ctx, from, &sel, lines, p.Console)
		}))
	sel.flags(tail)
	tail.Flag("follow", "Follow the log.").Short('f').BoolVar(&isFollowing)
	countFlag(tail.Flag("lines", "Number of existing lines to print, counted from the end (default: 10; all with --follow).").
		Short('n').PlaceHolder("N").IsSetByUser(&hasLines), "lines", &lines)
}

func (c *Commands) addLogsCollect(logs *kingpin.CmdClause) {
	var sel logSelection
	var to string
	collect := c.add(logs.Command("collect", "Save the log files of a job, a node or another selection in a directory or a .tar.gz file."),
		`Files are saved as NODE/NAME, NODE being the first 12 digits of the node's ID. The command goes on after errors; at the end it lists what is missing, and then the exit code is 1.

Examples:

  raytap logs collect --job raysubmit_abc123 --to abc123.tar.gz
  raytap logs collect --node 6fa6c1d02a53 --source system,event --to node-logs`,
		withNodeLogs(func(ctx context.Context, from nodeLogs, p printer) error {
			return collectLogs(ctx, from, &sel, to, p.Console)
		}))
	sel.flags(collect)
	collect.Flag("to", "The directory, new or empty, or the .tar.gz file to write.").Required().PlaceHolder("PATH").StringVar(&to)
}
