package cli

import (
	"context"
	"errors"
	"strings"
	"testing"

	"raytap/ray"
)

func TestList_Table(t *testing.T) {
	ctx := context.Background()
	for name, tt := range map[string]struct {
		run func(f *fake, p printer) error
		out string
		err string
	}{
		"jobs, most recently submitted first": {
			func(f *fake, p printer) error { return listJobs(ctx, f, jobFilter{}, p) }, `
ID             NAME     TYPE        STATUS     SUBMITTED  DURATION  EXIT  ENTRYPOINT
raysubmit_new           SUBMISSION  RUNNING    3m20s ago     3m20s        python3 -c 'print(1) print(2)'
02000000                DRIVER      SUCCEEDED  1h ago           1m        訓練.py
raysubmit_old  train-7  SUBMISSION  FAILED     1d2h ago         1h     3  python3 train.py
`, ""},
		"jobs by status, regardless of case": {
			func(f *fake, p printer) error { return listJobs(ctx, f, jobFilter{statuses: []string{"failed"}}, p) }, `
ID             NAME     TYPE        STATUS  SUBMITTED  DURATION  EXIT  ENTRYPOINT
raysubmit_old  train-7  SUBMISSION  FAILED  1d2h ago         1h     3  python3 train.py
`, ""},
		"jobs by type and name": {
			func(f *fake, p printer) error {
				return listJobs(ctx, f, jobFilter{types: []string{"SUBMISSION"}, names: []string{"tra*"}}, p)
			}, `
ID             NAME     TYPE        STATUS  SUBMITTED  DURATION  EXIT  ENTRYPOINT
raysubmit_old  train-7  SUBMISSION  FAILED  1d2h ago         1h     3  python3 train.py
`, ""},
		"jobs with a limit": {
			func(f *fake, p printer) error { return listJobs(ctx, f, jobFilter{limit: 1}, p) }, `
ID             TYPE        STATUS   SUBMITTED  DURATION  ENTRYPOINT
raysubmit_new  SUBMISSION  RUNNING  3m20s ago     3m20s  python3 -c 'print(1) print(2)'
`, "raytap: showing 1 of 3 jobs (--limit)\n"},
		"no job matches": {
			func(f *fake, p printer) error { return listJobs(ctx, f, jobFilter{statuses: []string{"PENDING"}}, p) },
			"\n", "raytap: no jobs match (3 in total)\n"},
		"nodes: head, live, dead": {
			func(f *fake, p printer) error { return listNodes(ctx, f, nodeFilter{}, p) }, `
ID                                                        NAME      IP        ROLE    STATE  STARTED         CPU            MEMORY  GPU         STORE  REASON
11111111111111111111111111111111111111111111111111111111  ray-head  10.0.0.1  head    ALIVE  2d2h ago  25% of 16  12.5GiB of 64GiB    1  1MiB of 4MiB
22222222222222222222222222222222222222222222222222222222  worker-a  10.0.0.2  worker  ALIVE  2d2h ago
33333333333333333333333333333333333333333333333333333333            10.0.0.3  worker  DEAD   2d2h ago                                                  UNEXPECTED_TERMINATION
`, ""},
		"tasks by job": {
			func(f *fake, p printer) error { return listTasks(ctx, f, taskFilter{}, p) }, `
ID                                                NAME  STATE    TYPE         JOB       NODE                                                      ATTEMPT  ERROR
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  load  FAILED   ACTOR_TASK   01000000  22222222222222222222222222222222222222222222222222222222        2  TASK_EXECUTION_EXCEPTION
bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb  step  RUNNING  NORMAL_TASK  02000000  11111111111111111111111111111111111111111111111111111111        0
`, ""},
		"tasks of a node, from a list that Ray truncated": {
			func(f *fake, p printer) error {
				f.tasks.Truncation = ray.Truncation{Truncated: true, Total: 12345}
				return listTasks(ctx, f, taskFilter{nodes: []string{"1111"}, jobs: []string{"02"}, states: []string{"running"}}, p)
			}, `
ID                                                NAME  STATE    TYPE         JOB       NODE                                                      ATTEMPT
bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb  step  RUNNING  NORMAL_TASK  02000000  11111111111111111111111111111111111111111111111111111111        0
`, "raytap: incomplete list: the cluster returned 2 of 12345 tasks, an arbitrary selection\n"},
		"finished tasks are not listed": {
			func(f *fake, p printer) error { return listTasks(ctx, f, taskFilter{states: []string{"finished"}}, p) },
			"\n", "raytap: FINISHED tasks are not listed; use tasks get ID to show one\nraytap: no tasks match (2 in total)\n"},
		"applications, with the last line of a traceback": {
			func(f *fake, p printer) error { return listApplications(ctx, f, serveFilter{}, p) }, `
NAME     STATUS         ROUTE  DEPLOYMENTS  REPLICAS  DEPLOYED  MESSAGE
broken   DEPLOY_FAILED                   0            1m ago    ImportError: no module
greeter  RUNNING        /                1       2/3  2h ago
`, ""},
		"Serve is not running": {
			func(f *fake, p printer) error {
				f.serve = ray.ServeStatus{}
				return listApplications(ctx, f, serveFilter{}, p)
			}, "\n", "raytap: Serve is not running on this cluster\n"},
		"accelerators from node stats": {
			func(f *fake, p printer) error { return showAccelerators(ctx, f, p) }, `
NODE                                                      HOST      UNIT   NAME  BUSY         MEMORY  UUID
11111111111111111111111111111111111111111111111111111111  ray-head  GPU 0  A100   50%  1GiB of 40GiB  GPU-1
`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen("")
			if err := tt.run(cluster(), s.printer(formatTable)); err != nil {
				t.Fatal(err)
			}
			s.want(t, tt.out[1:], tt.err)
		})
	}
}

func TestList_InvalidPattern(t *testing.T) {
	for _, pattern := range []string{"[a", "{a,b}", "^a$"} {
		var usage *UsageError
		if err := listJobs(context.Background(), cluster(), jobFilter{names: []string{pattern}}, newScreen("").printer(formatTable)); !errors.As(err, &usage) {
			t.Errorf("%s: got %v", pattern, err)
		}
	}
}

// Names are not paths: * matches a slash.
func TestList_PatternMatchesSlash(t *testing.T) {
	if !matchesAny("secret-team/llm-7b", []string{"secret-*"}) || !matchesAny("a/b", []string{"*"}) || matchesAny("a/b", []string{"a"}) {
		t.Error("* does not match a slash, or a pattern matches a part of a name")
	}
}

func TestCommands_ClusterUnreachable(t *testing.T) {
	f := cluster()
	f.down = &ray.Error{Op: "list", Code: 503, Detail: "connection refused"}
	ctx := context.Background()
	for name, run := range map[string]func(p printer) error{
		"jobs list":  func(p printer) error { return listJobs(ctx, f, jobFilter{}, p) },
		"jobs get":   func(p printer) error { return getJob(ctx, f, "raysubmit_old", p) },
		"jobs logs":  func(p printer) error { return printLog(ctx, f, "raysubmit_old", p.Out) },
		"jobs tail":  func(p printer) error { return printLastLines(ctx, f, "raysubmit_old", 10, p.Out) },
		"nodes list": func(p printer) error { return listNodes(ctx, f, nodeFilter{}, p) },
		"tasks list": func(p printer) error { return listTasks(ctx, f, taskFilter{}, p) },
		"serve list": func(p printer) error { return listApplications(ctx, f, serveFilter{}, p) },
		"serve get":  func(p printer) error { return getApplication(ctx, f, "greeter", p) },
		"health":     func(p printer) error { return showHealth(ctx, f, p) },
	} {
		s := newScreen("")
		if err := run(s.printer(formatJSON)); ray.Code(err) != 503 {
			t.Errorf("%s: got %v", name, err)
		}
		if s.out.Len() > 0 {
			t.Errorf("%s prints %q", name, s.out.String())
		}
	}
}

func TestGet_IDPrefix(t *testing.T) {
	ctx := context.Background()
	f := cluster()
	f.tasks.Tasks = append(f.tasks.Tasks, ray.Task{ID: "bbb1", State: "RUNNING"})
	for name, tt := range map[string]struct {
		run  func(p printer) error
		want string // in the output or the error
	}{
		"a node":             {func(p printer) error { return getNode(ctx, f, "11", p) }, "ray-head"},
		"a task":             {func(p printer) error { return getTask(ctx, f, "aaaa", p) }, "TASK_EXECUTION_EXCEPTION"},
		"more than one task": {func(p printer) error { return getTask(ctx, f, "bbb", p) }, "ID prefix bbb matches 2 task attempts: use a longer prefix"},
		"no node":            {func(p printer) error { return getNode(ctx, f, "9", p) }, "404 no such node"},
		"empty prefix":       {func(p printer) error { return getNode(ctx, f, "", p) }, "404 no such node"},
	} {
		s := newScreen("")
		got := ""
		if err := tt.run(s.printer(formatTable)); err != nil {
			got = err.Error()
		}
		if got += s.out.String(); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q lacks %q", name, got, tt.want)
		}
	}
}
