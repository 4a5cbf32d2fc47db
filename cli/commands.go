package cli

import (
	"context"
	"fmt"

	"github.com/alecthomas/kingpin/v2"

	"raytap/ray"
)

// This file: the command line of each command.

func (c *Commands) addJobs(jobs *kingpin.CmdClause) {
	var f jobFilter
	list := c.answers(jobs.Command("list", "List jobs, the last submitted first."), `Examples:

  raytap jobs list --status RUNNING --status PENDING
  raytap jobs list --name 'train-*' --limit 10
  raytap jobs list --type SUBMISSION -o json | jq -r '.[].submission_id'`,
		func(ctx context.Context, cluster Cluster, p printer) error { return listJobs(ctx, cluster, f, p) })
	choiceFlag(list, "status", "Only jobs of this status", "STATUS", &f.statuses, jobStatuses(), "CANCELLED")
	choiceFlag(list, "type", "Only SUBMISSION (by the Jobs API) or DRIVER (a script that connected)", "TYPE", &f.types,
		[]string{string(ray.JobSubmission), string(ray.JobDriver)})
	list.Flag("name", "Only jobs whose job_name in the metadata matches this pattern (* is any text, ? one character, [a-z] one of a set); may be repeated.").
		PlaceHolder("PATTERN").StringsVar(&f.names)
	limitFlag(list, &f.limit)

	var id string
	get := c.answers(jobs.Command("get", "Show one job."), `Example:

  raytap jobs get raysubmit_abc123 -o json | jq .driver_exit_code`,
		func(ctx context.Context, cluster Cluster, p printer) error { return getJob(ctx, cluster, id, p) })
	jobArg(get, &id)

	logs := c.add(jobs.Command("logs", "Print the whole log of a job's driver as it is now."), `Example:

  raytap jobs logs raysubmit_abc123 > train.log`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			if err := printLog(ctx, cluster, id, p.Out); err != nil {
				return err
			}
			noteHeadLog(ctx, cluster, id, p.Console)
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
	cmd.Arg("id", "The job's submission id.").Required().StringVar(id)
}

// defaultLines is how many lines a tail prints that does not follow, as tail(1).
const defaultLines = 10

// defaultMessageSize bounds the memory that a line without an end costs.
const defaultMessageSize = 1 << 20

// tailFlags are the flags of jobs tail.
type tailFlags struct {
	id       string
	follow   bool
	lines    int
	hasLines bool
	o        ray.TailOptions
	given    map[string]*bool // the flags that make sense for a follow alone
}

// check refuses what does not go together.
func (f *tailFlags) check() error {
	if f.hasLines && f.lines < 0 {
		return usagef("--lines must not be negative")
	}
	if !f.follow {
		for _, name := range sortedKeys(f.given) {
			if *f.given[name] {
				return usagef("--%s is about following a job: give --follow too", name)
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
	f := &tailFlags{given: map[string]*bool{}}
	tail := c.add(jobs.Command("tail", "Print the end of a job's log, or follow it until the job has ended."),
		`Without --follow the last 10 lines are printed, as tail does. With it everything from the first line on is printed, and then what the job prints, across lost connections, each line once; Ctrl-C ends it. It exits with 0 if the job SUCCEEDED and with 1 otherwise, and says on stderr how the job ended and with which code its driver exited.

Examples:

  raytap jobs tail raysubmit_abc123
  raytap jobs tail -f raysubmit_abc123 && echo trained
  raytap jobs tail -f -n 0 raysubmit_abc123     # only what is new`,
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
			if err := printEnd(ctx, cluster, f.id, lines, p.Out); err != nil {
				return err
			}
			noteHeadLog(ctx, cluster, f.id, p.Console)
			return nil
		})
	jobArg(tail, &f.id)
	tail.Flag("follow", "Go on until the job has ended.").Short('f').BoolVar(&f.follow)
	counted(tail.Flag("lines", "Of the lines that are there already, print the last N: 10 without --follow, all with it.").
		Short('n').PlaceHolder("N").IsSetByUser(&f.hasLines), "lines", &f.lines)
	f.addFollowing(tail)
}

// addFollowing adds the flags that are about following.
func (f *tailFlags) addFollowing(tail *kingpin.CmdClause) {
	standard := ray.DefaultTailOptions()
	following := func(name, help string) *kingpin.FlagClause {
		f.given[name] = new(bool)
		return tail.Flag(name, help).IsSetByUser(f.given[name])
	}
	following("protocol", "How to connect: websocket, http, or auto: WebSocket first.").Default(standard.Protocol).
		EnumVar(&f.o.Protocol, ray.TailAuto, ray.TailWebSocket, ray.TailHTTP)
	following("timeout", "How long a connection may take to open, and then give no sign of life (not the job: that may be silent); at most 5m.").
		Default(standard.Timeout.String()).DurationVar(&f.o.Timeout)
	counted(following("max-messages", "End with an error after so many messages of the connection; 0 is no limit.").
		PlaceHolder("N").Default("0"), "max-messages", &f.o.Limits.MaxMessages)
	counted(following("max-lines", "End with an error after so many lines; 0 is no limit.").PlaceHolder("N").Default("0"), "max-lines", &f.o.Limits.MaxLines)
	following("max-bytes", "End with an error after so many bytes, such as 50MiB; 0 is no limit.").
		PlaceHolder("SIZE").Default("0").SetValue(&size{&f.o.Limits.MaxBytes})
	var longest int64
	following("max-message-size", "Cut lines that are longer, and say so.").
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
		`It asks first, on a terminal; elsewhere it needs --yes. A job that has ended already is left alone, and no error.

Examples:

  raytap jobs stop raysubmit_abc123
  raytap jobs stop --yes --wait --timeout 2m raysubmit_abc123`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			return stopJob(ctx, cluster, id, o, p.Console)
		})
	jobArg(stop, &id)
	yesFlag(stop, &o.yes)
	stop.Flag("wait", "Wait until the job has ended.").BoolVar(&o.wait)
	stop.Flag("timeout", "How long --wait waits, after which it is an error; 0s is for ever.").Default("0s").DurationVar(&o.timeout)
}

func yesFlag(cmd *kingpin.CmdClause, yes *bool) {
	cmd.Flag("yes", "Do not ask.").Short('y').BoolVar(yes)
}

func (c *Commands) addNodes(nodes *kingpin.CmdClause) {
	var f nodeFilter
	list := c.answers(nodes.Command("list", "List nodes, the head first."), `Examples:

  raytap nodes list --state ALIVE
  raytap nodes list -o json | jq '.[] | select(.stats.cpu_ratio > 0.9) | .host'`,
		func(ctx context.Context, cluster Cluster, p printer) error { return listNodes(ctx, cluster, f, p) })
	choiceFlag(list, "state", "Only nodes of this state", "STATE", &f.states, []string{string(ray.NodeAlive), string(ray.NodeDead)})
	limitFlag(list, &f.limit)

	var id string
	get := c.answers(nodes.Command("get", "Show one node with its readings, resources and labels."), `Example:

  raytap nodes get 6fa6c1d02a53`,
		func(ctx context.Context, cluster Cluster, p printer) error { return getNode(ctx, cluster, id, p) })
	get.Arg("id", "The node's id, or the beginning of it.").Required().StringVar(&id)
}

func (c *Commands) addTasks(tasks *kingpin.CmdClause) {
	var f taskFilter
	list := c.answers(tasks.Command("list", "List tasks by job and state."),
		`These are the tasks that are not FINISHED: Ray keeps the others only for a while. tasks get tells of any that is kept.

Examples:

  raytap tasks list --state FAILED
  raytap tasks list --job 02000000 --name 'train*' -o yaml`,
		func(ctx context.Context, cluster Cluster, p printer) error { return listTasks(ctx, cluster, f, p) })
	choiceFlag(list, "state", "Only tasks of this state", "STATE", &f.states, ray.TaskStates)
	choiceFlag(list, "type", "Only tasks of this type, such as ACTOR_TASK", "TYPE", &f.types,
		[]string{"NORMAL_TASK", "ACTOR_CREATION_TASK", "ACTOR_TASK", "DRIVER_TASK"})
	list.Flag("name", "Only tasks whose name matches this pattern; may be repeated.").PlaceHolder("PATTERN").StringsVar(&f.names)
	list.Flag("job", "Only tasks of the job (02000000) whose id begins so; may be repeated.").PlaceHolder("ID").StringsVar(&f.jobs)
	list.Flag("node", "Only tasks on the node whose id begins so; may be repeated.").PlaceHolder("ID").StringsVar(&f.nodes)
	limitFlag(list, &f.limit)

	var id string
	get := c.answers(tasks.Command("get", "Show one task: the last attempt of it."), `Example:

  raytap tasks get 16310a0f0a45af5cffffffffffffffffffffffff01000000`,
		func(ctx context.Context, cluster Cluster, p printer) error { return getTask(ctx, cluster, id, p) })
	get.Arg("id", "The task's id, or the beginning of it.").Required().StringVar(&id)
}

func (c *Commands) addServe(serve *kingpin.CmdClause) {
	var f serveFilter
	list := c.answers(serve.Command("list", "List Serve's applications."), `Example:

  raytap serve list --status UNHEALTHY --status DEPLOY_FAILED`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			return listApplications(ctx, cluster, f, p)
		})
	choiceFlag(list, "status", "Only applications of this status", "STATUS", &f.statuses, ray.ServeApplicationStatuses)
	list.Flag("name", "Only applications whose name matches this pattern; may be repeated.").PlaceHolder("PATTERN").StringsVar(&f.names)
	limitFlag(list, &f.limit)

	var name string
	get := c.answers(serve.Command("get", "Show one application with its deployments."), `Example:

  raytap serve get greeter`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			return getApplication(ctx, cluster, name, p)
		})
	get.Arg("name", "The application's name.").Required().StringVar(&name)

	var yes bool
	del := c.add(serve.Command("delete", "Delete one application."),
		`It asks first, on a terminal; elsewhere it needs --yes. The application goes after the answer.

Ray's own API knows no such call: there an application is deleted by declaring all others anew, which is refused where it would change anything else. It never shuts Serve down.

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
	deploy := c.answers(serve.Command("deploy", "Deploy the applications of a configuration."),
		`FILE is a Serve configuration in Ray's schema, as YAML or JSON. It stands for all applications that configurations deploy: those that are not in it are removed. Those that code deployed (serve.run) stay.

What would be added, changed and removed is shown; then it asks, on a terminal; elsewhere it needs --yes. Nothing is changed by --dry-run, nor by a configuration that Ray refuses.

Examples:

  raytap serve deploy serve.yaml --dry-run
  serve build greeter:app | raytap serve deploy - --yes --wait --timeout 5m`,
		func(ctx context.Context, cluster Cluster, p printer) error {
			switch {
			case o.file == "" && c.o.Dash:
				o.file = "-"
			case o.file == "":
				return usagef("the name of the configuration is empty")
			}
			return deployApplications(ctx, cluster, o, p)
		})
	deploy.Arg("file", "The configuration; - is standard input.").Required().StringVar(&o.file)
	yesFlag(deploy, &o.yes)
	deploy.Flag("dry-run", "Only show what would be done.").BoolVar(&o.dryRun)
	deploy.Flag("wait", "Wait until all its applications run and removed ones are gone; an application that cannot be deployed is an error.").BoolVar(&o.wait)
	deploy.Flag("timeout", "How long --wait waits, after which it is an error; 0s is without end.").Default("0s").DurationVar(&o.timeout)
}

// addCluster adds the commands about a cluster as a whole.
func (c *Commands) addCluster(app *kingpin.Application) {
	for _, cmd := range []struct {
		name, help, example string
		do                  action
	}{
		{"accelerators", "List the accelerators of all nodes: GPUs and TPUs.", `Example:

  raytap accelerators -o json | jq '.gpus[] | select(.utilization < 0.1)'`,
			func(ctx context.Context, cluster Cluster, p printer) error { return showGPUs(ctx, cluster, p) }},
		{"resources", "Show the hardware of the cluster and what of it is in use. Only the API of agents tells it.", `Example:

  raytap resources --url http://agent:8000 --api synapse --token-file token`,
			func(ctx context.Context, cluster Cluster, p printer) error { return showResources(ctx, cluster, p) }},
		{"health", "Tell whether the cluster answers, and what it is.", `Example:

  raytap health --cluster prod || page-somebody`,
			func(ctx context.Context, cluster Cluster, p printer) error { return showHealth(ctx, cluster, p) }},
	} {
		clause := app.Command(cmd.name, cmd.help)
		if cmd.name == "accelerators" {
			clause.Alias("gpus") // its name before it listed TPUs
		}
		c.answers(clause, cmd.example, cmd.do)
	}
}
