package shipper

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"raytap/shipper/rotation"
	"raytap/shipper/tail"
	"raytap/shipper/tail/tailtest"
	"raytap/shipper/writer"

	"raytap/ray"
	"raytap/shipper/record"
)

// agentOnly is a cluster with one running job, whose log only the node agent
// can read.
type agentOnly struct {
	allTransports
	mu   sync.Mutex
	log  []byte
	over bool
	end  time.Time // by Ray's clock
	from []int64   // the requested offsets
}

func (a *agentOnly) job() ray.Job {
	j := ray.Job{Type: ray.JobSubmission, SubmissionID: "job", Status: "RUNNING", Start: time.UnixMilli(1), DriverNodeID: "n", DriverAgentURL: "http://agent"}
	if a.over {
		j.Status, j.End = "SUCCEEDED", a.end
	}
	return j
}

func (a *agentOnly) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *agentOnly) Jobs() []ray.Job {
	a.mu.Lock()
	defer a.mu.Unlock()
	return []ray.Job{a.job()}
}

func (a *agentOnly) JobsNewerThan(context.Context, time.Time) ([]ray.Job, error) {
	return a.Jobs(), nil
}
func (a *agentOnly) Job(context.Context, string) (ray.Job, error) { return a.Jobs()[0], nil }
func (a *agentOnly) Nodes(context.Context) ([]ray.Node, error)    { return nil, nil }
func (a *agentOnly) Version(context.Context) (ray.Version, error) {
	return ray.Version{Session: "s"}, nil
}
func (a *agentOnly) TailLog(context.Context, ray.LogRef) (ray.LogStream, error) {
	return nil, &ray.Error{Op: "tail log", Code: 501}
}
func (a *agentOnly) LogLines(context.Context, ray.LogRef, int) (io.ReadCloser, error) {
	return nil, &ray.Error{Op: "read log file", Code: 501}
}
func (a *agentOnly) AgentFile(ctx context.Context, agentURL, name string, from, to int64) (ray.FilePart, error) {
	a.change(func() { a.from = append(a.from, from) })
	return tailtest.Read(ctx, unrecorded{a}, agentURL, name, from, to)
}
func (a *agentOnly) AgentFileStat(ctx context.Context, agentURL, name string) (ray.FileStat, error) {
	return tailtest.Stat(ctx, unrecorded{a}, agentURL, name)
}
func (a *agentOnly) AgentLog(_ context.Context, _ ray.LogRef, from int64) (ray.LogRange, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.from = append(a.from, from)
	return a.read(from), nil
}

func (a *agentOnly) read(from int64) ray.LogRange {
	size := int64(len(a.log))
	text := bytes.Clone(a.log[min(from, size):])
	return ray.LogRange{Body: io.NopCloser(bytes.NewReader(text)), Offset: from, Size: size}
}

// unrecorded reads the log without noting where.
type unrecorded struct{ *agentOnly }

func (a unrecorded) AgentLog(_ context.Context, _ ray.LogRef, from int64) (ray.LogRange, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.read(from), nil
}

// shipAgentOnly ships the agent's log into memory while f runs.
func shipAgentOnly(t *testing.T, a *agentOnly, f func(*Shipper)) []jsonRecord {
	t.Helper()
	written := shipTo(t, a, a, tail.ProtocolHTTP, f)
	var recs []jsonRecord
	for line := range strings.Lines(string(written)) {
		var r jsonRecord
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		recs = append(recs, r)
	}
	return recs
}

// shipTo ships a cluster's logs into memory while f runs, and returns what was written.
func shipTo(t *testing.T, lists Lists, client tail.Client, protocol string, f func(*Shipper)) []byte {
	t.Helper()
	sink := &memorySink{moved: make(chan struct{})}
	out := writer.New(sink, writer.Options{})
	s := New(lists, client, out, Options{Options: tail.Options{Cluster: "test", Protocol: protocol}})
	ctx, cancel := context.WithCancel(t.Context())
	outCtx, cancelOut := context.WithCancel(t.Context())
	ended, outEnded := make(chan error, 1), make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	go func() { outEnded <- out.Run(outCtx) }()
	f(s)
	cancel()
	<-ended
	cancelOut()
	<-outEnded
	return sink.buf.Bytes()
}

func numbered(from, to int, end string) []byte {
	var b []byte
	for i := from; i < to; i++ {
		b = fmt.Appendf(b, "line %d of a job that is silent for long%s", i, end)
	}
	return b
}

func TestIdle_LinesAfterSilence(t *testing.T) {
	for _, c := range []struct{ name, before, after string }{
		{"a whole line", "", "one more\n"},
		{"empty lines before the silence", "\n\n\n", "one more\n"},
		{"empty lines after it", "", "\n\none more\n"},
		{"the rest of a partial line", "the first", " and the second part\n"},
		{"a \\r\\n in two parts", "a line\r", "\none more\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &agentOnly{log: append(numbered(0, 300, "\n"), c.before...)}
				recs := shipAgentOnly(t, a, func(*Shipper) {
					for range 3 {
						time.Sleep(time.Minute)
						a.change(func() { a.log = append(append(a.log, c.after...), c.before...) })
					}
					time.Sleep(time.Minute)
					a.change(func() { a.over = true })
					time.Sleep(time.Minute)
				})
				if err := compareLines(recs, a.log); err != nil {
					t.Error(err)
				}
				if last := recs[len(recs)-1]; last.Event != record.EventEnd || !*last.Complete {
					t.Errorf("the last record is %+v", last)
				}
			})
		})
	}
}

func TestIdle_NoBuffersAndShortReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &agentOnly{log: numbered(0, 300, "\n")}
		shipAgentOnly(t, a, func(s *Shipper) {
			time.Sleep(time.Hour)
			synctest.Wait()
			if n := s.out.Stats().Memory; n != 0 {
				t.Errorf("a silent job holds %d bytes of buffers", n)
			}
			size := int64(len(a.log))
			for i, from := range a.from[1:] {
				if from != size-checkSize && (i > 8 || from != size-rotation.ProofSize) {
					t.Fatalf("read %d began at %d, want %d: %v", i, from, size-checkSize, a.from[:min(20, len(a.from))])
				}
			}
		})
	})
}

func TestIdle_ReplacedLog(t *testing.T) {
	for _, c := range []struct{ name, log string }{
		{"by one of the same length", string(bytes.ToUpper(numbered(0, 300, "\n")))},
		{"by a shorter one", "short\n"},
		{"by a longer one", string(bytes.ToUpper(numbered(0, 400, "\n")))},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &agentOnly{log: numbered(0, 300, "\n")}
				recs := shipAgentOnly(t, a, func(*Shipper) {
					time.Sleep(time.Minute)
					a.change(func() { a.log = []byte(c.log) })
					time.Sleep(time.Minute)
				})
				var again []string
				for _, r := range recs {
					if r.Epoch == 1 && r.Event == "" {
						again = append(again, r.Message+"\n")
					}
				}
				if strings.Join(again, "") != c.log {
					t.Errorf("epoch 1 has %d lines, want those of the new log", len(again))
				}
			})
		})
	}
}
