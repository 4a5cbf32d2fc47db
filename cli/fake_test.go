package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"raytap/ray"
)

// now is the time in all tests of this package.
var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// fake is a cluster with fixed answers.
type fake struct {
	plan      ray.ServePlan
	config    string // passed to PlanServe
	jobs      []ray.Job
	nodes     []ray.Node
	tasks     ray.TaskList
	serve     ray.ServeStatus
	resources *ray.ClusterResources
	status    json.RawMessage
	log       string
	tail      []ray.TailLine
	tailErr   error
	down      error // returned by all calls if not nil

	calls   []string               // arguments of the calls that change something
	polls   int                    // number of calls of Job
	onJob   func(*fake)            // called by Job
	stopErr error                  // returned by StopJob
	tailed  []ray.TailOptions      // passed to Tail
	waiting chan<- context.Context // if not nil, Tail sends its context here and waits for it
}

func (f *fake) Close() {}

func unknown(what string) error {
	return &ray.Error{Op: "get " + what, Code: http.StatusNotFound, Detail: "no such " + what}
}

func (f *fake) Jobs(context.Context) ([]ray.Job, error) { return f.jobs, f.down }

func (f *fake) Job(_ context.Context, id string) (ray.Job, error) {
	f.polls++
	if f.onJob != nil {
		f.onJob(f)
	}
	if f.down != nil {
		return ray.Job{}, f.down
	}
	for _, j := range f.jobs {
		if j.SubmissionID == id || j.JobID == id {
			return j, nil
		}
	}
	return ray.Job{}, unknown("job")
}

func (f *fake) StopJob(_ context.Context, id string) error {
	f.calls = append(f.calls, id)
	return f.stopErr
}

func (f *fake) JobLogs(context.Context, string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(f.log)), f.down
}

func (f *fake) Tail(ctx context.Context, _ string, o ray.TailOptions) iter.Seq2[ray.TailLine, error] {
	f.tailed = append(f.tailed, o)
	return func(yield func(ray.TailLine, error) bool) {
		for _, line := range f.tail {
			if !yield(line, nil) {
				return
			}
		}
		if f.waiting != nil {
			f.waiting <- ctx
			<-ctx.Done()
		}
		if f.tailErr != nil {
			yield(ray.TailLine{}, f.tailErr)
		}
	}
}

func (f *fake) Nodes(context.Context) ([]ray.Node, error) { return f.nodes, f.down }

func (f *fake) Node(_ context.Context, id string) (ray.Node, error) {
	for _, n := range f.nodes {
		if n.ID == id {
			return n, f.down
		}
	}
	return ray.Node{}, unknown("node")
}

func (f *fake) Tasks(context.Context) (ray.TaskList, error) { return f.tasks, f.down }

func (f *fake) Task(_ context.Context, id string) (ray.Task, error) {
	for _, t := range f.tasks.Tasks {
		if t.ID == id {
			return t, f.down
		}
	}
	return ray.Task{}, unknown("task")
}

func (f *fake) Serve(context.Context) (ray.ServeStatus, error) { return f.serve, f.down }

func (f *fake) ServeApplication(_ context.Context, name string) (ray.ServeApplication, error) {
	for _, a := range f.serve.Applications {
		if a.Name == name {
			return a, f.down
		}
	}
	return ray.ServeApplication{}, unknown("application")
}

func (f *fake) DeleteServeApplication(_ context.Context, name string) error {
	f.calls = append(f.calls, name)
	return f.down
}

func (f *fake) PlanServe(_ context.Context, config []byte) (ray.ServePlan, error) {
	f.config = string(config)
	return f.plan, f.down
}

func (f *fake) DeployServe(context.Context, []byte) error {
	f.calls = append(f.calls, "deploy")
	return f.down
}

func absent(op string) error { return &ray.Error{Op: op, Code: http.StatusNotImplemented} }

func (f *fake) Resources(context.Context) (ray.ClusterResources, error) {
	if f.resources == nil {
		return ray.ClusterResources{}, absent("get cluster resources")
	}
	return *f.resources, f.down
}

func (f *fake) GPUStatus(context.Context) (json.RawMessage, error) {
	if f.status == nil {
		return nil, absent("get gpu status")
	}
	return f.status, f.down
}

func (f *fake) Health(context.Context) error { return f.down }

func (f *fake) Version(context.Context) (ray.Version, error) {
	return ray.Version{Ray: "2.60.0", Session: "session_1"}, f.down
}

// screen is a console that records the output.
type screen struct {
	Console
	out, err bytes.Buffer
}

func newScreen(input string) *screen {
	s := &screen{}
	s.Console = Console{In: strings.NewReader(input), Out: &s.out, Err: &s.err, Now: func() time.Time { return now }}
	return s
}

func (s *screen) printer(format string) printer { return printer{s.Console, format} }

// want checks the recorded output.
func (s *screen) want(t *testing.T, out, err string) {
	t.Helper()
	if got := s.out.String(); got != out {
		t.Errorf("stdout:\n%s\nwant:\n%s", got, out)
	}
	if got := s.err.String(); got != err {
		t.Errorf("stderr:\n%s\nwant:\n%s", got, err)
	}
}

func ptr[T any](v T) *T { return &v }

// cluster returns a cluster with objects of every kind.
func cluster() *fake {
	node := func(digit, host string) ray.Node {
		return ray.Node{ID: strings.Repeat(digit, 56), IP: "10.0.0." + digit, Name: "10.0.0." + digit, Host: host, State: ray.NodeAlive, Start: now.Add(-50 * time.Hour)}
	}
	head, worker, dead := node("1", "ray-head"), node("2", "worker-a"), node("3", "")
	head.Head = true
	head.Stats = &ray.NodeStats{
		At: now, CPURatio: 0.254, CPUs: 16, MemTotal: 64 << 30, MemUsed: 12.5 * (1 << 30), MemAvailable: 50 << 30, Workers: 3,
		ObjectStore: &ray.ObjectStore{Used: 1 << 20, Available: 3 << 20},
		Disks:       []ray.Disk{{Mount: "/", Total: 100 << 30, Used: 40 << 30, Free: 60 << 30}},
		LoadAvg:     [3]float64{1.25, 0.5, 0.25}, HasLoad: true, NetworkSent: 10, NetworkRecv: 20, HasNetwork: true,
		GPUs: []ray.GPU{{Index: 0, Name: "A100", UUID: "GPU-1", Utilization: ptr(0.5), MemUsed: 1 << 30, MemTotal: 40 << 30}},
	}
	head.Resources = map[string]float64{"CPU": 16, "memory": 1 << 30, "accelerator": 0.5}
	head.Labels = map[string]string{"zone": "a"}
	dead.State, dead.DeathReason, dead.End = ray.NodeDead, "UNEXPECTED_TERMINATION", now.Add(-time.Hour)
	return &fake{
		jobs: []ray.Job{
			{Type: ray.JobSubmission, SubmissionID: "raysubmit_old", Status: ray.JobFailed, Entrypoint: "python3 train.py", Message: "it\nfailed",
				ErrorType: "JOB_ENTRYPOINT_COMMAND_ERROR", Start: now.Add(-26 * time.Hour), End: now.Add(-25 * time.Hour), DriverExitCode: ptr(3),
				Metadata: map[string]string{"job_name": "train-7", "team": "ml"}, DriverNodeID: head.ID, DriverAgentURL: "http://10.0.0.1:52365", JobID: "01000000"},
			{Type: ray.JobSubmission, SubmissionID: "raysubmit_new", Status: ray.JobRunning, Entrypoint: "python3 -c 'print(1)\nprint(2)'", Start: now.Add(-200 * time.Second)},
			{Type: ray.JobDriver, JobID: "02000000", Status: ray.JobSucceeded, Entrypoint: "訓練.py", Start: now.Add(-time.Hour), End: now.Add(-59 * time.Minute)},
		},
		nodes: []ray.Node{dead, worker, head},
		tasks: ray.TaskList{Tasks: []ray.Task{
			{ID: strings.Repeat("b", 48), Name: "step", Func: "step", State: "RUNNING", Type: "NORMAL_TASK", JobID: "02000000", NodeID: head.ID},
			{ID: strings.Repeat("a", 48), Attempt: 2, Name: "load", Func: "f", State: "FAILED", Type: "ACTOR_TASK", JobID: "01000000", NodeID: worker.ID, ActorID: "c0", Error: "TASK_EXECUTION_EXCEPTION"},
		}},
		serve: ray.ServeStatus{Running: true, Applications: []ray.ServeApplication{
			{Name: "broken", Status: "DEPLOY_FAILED", Message: "Traceback\nImportError: no module", LastDeployed: now.Add(-time.Minute)},
			{Name: "greeter", RoutePrefix: "/", DocsPath: "/docs", Status: "RUNNING", Source: "declarative", LastDeployed: now.Add(-2 * time.Hour), Deployments: []ray.ServeDeployment{
				{Name: "Greeter", Status: "HEALTHY", TargetReplicas: ptr(3), Replicas: map[string]int{"RUNNING": 2, "STARTING": 1}, DeadReplicas: ptr(1)},
			}},
		}},
	}
}
