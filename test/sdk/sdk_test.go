//go:build e2e

// Package sdk runs the published Python client of Synapse agents against the fake agent,
// so that the fake stays compatible with real agents, and compares its results with those
// of raytap's client.
package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/synapse"
	"raytap/ray/synapsetest"
	"raytap/ray/transport"
	"raytap/test/program"
)

// step is one call of the published client.
type step struct {
	Op       string         `json:"op"`
	Args     []string       `json:"args,omitempty"`
	Protocol string         `json:"protocol,omitempty"`
	Timeout  any            `json:"timeout,omitempty"`
	Limits   map[string]int `json:"limits,omitempty"`
	Direct   bool           `json:"direct,omitempty"` // call the method of the protocol
}

// result is the result of a step. Code is nil if the client raised no error.
type result struct {
	Value json.RawMessage `json:"value"`
	Code  *int            `json:"code"`
	Error string          `json:"error"`
}

func (r result) code() int {
	switch {
	case r.Code != nil:
		return *r.Code
	case r.Error != "":
		return -1
	}
	return 0
}

// lines returns the messages of a tail.
func (r result) lines(t *testing.T) []string {
	t.Helper()
	lines := []string{}
	if err := json.Unmarshal(r.Value, &lines); err != nil {
		t.Fatalf("%s: %v", r.Value, err)
	}
	return lines
}

type tokens struct{ agent, user, tenant string }

// run runs the steps with the published client.
func run(t *testing.T, a *synapsetest.Agent, tok tokens, steps ...step) []result {
	t.Helper()
	task, err := json.Marshal(map[string]any{"url": a.URL(), "token": tok.agent, "user": orNil(tok.user), "tenant": orNil(tok.tenant), "steps": steps})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program.Tool(t, "synapse/bin/python"), "client.py")
	cmd.Stdin = bytes.NewReader(task)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the published client: %v\n%s", err, stderr.Bytes())
	}
	var results []result
	for line := range bytes.Lines(out) {
		var one result
		if err := json.Unmarshal(line, &one); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		results = append(results, one)
	}
	if len(results) != len(steps) {
		t.Fatalf("%d results of %d steps\n%s", len(results), len(steps), stderr.Bytes())
	}
	return results
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// raytapClient returns raytap's client of the same agent.
func raytapClient(t *testing.T, a *synapsetest.Agent, tok tokens) *synapse.Client {
	t.Helper()
	tr, err := synapse.NewTransport(transport.Options{URL: a.URL(), Token: transport.StaticToken(tok.agent)},
		synapse.Credentials{User: transport.StaticToken(tok.user), Tenant: transport.StaticToken(tok.tenant)})
	if err != nil {
		t.Fatal(err)
	}
	c, err := synapse.New(tr, synapse.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// ids returns the value of one key in each row, sorted.
func ids(t *testing.T, raw json.RawMessage, key string) []string {
	t.Helper()
	var rows []map[string]any
	if err := json.Unmarshal(raw, &rows); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	out := []string{}
	for _, row := range rows {
		out = append(out, fmt.Sprint(row[key]))
	}
	slices.Sort(out)
	return out
}

func idsOf[T any](rows []T, id func(T) string) []string {
	out := []string{}
	for _, row := range rows {
		out = append(out, id(row))
	}
	slices.Sort(out)
	return out
}

func TestSDK_Operations(t *testing.T) {
	tok := tokens{"agent-token", "user-token", "tenant-1"}
	a := synapsetest.New(t, synapsetest.Prefix("/agents/a1"), synapsetest.Token(tok.agent), synapsetest.UserTenant(tok.user, tok.tenant))
	done := a.Submit("done", synapsetest.JobOptions{JobID: "02000000"})
	done.Print("one\nzwei \"ü\" 😀\n")
	done.End("FAILED", 3)
	a.Submit("running", synapsetest.JobOptions{})
	c, ctx := raytapClient(t, a, tok), t.Context()
	nodes, err := c.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := c.Tasks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	apps, err := c.Serve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := c.Jobs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	resources, err := c.Resources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	steps := []step{
		{Op: "health_check"}, {Op: "list_jobs"}, {Op: "get_job", Args: []string{"done"}}, {Op: "get_job_logs", Args: []string{"done"}},
		{Op: "list_nodes"}, {Op: "get_node", Args: []string{nodes[0].ID}},
		{Op: "list_tasks"}, {Op: "get_task", Args: []string{tasks.Tasks[0].ID}},
		{Op: "list_serve_applications"}, {Op: "get_serve_application", Args: []string{"chat"}},
		{Op: "get_gpu_status"}, {Op: "get_cluster_resources"},
		{Op: "stop_job", Args: []string{"running"}}, {Op: "stop_job", Args: []string{"running"}}, {Op: "get_job", Args: []string{"unknown"}},
		{Op: "delete_serve_application", Args: []string{"search"}}, {Op: "get_serve_application", Args: []string{"search"}},
	}
	codes := map[int]int{13: 400, 14: 404, 16: 404}
	results := run(t, a, tok, steps...)
	for i, got := range results {
		if got.code() != codes[i] {
			t.Errorf("%s %q: code %d, want %d: %s", steps[i].Op, steps[i].Args, got.code(), codes[i], got.Error)
		}
	}
	same := func(i int, key string, want []string) {
		t.Helper()
		if got := ids(t, results[i].Value, key); !slices.Equal(got, want) {
			t.Errorf("%s: the published client has %q, raytap %q", steps[i].Op, got, want)
		}
	}
	same(1, "submission_id", idsOf(jobs, func(j ray.Job) string { return j.SubmissionID }))
	same(1, "status", idsOf(jobs, func(j ray.Job) string { return string(j.Status) }))
	same(4, "node_id", idsOf(nodes, func(n ray.Node) string { return n.ID }))
	same(4, "state", idsOf(nodes, func(n ray.Node) string { return string(n.State) }))
	same(8, "name", idsOf(apps.Applications, func(app ray.ServeApplication) string { return app.Name }))
	unfinished := slices.DeleteFunc(ids(t, results[6].Value, "state"), func(s string) bool { return s == "FINISHED" })
	if want := idsOf(tasks.Tasks, func(task ray.Task) string { return task.State }); !slices.Equal(unfinished, want) {
		t.Errorf("list_tasks: the published client has %q, raytap %q", unfinished, want)
	}
	var log string
	if err := json.Unmarshal(results[3].Value, &log); err != nil || log != string(done.Log()) {
		t.Errorf("get_job_logs: %s, %v", results[3].Value, err)
	}
	var hardware struct {
		CPU, Memory struct{ Total, Used, Available float64 }
		GPU         struct {
			Total float64 `json:"total_gpus"`
		}
		RunningJobs int `json:"running_jobs"`
		Nodes       []struct {
			ID string `json:"node_id"`
		}
	}
	if err := json.Unmarshal(results[11].Value, &hardware); err != nil {
		t.Fatal(err)
	}
	if hardware.CPU != *resources.CPU || hardware.Memory != *resources.Memory || hardware.GPU.Total != *resources.GPU.Total ||
		hardware.RunningJobs != *resources.RunningJobs || hardware.Nodes[0].ID != resources.Nodes[0].ID {
		t.Errorf("get_cluster_resources: the published client has %s, raytap %+v", results[11].Value, resources)
	}
	if a.Job("running").Status() != "STOPPED" || !slices.Equal(a.DeletedApplications(), []string{"search"}) {
		t.Errorf("the status of the job is %s; deleted applications: %q", a.Job("running").Status(), a.DeletedApplications())
	}
}

func TestSDK_Tail(t *testing.T) {
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf("line %d: \"ü\" \\ 😀\n", i))
	}
	a := synapsetest.New(t, synapsetest.ConnectedEvent())
	for id, shape := range map[string]synapsetest.MessageFormat{"lines": {}, "batches": {Lines: 10}, "compact": {Compact: true}} {
		job := a.Submit(id, synapsetest.JobOptions{Format: shape})
		job.Print(strings.Join(lines, ""))
		job.End("SUCCEEDED", 0)
	}
	var steps []step
	for _, id := range []string{"lines", "batches", "compact"} {
		for _, protocol := range []string{"websocket", "http", "auto"} {
			steps = append(steps, step{Op: "tail", Args: []string{id}, Protocol: protocol})
		}
		steps = append(steps, step{Op: "tail", Args: []string{id}, Protocol: "websocket", Direct: true},
			step{Op: "tail", Args: []string{id}, Protocol: "http", Direct: true})
	}
	c := raytapClient(t, a, tokens{})
	for i, got := range run(t, a, tokens{}, steps...) {
		if text := strings.Join(got.lines(t), ""); got.code() != 0 || text != strings.Join(lines, "") {
			t.Errorf("%+v: code %d, %d bytes, %s", steps[i], got.code(), len(text), got.Error)
		}
		o := ray.DefaultTailOptions()
		o.Protocol = steps[i].Protocol
		n := 0
		for line, err := range c.Tail(t.Context(), steps[i].Args[0], o) {
			if err != nil || line.Text+"\n" != lines[n] {
				t.Fatalf("raytap, %+v: %q, %v", steps[i], line.Text, err)
			}
			n++
		}
		if n != len(lines) {
			t.Errorf("raytap, %+v: %d lines", steps[i], n)
		}
	}
}

func TestSDK_Faults(t *testing.T) {
	const ws, sse = synapsetest.EndpointWebSocket, synapsetest.EndpointSSE
	for _, row := range []struct {
		name  string
		o     []synapsetest.Option
		fault *synapsetest.Fault
		step  step
		code  int
		lines int
	}{
		{"messages at the limit", nil, nil, step{Protocol: "websocket", Limits: map[string]int{"max_messages": 21}}, 0, 20},
		{"messages over the limit", nil, nil, step{Protocol: "websocket", Limits: map[string]int{"max_messages": 5}}, 429, 5},
		{"lines over the limit", nil, nil, step{Protocol: "http", Limits: map[string]int{"max_lines": 5}}, 429, 5},
		{"bytes over the limit", nil, nil, step{Protocol: "http", Limits: map[string]int{"max_bytes": 12}}, 429, 6},
		{"an invalid ID", nil, nil, step{Args: []string{"a/b"}}, 400, 0},
		{"an empty ID", nil, nil, step{Args: []string{""}}, 400, 0},
		{"an ID that is too long", nil, nil, step{Args: []string{strings.Repeat("a", 101)}}, 400, 0},
		{"a timeout that is too long", nil, nil, step{Timeout: 300.5}, 400, 0},
		{"an unknown protocol", nil, nil, step{Protocol: "stream"}, 400, 0},
		{"no WebSocket, auto", []synapsetest.Option{synapsetest.NoWebSocket(403)}, nil, step{Protocol: "auto"}, 0, 20},
		{"no WebSocket, websocket only", []synapsetest.Option{synapsetest.NoWebSocket(404)}, nil, step{Protocol: "websocket"}, 503, 0},
		{"an unknown job over HTTP", nil, nil, step{Args: []string{"unknown"}, Protocol: "http"}, 503, 0},
		{"an error event", nil, &synapsetest.Fault{Endpoint: ws, Action: synapsetest.ErrorEvent, Body: "disk", AfterMessages: 5}, step{Protocol: "websocket"}, 500, 5},
		{"an error event over HTTP", nil, &synapsetest.Fault{Endpoint: sse, Action: synapsetest.ErrorEvent, Body: "disk", AfterMessages: 5}, step{Protocol: "http"}, 500, 5},
		{"an error event, auto: lines are repeated", nil, &synapsetest.Fault{Endpoint: ws, Action: synapsetest.ErrorEvent, Body: "disk", AfterMessages: 5}, step{Protocol: "auto"}, 0, 25},
		{"a close frame is an end", nil, &synapsetest.Fault{Endpoint: ws, Action: synapsetest.CloseFrame, Code: 1011, AfterMessages: 5}, step{Protocol: "websocket"}, 0, 5},
		{"a cut response is an error", nil, &synapsetest.Fault{Endpoint: sse, Action: synapsetest.CutClose, AfterMessages: 5}, step{Protocol: "http"}, 503, -1},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := synapsetest.New(t, row.o...)
			job := a.Submit("j", synapsetest.JobOptions{})
			for i := range 20 {
				job.Printf("%c\n", 'a'+i)
			}
			job.End("SUCCEEDED", 0)
			if row.fault != nil {
				a.Inject(*row.fault)
			}
			s := row.step
			if s.Op = "tail"; s.Args == nil {
				s.Args = []string{"j"}
			}
			got := run(t, a, tokens{}, s)[0]
			if n := len(got.lines(t)); got.code() != row.code || n != row.lines && row.lines >= 0 {
				t.Errorf("code %d, %d lines: %s", got.code(), n, got.Error)
			}
		})
	}
}
