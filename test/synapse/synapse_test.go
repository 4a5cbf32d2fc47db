//go:build e2e && linux

// Package synapse runs the real raytap on a fake Synapse agent, so that every line is
// known.
package synapse

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray/synapsetest"
	"raytap/test/program"
)

const (
	jobs    = 20
	lines   = 50_000 // of each job
	batch   = 500    // lines printed at a time
	between = 3_000  // lines between two cuts of a job's stream
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// raytap is the process under test. It is killed and restarted.
type raytap struct {
	t      *testing.T
	config string
	*program.Process
}

func (r *raytap) start() {
	r.t.Helper()
	r.Process = program.Start(r.t, program.Raytap(r.t, "--config.file", r.config, "--web.listen-address", "127.0.0.1:0"))
}

// shapes are the kinds of messages in which the fake agent sends logs: Ray's batches, one
// line per message, messages that end anywhere, and lines without their newlines.
var shapes = []synapsetest.MessageFormat{{Lines: 10}, {}, {Bytes: 700}, {NoNewline: true}}

func TestSynapse_EveryLineOnce(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string { return program.File(t, filepath.Join(dir, name), text) }
	a := synapsetest.New(t, synapsetest.Prefix("/agents/a1"), synapsetest.Token("the agent's"), synapsetest.UserTenant("the user's", "a tenant"),
		synapsetest.Heartbeat(time.Second), synapsetest.ConnectedEvent(), synapsetest.InvalidRows())
	sink := filepath.Join(dir, "lines.jsonl")
	r := &raytap{t: t, config: file("raytap.yaml", fmt.Sprintf(`
clusters:
  - name: agent
    api: synapse
    url: %s
    auth: {token_file: %s, user_token_file: %s, tenant: a tenant}
collector: {enabled: false}
shipper:
  discovery: {interval: 500ms}
  backoff: {initial: 50ms, max: 1s}
  grace_period: 1s
  positions: {interval: 200ms}
sink: {file: {path: %s, rotate: {max_size: 64MiB, max_files: 50}, fsync: never}}
`, a.URL(), file("token", "the agent's\n"), file("user", "the user's\n"), sink))}
	r.start()
	began := time.Now()
	cuts := printAll(t, a, r)
	t.Logf("%d lines printed, %d streams cut, raytap killed 3 times, the agent restarted, in %s", jobs*lines, cuts, time.Since(began).Round(time.Second))
	if cuts < jobs*lines/between/4 {
		t.Errorf("only %d streams were cut", cuts)
	}
	waitForEnds(t, r, sink)
	t.Logf("everything shipped after %s", time.Since(began).Round(time.Second))
	check(t, sink)
	for _, endpoint := range []string{synapsetest.EndpointWebSocket, synapsetest.EndpointSSE, synapsetest.EndpointLogs} {
		if a.Requests(endpoint) == 0 {
			t.Errorf("no requests to %s", endpoint)
		}
	}
}

func id(job int) string { return fmt.Sprintf("raysubmit_%02d", job) }

// line returns line n of a job's log. Some lines are equal.
func line(job, n int) string {
	if n%10 == 9 {
		return "the same as ever"
	}
	return fmt.Sprintf("job %d step %d loss %d.%03d é", job, n, n*7919%97, n*31%1000)
}

// printAll makes all jobs print all their lines and end. Meanwhile it cuts their streams
// and kills raytap. It returns the number of cuts.
func printAll(t *testing.T, a *synapsetest.Agent, r *raytap) (cuts int) {
	rnd := rand.New(rand.NewPCG(1, 2))
	list := make([]*synapsetest.Job, jobs)
	for i := range list {
		list[i] = a.Submit(id(i), synapsetest.JobOptions{Format: shapes[i%len(shapes)]})
	}
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for n := 0; n < lines; n += batch {
		for i, j := range list {
			var text strings.Builder
			for k := n; k < n+batch; k++ {
				text.WriteString(line(i, k) + "\n")
			}
			j.Print(text.String())
			if (n+i*batch)%between == 0 {
				how := []synapsetest.Action{synapsetest.CutClose, synapsetest.CutReset, synapsetest.CloseFrame, synapsetest.ErrorEvent}
				cuts += a.CutTails(how[rnd.IntN(len(how))], j.ID)
			}
		}
		switch n {
		case lines / 4, lines / 2, lines * 3 / 4:
			r.Kill()
			r.start()
		case lines * 3 / 8: // the agent restarts
			a.Down()
		case lines*3/8 + 8*batch:
			if err := a.Up(); err != nil {
				t.Fatal(err)
			}
		case lines * 5 / 8:
			a.Inject(synapsetest.Fault{Endpoint: synapsetest.EndpointWebSocket, Action: synapsetest.Respond, Status: 403})
			cuts += a.CutTails(synapsetest.CutReset, "")
		}
		<-tick.C
	}
	for i, j := range list {
		j.End([]string{"SUCCEEDED", "FAILED"}[i%2], i%2)
	}
	return cuts
}

// record is a record in the sink.
type record struct {
	SubmissionID string `json:"submission_id"`
	Session      string
	Epoch, Seq   uint64
	Message      string
	Event        string
	Status       string
	Lines        uint64
	Complete     bool
}

// each calls f for all records in the sink file and the rotated ones.
func each(t *testing.T, sink string, f func(record)) {
	t.Helper()
	names, err := filepath.Glob(sink + ".0*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, name := range append(names, sink) {
		text, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(text); s.Scan(); {
			var rec record
			if err := json.Unmarshal(s.Bytes(), &rec); err != nil {
				t.Fatalf("%s: %v: %q", name, err, s.Text())
			}
			f(rec)
		}
		if err := text.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// waitForEnds waits until each job has an end event.
func waitForEnds(t *testing.T, r *raytap, sink string) {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		names, _ := filepath.Glob(sink + ".0*") // the pattern is valid
		n := 0
		for _, name := range append(names, sink) {
			if text, err := os.ReadFile(name); err == nil { // it may have been rotated
				n += strings.Count(string(text), `"event":"end"`)
			}
		}
		if n >= jobs {
			return
		}
		select {
		case <-r.Exited:
			t.Fatal("raytap exited")
		case <-timeout:
			t.Fatalf("%d of %d jobs have an end event", n, jobs)
		case <-tick.C:
		}
	}
}

// check compares the sink with the printed lines.
func check(t *testing.T, sink string) {
	t.Helper()
	due := make(map[string]uint64, jobs)
	ends, starts := 0, 0
	number := map[string]int{}
	for i := range jobs {
		number[id(i)] = i
	}
	each(t, sink, func(rec record) {
		next := due[rec.SubmissionID]
		job, known := number[rec.SubmissionID]
		switch {
		case !known || rec.Session != "unknown":
			t.Fatalf("a record of an unknown job: %+v", rec)
		case rec.Epoch != 0 || rec.Seq != next:
			t.Fatalf("job %s: epoch %d seq %d, want epoch 0 seq %d: %+v", rec.SubmissionID, rec.Epoch, rec.Seq, next, rec)
		case rec.Event == "start":
			starts++
		case rec.Event == "end":
			ends++
			if want := []string{"SUCCEEDED", "FAILED"}[job%2]; rec.Lines != lines || !rec.Complete || rec.Status != want {
				t.Errorf("end event %+v", rec)
			}
		case rec.Event != "":
			t.Errorf("unexpected event: %+v", rec)
		case rec.Message != line(job, int(next)):
			t.Fatalf("job %s: line %d is %q", rec.SubmissionID, next, rec.Message)
		default:
			due[rec.SubmissionID]++
		}
	})
	if starts != jobs || ends != jobs {
		t.Errorf("%d start and %d end events of %d jobs", starts, ends, jobs)
	}
	for i := range jobs {
		if due[id(i)] != lines {
			t.Errorf("job %s has %d lines", id(i), due[id(i)])
		}
	}
}
