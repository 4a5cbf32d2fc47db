package tail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"raytap/ray"
	"raytap/shipper/checkpoint"
	"raytap/shipper/sink"
	"raytap/shipper/slots"
	"raytap/shipper/writer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noAPI is a cluster in which every request fails.
type noAPI struct{ Client }

func (noAPI) Nodes(context.Context) ([]ray.Node, error) { return nil, errors.New("no nodes") }
func (noAPI) LogTransports() ray.LogTransports          { return ray.LogTransports{} }

// testCluster returns what the tails of a cluster share, with a writer that discards all.
func testCluster(t *testing.T, o Options) *Cluster {
	t.Helper()
	out := writer.New(sink.NewStdout(io.Discard), writer.Options{})
	return NewCluster(noAPI{}, noAPI{}, noAPI{}, nil, out, o.WithDefaults())
}

// memorySink is a sink that keeps all records.
type memorySink struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (m *memorySink) Write(_ context.Context, p []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.buf.Write(p)
	return nil
}

func (*memorySink) Close() error { return nil }

// testRecord is what the tests read of a record.
type testRecord struct {
	Epoch, Seq uint64
	Message    string
	Event      string
	Limit      string
	Truncated  bool
	Bytes      int64
	Skipped    int
	Lines      int
}

// harness is one log with all that reads it, and a running writer to memory. It is used
// in a synctest bubble.
type harness struct {
	*source
	t    *testing.T
	sink *memorySink
	stop func() // waits until all is written
}

// newHarness returns a harness for a job and a fake of its cluster, a Client or a
// MessageClient.
func newHarness(t *testing.T, j ray.Job, fake API, o Options) *harness {
	t.Helper()
	h := &harness{t: t, sink: &memorySink{}}
	out := writer.New(h.sink, writer.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- out.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(h.stop)
	client, _ := fake.(Client)
	messages, _ := fake.(MessageClient)
	cl := NewCluster(noAPI{}, fake, client, messages, out, o.WithDefaults())
	run := newJob(cl, "session_1", j)
	log := out.Positions.Log(checkpoint.Key{}, j)
	s, hl := slots.New(cl.opts.MaxTails, nil, func(map[string]int) {}), &health{cl: cl}
	h.source = &source{cl: cl, job: run, health: hl, slots: s, p: newPipeline(cl, run, hl, s, log)}
	return h
}

// readAll reads with r until that ends, and ships what it has read.
func (h *harness) readAll(r reader) error {
	h.t.Helper()
	err := r.read(h.t.Context())
	if ferr := errors.Join(h.p.FlushPending(h.t.Context()), h.p.Flush(h.t.Context())); ferr != nil {
		h.t.Error(ferr)
	}
	h.p.drop()
	return err
}

// records stops the writer and returns what it has written.
func (h *harness) records() []testRecord {
	h.t.Helper()
	h.stop()
	var out []testRecord
	for line := range strings.Lines(h.sink.buf.String()) {
		var r testRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			h.t.Fatalf("record %q: %v", line, err)
		}
		out = append(out, r)
	}
	return out
}

// wantLines stops the writer and compares the messages of all lines that were written.
func (h *harness) wantLines(want ...string) {
	h.t.Helper()
	var got []string
	for _, r := range h.records() {
		if r.Event == "" {
			got = append(got, r.Message)
		}
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		h.t.Errorf("lines %q, want %q", got, want)
	}
}

// runningJob and endedJob are jobs with a log on a node.
var (
	runningJob = ray.Job{SubmissionID: "raysubmit_1", Status: ray.JobRunning, Start: time.UnixMilli(1), DriverNodeID: "node", DriverAgentURL: "http://10.0.0.1:52365"}
	endedJob   = ray.Job{SubmissionID: "raysubmit_1", Status: ray.JobFailed, Start: time.UnixMilli(1), DriverNodeID: "node", DriverAgentURL: "http://10.0.0.1:52365"}
)
