package synapse

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/synapsetest"
	"raytap/ray/transport"
)

// respondingClient returns a client of a server that sends the same response to all requests.
func respondingClient(t *testing.T, status int, contentType, body string) *Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(srv.Close)
	return client(t, srv.URL)
}

func TestClient_EachEndpoint(t *testing.T) {
	for _, o := range [][]synapsetest.Option{nil, {synapsetest.InvalidRows()}} {
		a := synapsetest.New(t, o...)
		a.Submit("train-7", synapsetest.JobOptions{JobID: "02000000", Metadata: map[string]string{"job_name": "train"}}).End("FAILED", 7)
		a.Submit("waiting", synapsetest.JobOptions{Pending: true})
		c := client(t, a.URL())
		ctx := t.Context()
		jobs, err := c.Jobs(ctx)
		if err != nil || len(jobs) != 2 || jobs[0].Name() != "train" || *jobs[0].DriverExitCode != 7 || jobs[0].End.IsZero() || jobs[1].DriverExitCode != nil || !jobs[1].End.IsZero() {
			t.Errorf("jobs: %+v, %v", jobs, err)
		}
		if j, err := c.Job(ctx, "train-7"); err != nil || !reflect.DeepEqual(j, jobs[0]) || j.JobID != "02000000" {
			t.Errorf("job: %+v, %v", j, err)
		}
		nodes, err := c.Nodes(ctx)
		if err != nil || len(nodes) != 2 || !nodes[0].Head || nodes[0].Resources["GPU"] != 2 || nodes[1].State != ray.NodeDead || nodes[1].End.IsZero() {
			t.Errorf("nodes: %+v, %v", nodes, err)
		}
		if n, err := c.Node(ctx, nodes[1].ID); err != nil || !reflect.DeepEqual(n, nodes[1]) {
			t.Errorf("node: %+v, %v", n, err)
		}
		tasks, err := c.Tasks(ctx)
		if err != nil || len(tasks.Tasks) != 2 || tasks.Truncated || tasks.Tasks[1].Error != "TASK_EXECUTION_EXCEPTION" {
			t.Errorf("tasks: %+v, %v", tasks, err)
		}
		if task, err := c.Task(ctx, tasks.Tasks[0].ID); err != nil || task != tasks.Tasks[0] {
			t.Errorf("task: %+v, %v", task, err)
		}
		apps, err := c.Serve(ctx)
		if err != nil || len(apps.Applications) != 2 || !apps.Running || *apps.Applications[0].Deployments[0].ReplicaCount != 2 || *apps.Applications[0].Deployments[0].TargetReplicas != 3 {
			t.Errorf("serve: %+v, %v", apps, err)
		}
		if app, err := c.ServeApplication(ctx, "chat"); err != nil || !reflect.DeepEqual(app, apps.Applications[0]) || app.LastDeployed.IsZero() {
			t.Errorf("application: %+v, %v", app, err)
		}
		if err := c.DeleteServeApplication(ctx, "chat"); err != nil || !slices.Equal(a.DeletedApplications(), []string{"chat"}) {
			t.Errorf("delete: %v, %q", err, a.DeletedApplications())
		}
		if err := c.StopJob(ctx, "waiting"); err != nil || a.Job("waiting").Status() != "STOPPED" {
			t.Errorf("stop: %v", err)
		}
		r, err := c.Resources(ctx)
		if err != nil || r.CPU.Used != 3 || *r.GPU.AvgUtilization != 0.45 || *r.RunningJobs != 1 || r.NodeCounts.Dead != 1 ||
			len(r.Nodes) != 1 || r.Nodes[0].GPUs[0].MemUsed != 40<<30 || *r.Nodes[0].GPUs[0].Utilization != 0.9 || r.At.IsZero() {
			t.Errorf("resources: %+v, %v", r, err)
		}
		if raw, err := c.GPUStatus(ctx); err != nil || !json.Valid(raw) {
			t.Errorf("gpu status: %s, %v", raw, err)
		}
		if v, err := c.Version(ctx); err != nil || v != (ray.Version{Session: UnknownSession}) || c.Health(ctx) != nil {
			t.Errorf("version: %+v, %v", v, err)
		}
		want := uint64(0)
		if o != nil {
			want = 4 * 5
		}
		if got := c.SkippedRows(); got != want {
			t.Errorf("%d rows skipped, want %d", got, want)
		}
	}
}

func TestLists_Wrapped(t *testing.T) {
	const row = `{"submission_id":"j","status":" running "}`
	for _, body := range []string{
		`[` + row + `]`, `{"results":[` + row + `]}`, `{"data":[` + row + `]}`, `{"jobs":[` + row + `]}`,
		`{"data":{"result":{"total":1,"result":[` + row + `]}}}`, `{"jobs":{"j":` + row + `}}`,
	} {
		jobs, err := respondingClient(t, 200, "application/json", body).Jobs(t.Context())
		if err != nil || len(jobs) != 1 || jobs[0].SubmissionID != "j" || jobs[0].Status != ray.JobRunning {
			t.Errorf("%s: %+v, %v", body, jobs, err)
		}
	}
	for body, code := range map[string]int{`null`: 500, ``: 500, `{"detail":"Not_authenticated"}`: 500, `{"jobs":null,"total":3}`: 500, `[]`: 0, `{}`: 500, `"x"`: 500, `7`: 500, `{"jobs":7}`: 500, `<html>`: 500, `[{`: 500} {
		jobs, err := respondingClient(t, 200, "application/json", body).Jobs(t.Context())
		if ray.Code(err) != code || len(jobs) != 0 {
			t.Errorf("%q: %+v, %v", body, jobs, err)
		}
	}
}

func TestJobs_Rows(t *testing.T) {
	at := time.Date(2026, 11, 24, 15, 2, 8, 458000000, time.UTC)
	for _, row := range []struct {
		name, row string
		want      ray.Job
	}{
		{"milliseconds", `{"submission_id":"j","status":"RUNNING","start_time":1795532528458}`, ray.Job{SubmissionID: "j", Status: "RUNNING", Start: at}},
		{"seconds", `{"submission_id":"j","status":"RUNNING","start_time":1795532528.458}`, ray.Job{SubmissionID: "j", Status: "RUNNING", Start: at}},
		{"a number as text", `{"submission_id":"j","status":"RUNNING","start_time":"1795532528458"}`, ray.Job{SubmissionID: "j", Status: "RUNNING", Start: at}},
		{"ISO with a zone", `{"submission_id":"j","status":"RUNNING","start_time":"2026-11-24T16:02:08.458+01:00"}`, ray.Job{SubmissionID: "j", Status: "RUNNING", Start: at}},
		{"ISO without", `{"submission_id":"j","status":"RUNNING","start_time":"2026-11-24 15:02:08.458"}`, ray.Job{SubmissionID: "j", Status: "RUNNING", Start: at}},
		{"no time", `{"submission_id":"j","status":"RUNNING","start_time":0,"end_time":"","metadata":7}`, ray.Job{SubmissionID: "j", Status: "RUNNING"}},
		{"an unknown status", `{"submission_id":"j","status":"paused"}`, ray.Job{SubmissionID: "j", Status: "PAUSED"}},
		{"an older agent's id", `{"id":"j","status":"RUNNING"}`, ray.Job{SubmissionID: "j", Status: "RUNNING"}},
		{"a driver", `{"type":"DRIVER","id":"x","job_id":"01000000","status":"RUNNING","submission_id":null}`, ray.Job{Type: "DRIVER", JobID: "01000000", Status: "RUNNING"}},
	} {
		jobs, err := respondingClient(t, 200, "application/json", `[`+row.row+`]`).Jobs(t.Context())
		if row.want.Type == "" {
			row.want.Type = ray.JobSubmission
		}
		if err != nil || len(jobs) != 1 || !reflect.DeepEqual(jobs[0], row.want) {
			t.Errorf("%s: %+v, %v", row.name, jobs, err)
		}
	}
}

func TestLists_RayShape(t *testing.T) {
	c := respondingClient(t, 200, "application/json", `{"applications":{"a":{"status":"running","last_deployed_time_s":1795532528.458,
		"deployments":{"D":{"status":"HEALTHY","target_num_replicas":2,"replicas":[{"state":"RUNNING"},{"state":"STARTING"}]}}}}}`)
	s, err := c.Serve(t.Context())
	if err != nil || len(s.Applications) != 1 || s.Applications[0].Name != "a" || s.Applications[0].Status != "RUNNING" {
		t.Fatalf("%+v, %v", s, err)
	}
	if d := s.Applications[0].Deployments[0]; d.Name != "D" || *d.TargetReplicas != 2 || *d.ReplicaCount != 2 || d.Replicas["STARTING"] != 1 {
		t.Errorf("%+v", d)
	}
	n, err := respondingClient(t, 200, "application/json", `{"node_id":"n","alive":false}`).Node(t.Context(), "n")
	if err != nil || n.State != ray.NodeDead {
		t.Errorf("%+v, %v", n, err)
	}
	task, err := respondingClient(t, 200, "application/json", `{"data":{"result":{"result":[{"task_id":"t","attempt_number":0,"state":"FAILED"},{"task_id":"t","attempt_number":1,"state":"RUNNING"}]}}}`).Task(t.Context(), "t")
	if err != nil || task.Attempt != 1 || task.State != "RUNNING" {
		t.Errorf("%+v, %v", task, err)
	}
}

func TestClient_Errors(t *testing.T) {
	for _, row := range []struct {
		status int
		body   string
		code   int
		says   string
	}{
		{400, `{"detail":"Job has ended"}`, 400, "Job has ended"},
		{401, `{"detail":"Invalid agent token"}`, 401, "Invalid agent token"},
		{403, `{"detail":"no"}`, 403, "no"},
		{404, `{"detail":"Job not found"}`, 404, "Job not found"},
		{405, `{"detail":"Method Not Allowed"}`, 400, "HTTP 405"},
		{408, ``, 408, "408"},
		{422, `{"detail":[{"loc":["path","id"],"msg":"not an id","type":"x"}]}`, 400, "path.id: not an id"},
		{429, `{"detail":"slow down"}`, 429, "slow down"},
		{500, `Internal Server Error`, 500, "Internal Server Error"},
		{503, `{"error_type":"gpu_unavailable","message":"no driver"}`, 503, "gpu_unavailable: no driver"},
		{504, ``, 503, "HTTP 504"},
	} {
		c := respondingClient(t, row.status, "application/json", row.body)
		_, err := c.Job(t.Context(), "j")
		var e *ray.Error
		if !asError(err, &e) || e.Code != row.code || e.Status != row.status || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%d: %v", row.status, err)
		}
	}
}

func asError(err error, e **ray.Error) bool { var ok bool; *e, ok = err.(*ray.Error); return ok }

func TestResources_MalformedPart(t *testing.T) {
	r, err := respondingClient(t, 200, "application/json", `{"collected_at":"2026-11-24T15:02:08Z","stale":"no","cpu":7,"memory":{"total":"8","used":2},
		"gpu":[],"running_jobs":"3","node_counts":null,"nodes":[7,{"node_id":"n","state":"ALIVE","gpus":{}}]}`).Resources(t.Context())
	if err != nil || r.CPU != nil || r.Memory.Total != 8 || r.GPU != nil || *r.RunningJobs != 3 || r.NodeCounts != nil || len(r.Nodes) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestClient_MissingEndpointRemembered(t *testing.T) {
	a := synapsetest.New(t, synapsetest.WithoutResources())
	c := client(t, a.URL())
	for range 3 {
		if _, err := c.Resources(t.Context()); ray.Code(err) != http.StatusNotImplemented {
			t.Errorf("resources: %v", err)
		}
		if _, err := c.GPUStatus(t.Context()); ray.Code(err) != http.StatusNotImplemented {
			t.Errorf("gpu status: %v", err)
		}
	}
	if n := a.Requests(synapsetest.EndpointOther); n != 2 {
		t.Errorf("%d requests to endpoints that the agent does not have", n)
	}
}

func TestClient_NotImplemented(t *testing.T) {
	c := respondingClient(t, 200, "application/json", "{}")
	_, e1 := c.ClusterStatus(t.Context())
	_, e2 := c.Actors(t.Context())
	_, e3 := c.PlacementGroups(t.Context())
	_, e4 := c.PlanServe(t.Context(), []byte(`{"applications":[]}`))
	e5 := c.DeployServe(t.Context(), []byte(`{"applications":[]}`))
	for _, err := range []error{e1, e2, e3, e4, e5} {
		if ray.Code(err) != http.StatusNotImplemented {
			t.Error(err)
		}
	}
}

func TestClient_Tokens(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := synapsetest.New(t, synapsetest.Token("raw-token"), synapsetest.UserTenant("user-1", "tenant-1"))
	job := a.Submit("j", synapsetest.JobOptions{})
	job.Print("1\n")
	job.End("SUCCEEDED", 0)
	tr, err := NewTransport(transport.Options{URL: a.URL(), Token: transport.FileToken(file("agent", "old"))},
		Credentials{User: transport.FileToken(file("user", "user-1")), Tenant: transport.StaticToken("tenant-1")})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(tr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Health(t.Context()); ray.Code(err) != http.StatusUnauthorized || strings.Contains(err.Error(), "RAY_AUTH_TOKEN") {
		t.Errorf("with an old token: %v", err)
	}
	file("agent", "raw-token\n")
	if err := c.Health(t.Context()); err != nil {
		t.Error(err)
	}
	for _, kind := range both {
		s, err := kind.open(c, t.Context(), "j", 0)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := readAll(s); text != "1\n" {
			t.Errorf("%s: %q", kind.name, text)
		}
	}
}

func TestClient_RedirectNotFollowed(t *testing.T) {
	requested := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requested = true }))
	defer other.Close()
	a := synapsetest.New(t)
	a.Inject(synapsetest.Fault{Action: synapsetest.Redirect, Body: other.URL + "/jobs/"})
	c := client(t, a.URL())
	if _, err := c.Jobs(t.Context()); err == nil || requested {
		t.Errorf("%v, requested %t", err, requested)
	}
	if err := c.StopJob(t.Context(), "j"); err == nil || requested || a.Requests("") != 2 {
		t.Errorf("%v, requested %t, %d requests", err, requested, a.Requests(""))
	}
}

func TestClient_IDEscaped(t *testing.T) {
	var uri string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uri = r.RequestURI
		_, _ = io.WriteString(w, `{"submission_id":"j","status":"RUNNING"}`)
	}))
	defer srv.Close()
	c := client(t, srv.URL+"/prefix/")
	if _, err := c.Job(t.Context(), "a/b?c é"); err != nil || uri != "/prefix/jobs/a%2Fb%3Fc%20%C3%A9/" {
		t.Errorf("requested %s, %v", uri, err)
	}
	for _, id := range []string{"", ".", ".."} {
		uri = ""
		if _, err := c.Job(t.Context(), id); ray.Code(err) != http.StatusBadRequest || uri != "" {
			t.Errorf("%q: %v, requested %s", id, err, uri)
		}
	}
}

func TestClient_PostSentOnce(t *testing.T) {
	a := synapsetest.New(t)
	a.Inject(synapsetest.Fault{Endpoint: synapsetest.EndpointStop, Action: synapsetest.Hang})
	tr, err := NewTransport(transport.Options{URL: a.URL(), Timeout: 50 * time.Millisecond}, Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(tr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StopJob(context.Background(), "j"); ray.Code(err) != http.StatusRequestTimeout || a.Requests("") != 1 {
		t.Errorf("%v, %d requests", err, a.Requests(""))
	}
}

func TestJobLogs_Formats(t *testing.T) {
	const log = "one\ntwo \"ü\" 😀\n\nlast\n"
	for name, shape := range map[string]synapsetest.LogFormat{
		"text": synapsetest.LogString, "list": synapsetest.LogList, "wrapped": synapsetest.LogWrapped, "bare": synapsetest.LogText,
	} {
		a := synapsetest.New(t, synapsetest.LogsAs(shape))
		a.Submit("j", synapsetest.JobOptions{}).Print(log)
		if got, err := wholeLog(client(t, a.URL())); got != log || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, row := range []struct {
		contentType, body, want string
		code                    int
	}{
		{"application/json", `["one\n","two"]`, "one\ntwo", 0},
		{"application/json", `{"job":{"x":[1]},"logs":"x\u0041\ud83d\ude00"}`, "xA😀", 0},
		{"application/json", `{"data":{"logs":["a"]}}`, "a\n", 0},
		{"application/json", `[]`, "", 0},
		{"application/json", `null`, "", 0},
		{"application/json", ``, "", 0},
		{"text/plain", `"not JSON`, `"not JSON`, 0},
		{"application/json", `"cut off`, "cut off", 503},
		{"application/json", `"cut \u00`, "cut ", 503},
		{"application/json", `{"detail":"no such job"}`, "", 500},
		{"application/json", `{"x":1}`, "", 500},
		{"application/json", `[1]`, "", 500},
		{"application/json", `7`, "", 500},
		{"text/html", `<html>`, "", 500},
	} {
		if got, err := wholeLog(respondingClient(t, 200, row.contentType, row.body)); got != row.want || ray.Code(err) != row.code {
			t.Errorf("%s: %q, %v", row.body, got, err)
		}
	}
}

func wholeLog(c *Client) (string, error) {
	body, err := c.JobLogs(context.Background(), "j")
	if err != nil {
		return "", err
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	return string(b), err
}
