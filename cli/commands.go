package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/alecthomas/kingpin/v2"

	"raytap/ray"
)

// This file declares the command line of each command.

func (c *Commands) addJobs(jobs *kingpin.CmdClause) {
	var f jobFilter
	list := c.withOutput(jobs.Command("list", "List jobs, most recently submitted first."), `Examples:

  raytap jobs list --status RUNNING --status PENDING
  raytap jobs list --name 'train-*' --limit 10
  raytap jobs list --type SUBMISSION -o json | jq -r '.[].submission_id'`,
		func(ctx context.Context, cluster Cluster, p printer) error { return listJobs(ctx, cluster, f, p) })
	choiceFlag(list, "status", "Filter by job status", "STATUS", &f.statuses, jobStatuses(), "CANCELLED")
	choiceFlag(list, "type", "Filter by job type: SUBMISSION (submitted with the Jobs API) or DRIVER (a script that connected to Ray)", "TYPE", &f.types,
		[]string{string(ray.JobSubmission), string(ray.JobDriver)})
	list.Flag("name", "Filter by job_name in the metadata, with a pattern (* any text, ? one character, [a-z] a character set); may be repeated.").
		PlaceHolder("PATTERN").StringsVar(&f.names)
	limitFlag(list, &f.limit)

	var id string
	get := c.withOutput(jobs.Command("get", "Show one job."), `Example:

  raytap jobs get raysubmit_abc123 -o json | jq .driver_exit_code`,
		func(ctx context.Context, cluster Cluster, p printer) error { return getJob(ctx, cluster, id, p) })
	jobArg(get, &id)

	logs := c.add(jobs.Command("logs", "Print the complete driver log of a job, as it is now."), `Example:

  raytap jobs logs raysubmit_abc123 > train.log`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			if err := printLog(ctx, cluster, id, p.Out); err != nil {
				return err
			}
			showHeadLog(ctx, cluster, id, p.Console)
			return nil
		})
	jobArg(logs, &id)
	c.addTail(jobs)
	c.addStop(jobs)
}

func jobStatuses() []string {
	var out []string
	for _, s := range ray.JobStatuses {
		out = append(out, string(s))
	}
	return out
}

func jobArg(cmd *kingpin.CmdClause, id *string) {
	cmd.Arg("id", "The job's submission ID.").Required().StringVar(id)
}

// defaultLines is the number of lines that jobs tail prints without --follow, as in tail(1).
const defaultLines = 10

// defaultMessageSize bounds the memory used for a line without a line end.
const defaultMessageSize = 1 << 20

// tailFlags are the flags of jobs tail.
type tailFlags struct {
	id       string
	follow   bool
	lines    int
	hasLines bool
	o        ray.TailOptions
	set      map[string]*bool // which of the flags that require --follow are set
}

// check returns an error for flags that cannot be combined.
func (f *tailFlags) check() error {
	if f.hasLines && f.lines < 0 {
		return usagef("--lines must not be negative")
	}
	if !f.follow {
		for _, name := range slices.Sorted(maps.Keys(f.set)) {
			if *f.set[name] {
				return usagef("--%s requires --follow", name)
			}
		}
		return nil
	}
	if err := f.o.Check(); err != nil {
		return &UsageError{err.Error()}
	}
	return nil
}

func (c *Commands) addTail(jobs *kingpin.CmdClause) {
	f := &tailFlags{set: map[string]*bool{}}
	tail := c.add(jobs.Command("tail", "Print the last lines of a job's log, or follow it until the job has ended."),
		`Without --follow it prints the last 10 lines. With --follow it prints the log from the first line and then new lines as the job prints them, each line once, and reconnects if a connection is lost; stop it with Ctrl-C. With --follow the exit code is 0 if the job SUCCEEDED and 1 otherwise; the job's status and the driver's exit code are printed on stderr.

Examples:

  raytap jobs tail raysubmit_abc123
  raytap jobs tail -f raysubmit_abc123 && echo trained
  raytap jobs tail -f -n 0 raysubmit_abc123     # only new lines`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			if err := f.check(); err != nil {
				return err
			}
			lines := f.lines
			switch {
			case f.follow && f.hasLines:
				return follow(ctx, cluster, f.id, f.o, lines, p.Console)
			case f.follow:
				return follow(ctx, cluster, f.id, f.o, -1, p.Console)
			case !f.hasLines:
				lines = defaultLines
			}
			if err := printLastLines(ctx, cluster, f.id, lines, p.Out); err != nil {
				return err
			}
			showHeadLog(ctx, cluster, f.id, p.Console)
			return nil
		})
	jobArg(tail, &f.id)
	tail.Flag("follow", "Follow the log until the job has ended.").Short('f').BoolVar(&f.follow)
	countFlag(tail.Flag("lines", "Number of existing lines to print, counted from the end (default: 10; all with --follow).").
		Short('n').PlaceHolder("N").IsSetByUser(&f.hasLines), "lines", &f.lines)
	f.addFollowing(tail)
}

// addFollowing adds the flags that require --follow.
func (f *tailFlags) addFollowing(tail *kingpin.CmdClause) {
	standard := ray.DefaultTailOptions()
	following := func(name, help string) *kingpin.FlagClause {
		f.set[name] = new(bool)
		return tail.Flag(name, help).IsSetByUser(f.set[name])
	}
	following("protocol", "Protocol: websocket, http, or auto (WebSocket, with HTTP as fallback).").Default(standard.Protocol).
		EnumVar(&f.o.Protocol, ray.TailAuto, ray.TailWebSocket, ray.TailHTTP)
	following("timeout", "Timeout to open a connection, and longest time without a keep-alive on it (the job itself may be silent); at most 5m.").
		Default(standard.Timeout.String()).DurationVar(&f.o.Timeout)
	countFlag(following("max-messages", "Fail after this many messages (0: no limit).").
		PlaceHolder("N").Default("0"), "max-messages", &f.o.Limits.MaxMessages)
	countFlag(following("max-lines", "Fail after this many lines (0: no limit).").PlaceHolder("N").Default("0"), "max-lines", &f.o.Limits.MaxLines)
	following("max-bytes", "Fail after this many bytes, for example 50MiB (0: no limit).").
		PlaceHolder("SIZE").Default("0").SetValue(&size{&f.o.Limits.MaxBytes})
	var longest int64
	following("max-message-size", "Truncate longer lines, and report it on stderr.").
		PlaceHolder("1MiB").Default(fmt.Sprint(defaultMessageSize)).SetValue(&size{&longest})
	tail.Validate(func(*kingpin.CmdClause) error {
		f.o.Limits.MaxMessageSize = int(longest)
		return nil
	})
}

func (c *Commands) addStop(jobs *kingpin.CmdClause) {
	var id string
	var o stopOptions
	stop := c.add(jobs.Command("stop", "Stop a job."),
		`It asks for confirmation on a terminal; without a terminal it requires --yes. A job that has already ended is not an error.

Examples:

  raytap jobs stop raysubmit_abc123
  raytap jobs stop --yes --wait --timeout 2m raysubmit_abc123`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			return stopJob(ctx, cluster, id, o, p.Console)
		})
	jobArg(stop, &id)
	yesFlag(stop, &o.yes)
	stop.Flag("wait", "Wait until the job has ended.").BoolVar(&o.wait)
	stop.Flag("timeout", "Fail if --wait takes longer than this (0s: no limit).").Default("0s").DurationVar(&o.timeout)
}

func yesFlag(cmd *kingpin.CmdClause, yes *bool) {
	cmd.Flag("yes", "Skip the confirmation.").Short('y').BoolVar(yes)
}

func (c *Commands) addNodes(nodes *kingpin.CmdClause) {
	var f nodeFilter
	list := c.withOutput(nodes.Command("list", "List nodes, the head node first."), `Examples:

  raytap nodes list --state ALIVE
  raytap nodes list -o json | jq '.[] | select(.stats.cpu_ratio > 0.9) | .host'`,
		func(ctx context.Context, cluster Cluster, p printer) error { return listNodes(ctx, cluster, f, p) })
	choiceFlag(list, "state", "Filter by node state", "STATE", &f.states, []string{string(ray.NodeAlive), string(ray.NodeDead)})
	limitFlag(list, &f.limit)

	var id string
	get := c.withOutput(nodes.Command("get", "Show one node with its resource usage, resources and labels."), `Example:

  raytap nodes get 6fa6c1d02a53`,
		func(ctx context.Context, cluster Cluster, p printer) error { return getNode(ctx, cluster, id, p) })
	get.Arg("id", "The node's ID, or a unique prefix of it.").Required().StringVar(&id)
}

func (c *Commands) addTasks(tasks *kingpin.CmdClause) {
	var f taskFilter
	list := c.withOutput(tasks.Command("list", "List tasks, sorted by job and state."),
		`FINISHED tasks are not listed: Ray keeps them for a limited time only. Use tasks get to show one.

Examples:

  raytap tasks list --state FAILED
  raytap tasks list --job 02000000 --name 'train*' -o yaml`,
		func(ctx context.Context, cluster Cluster, p printer) error { return listTasks(ctx, cluster, f, p) })
	choiceFlag(list, "state", "Filter by task state", "STATE", &f.states, ray.TaskStates)
	choiceFlag(list, "type", "Filter by task type", "TYPE", &f.types,
		[]string{"NORMAL_TASK", "ACTOR_CREATION_TASK", "ACTOR_TASK", "DRIVER_TASK"})
	list.Flag("name", "Filter by task name, with a pattern; may be repeated.").PlaceHolder("PATTERN").StringsVar(&f.names)
	list.Flag("job", "Filter by job ID prefix, for example 02000000; may be repeated.").PlaceHolder("ID").StringsVar(&f.jobs)
	list.Flag("node", "Filter by node ID prefix; may be repeated.").PlaceHolder("ID").StringsVar(&f.nodes)
	limitFlag(list, &f.limit)

	var id string
	get := c.withOutput(tasks.Command("get", "Show the last attempt of one task."), `Example:

  raytap tasks get 16310a0f0a45af5cffffffffffffffffffffffff01000000`,
		func(ctx context.Context, cluster Cluster, p printer) error { return getTask(ctx, cluster, id, p) })
	get.Arg("id", "The task's ID, or a unique prefix of it.").Required().StringVar(&id)
}

func (c *Commands) addServe(serve *kingpin.CmdClause) {
	var f serveFilter
	list := c.withOutput(serve.Command("list", "List Serve applications."), `Example:

  raytap serve list --status UNHEALTHY --status DEPLOY_FAILED`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			return listApplications(ctx, cluster, f, p)
		})
	choiceFlag(list, "status", "Filter by application status", "STATUS", &f.statuses, ray.ServeApplicationStatuses)
	list.Flag("name", "Filter by application name, with a pattern; may be repeated.").PlaceHolder("PATTERN").StringsVar(&f.names)
	limitFlag(list, &f.limit)

	var name string
	get := c.withOutput(serve.Command("get", "Show one application with its deployments."), `Example:

  raytap serve get greeter`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			return getApplication(ctx, cluster, name, p)
		})
	get.Arg("name", "The application's name.").Required().StringVar(&name)

	var yes bool
	del := c.add(serve.Command("delete", "Delete one Serve application."),
		`It asks for confirmation on a terminal; without a terminal it requires --yes. The command returns before the application is gone.

Ray's own API has no call to delete one application: raytap declares all others again instead, and refuses to do so where that would change anything else. It never shuts Serve down.

Example:

  raytap serve delete greeter --yes`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			return deleteApplication(ctx, cluster, name, yes, p.Console)
		})
	del.Arg("name", "The application's name.").Required().StringVar(&name)
	yesFlag(del, &yes)
	c.addDeploy(serve)
}

func (c *Commands) addDeploy(serve *kingpin.CmdClause) {
	var o deployOptions
	deploy := c.withOutput(serve.Command("deploy", "Deploy the Serve applications of a configuration file."),
		`FILE is a Serve configuration in Ray's schema, as YAML or JSON. It is the complete list of the applications that are deployed by configuration: Ray removes those that are not in it. Applications that were deployed by code (serve.run) stay.

It shows what would be added, changed and removed, and asks for confirmation on a terminal; without a terminal it requires --yes. --dry-run, or a configuration that Ray rejects, changes nothing.

Examples:

  raytap serve deploy serve.yaml --dry-run
  serve build greeter:app | raytap serve deploy - --yes --wait --timeout 5m`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			switch {
			case o.file == "" && c.o.Dash:
				o.file = "-"
			case o.file == "":
				return usagef("the file name is empty")
			}
			return deployApplications(ctx, cluster, o, p)
		})
	deploy.Arg("file", "The configuration file (-: standard input).").Required().StringVar(&o.file)
	yesFlag(deploy, &o.yes)
	deploy.Flag("dry-run", "Only show what would be changed.").BoolVar(&o.dryRun)
	deploy.Flag("wait", "Wait until all its applications are running and removed ones are gone; fail if one cannot be deployed.").BoolVar(&o.wait)
	deploy.Flag("timeout", "Fail if --wait takes longer than this (0s: no limit).").Default("0s").DurationVar(&o.timeout)
}

// addCluster adds the commands for a cluster as a whole.
func (c *Commands) addCluster(app *kingpin.Application) {
	for _, cmd := range []struct {
		name, help, example string
		run                 runFunc
	}{
		{"accelerators", "List the accelerators of all nodes: GPUs and TPUs.", `Example:

  raytap accelerators -o json | jq '.gpus[] | select(.utilization < 0.1)'`,
			func(ctx context.Context, cluster Cluster, p printer) error { return showAccelerators(ctx, cluster, p) }},
		{"resources", "Show the hardware of the cluster and its usage (Synapse agents only).", `Example:

  raytap resources --url http://agent:8000 --api synapse --token-file token`,
			func(ctx context.Context, cluster Cluster, p printer) error { return showResources(ctx, cluster, p) }},
		{"health", "Check that the cluster is reachable and show its version.", `Example:

  raytap health --cluster prod || echo "prod is down"`,
			func(ctx context.Context, cluster Cluster, p printer) error { return showHealth(ctx, cluster, p) }},
	} {
		clause := app.Command(cmd.name, cmd.help)
		if cmd.name == "accelerators" {
			clause.Alias("gpus")
		}
		c.withOutput(clause, cmd.example, cmd.run)
	}
}
