package shipper

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"raytap/lines/linestest"
	"raytap/ray"
	"raytap/ray/cache"
	"raytap/ray/dashboard"
	"raytap/ray/raytest"
	"raytap/ray/transport"
	"raytap/shipper/checkpoint"
	"raytap/shipper/metrics"
	"raytap/shipper/record"
	"raytap/shipper/sink"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// jsonRecord has the keys of a record that tests read.
type jsonRecord struct {
	Time         string
	Session      string
	SubmissionID string `json:"submission_id"`
	Epoch, Seq   uint64
	Message      string
	Event        string
	Status       string
	Lines        *uint64
	ContentBytes *uint64 `json:"content_bytes"`
	Complete     *bool
	ExitCode     *int `json:"driver_exit_code"`
	Truncated    bool
	Bytes        int64
	Blank        int
	Skipped      int
	AtLeast      int64 `json:"at_least"`
	Limit        string
}

// memorySink is a sink that keeps what it accepts. While it is blocked it accepts nothing.
type memorySink struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	blocked bool
	moved   chan struct{}
	err     error
}

func (m *memorySink) Write(ctx context.Context, p []byte) error {
	for {
		m.mu.Lock()
		if m.err != nil {
			defer m.mu.Unlock()
			return m.err
		}
		if !m.blocked {
			m.buf.Write(p)
			m.mu.Unlock()
			return nil
		}
		moved := m.moved
		m.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *memorySink) Close() error { return nil }

func (m *memorySink) setBlocked(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocked = on
	if !on {
		close(m.moved)
	}
	m.moved = make(chan struct{})
}

// harness is a shipper that runs on a fake head or agent.
type harness struct {
	t       *testing.T
	head    *raytest.Head
	sink    *memorySink
	out     *writer.Writer
	shipper *Shipper
	metrics *metrics.Metrics
	log     *bytes.Buffer
	logging *lockedWriter
	file    string // the sink file; "": the sink is in memory
	release func(error)
	stop    func()
	ended   chan struct{} // closed when Run has returned
}

func fastOptions(protocol string) Options {
	return Options{Interval: 15 * time.Millisecond, Options: tail.Options{
		Cluster: "test", Protocol: protocol, PollInterval: 5 * time.Millisecond,
		GracePeriod: 60 * time.Millisecond, AbsentFor: 50 * time.Millisecond, Timeout: 2 * time.Second, FileRate: 500, LostAfter: time.Minute,
		Backoff: tail.Backoff{Initial: 2 * time.Millisecond, Max: 40 * time.Millisecond}, MaxTails: 16,
	}}
}

func client(t *testing.T, head *raytest.Head, agents string) *dashboard.Client {
	t.Helper()
	tr, err := transport.New(transport.Options{URL: head.URL(), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c, err := dashboard.New(tr, dashboard.Options{NodeAgents: dashboard.NodeAgents{Mode: agents, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// newHarness starts a shipper with a sink in memory. agents is the mode of node_agents.
func newHarness(t *testing.T, head *raytest.Head, agents string, o Options, oo writer.Options) *harness {
	t.Helper()
	return newHarnessWithFile(t, head, agents, o, oo, "")
}

// newHarnessWithFile starts a shipper that writes to a file, like a process that finds
// the files of an earlier one. With file "" the sink is in memory.
func newHarnessWithFile(t *testing.T, head *raytest.Head, agents string, o Options, oo writer.Options, file string) *harness {
	t.Helper()
	r := startHarness(t, head, agents, o, oo, file)
	r.waitSeen()
	return r
}

// startHarness is newHarnessWithFile without waiting for the first job list.
func startHarness(t *testing.T, head *raytest.Head, agents string, o Options, oo writer.Options, file string) *harness {
	t.Helper()
	c := client(t, head, agents)
	r := startHarnessFor(t, func(out *writer.Writer, o Options) *Shipper { return New(uncached{c}, c, out, o) }, o, oo, file)
	r.head = head
	return r
}

func (r *harness) waitSeen() {
	r.t.Helper()
	r.until("the first job list was handled", func() bool { return r.metric("discovery_last_success_timestamp_seconds") > 0 })
}

// logText returns what the shipper has logged.
func (r *harness) logText() string {
	r.logging.mu.Lock()
	defer r.logging.mu.Unlock()
	return r.log.String()
}

// newHarnessFor is newHarnessWithFile for any shipper.
func newHarnessFor(t *testing.T, shipper func(*writer.Writer, Options) *Shipper, o Options, oo writer.Options, file string) *harness {
	t.Helper()
	r := startHarnessFor(t, shipper, o, oo, file)
	r.waitSeen()
	return r
}

func startHarnessFor(t *testing.T, shipper func(*writer.Writer, Options) *Shipper, o Options, oo writer.Options, file string) *harness {
	t.Helper()
	r := &harness{file: file, t: t, sink: &memorySink{moved: make(chan struct{})}, metrics: metrics.New(), log: &bytes.Buffer{}}
	l := logrus.New()
	r.logging = &lockedWriter{w: r.log}
	l.SetOutput(r.logging)
	l.SetLevel(logrus.DebugLevel)
	o.Log, oo.Log, oo.Metrics = l, l, r.metrics
	oo.Drain = time.Second
	if file == "" {
		r.out = writer.New(r.sink, oo)
	} else {
		p, err := checkpoint.Open(file + ".positions")
		if err != nil {
			t.Fatal(err)
		}
		oo.Positions = p
		claim, err := sink.Acquire(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := claim.Recover(p.Watermark(), p.Recovered); err != nil {
			t.Fatal(err)
		}
		f, err := sink.NewFile(sink.FileOptions{Path: file, Claim: claim, Saved: p.Watermark(), Checkpoint: p.Save, Log: l})
		if err != nil {
			t.Fatal(err)
		}
		r.out = writer.New(f, oo)
		r.release = func(err error) {
			if err == nil && !p.Changed() { // in every test: only changes are written, and none is missed
				storeHolds(t, p.File(), p)
			}
			p.Close()
		}
	}
	r.shipper = shipper(r.out, o)
	ctx, cancel := context.WithCancel(context.Background())
	outCtx, cancelOut := context.WithCancel(context.Background())
	ended, outEnded := make(chan struct{}), make(chan error, 1)
	r.ended = ended
	go func() { defer close(ended); r.shipper.Run(ctx) }() //nolint:errcheck // always nil
	go func() { outEnded <- r.out.Run(outCtx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			<-ended
			cancelOut()
			err := <-outEnded
			if r.release != nil {
				r.release(err)
			}
		})
	}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			text := r.log.String()
			t.Logf("the shipper's log:\n%s\n...\n%s", text[:min(len(text), 3000)], text[max(min(len(text), 3000), len(text)-3000):])
		}
	})
	return r
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// records returns the records of one job in the sink.
func (r *harness) records(id string) []jsonRecord {
	r.sink.mu.Lock()
	text := r.sink.buf.String()
	r.sink.mu.Unlock()
	if r.file != "" {
		b, err := os.ReadFile(r.file)
		if err != nil {
			r.t.Fatal(err)
		}
		text = string(b[:bytes.LastIndexByte(b, '\n')+1])
	}
	var out []jsonRecord
	for line := range strings.Lines(text) {
		var rec jsonRecord
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			r.t.Fatalf("invalid record: %v: %q", err, line)
		}
		if rec.SubmissionID == id {
			out = append(out, rec)
		}
	}
	return out
}

// events returns the records of one kind of event, or the lines where event is empty.
func (r *harness) events(id, event string) []jsonRecord {
	var out []jsonRecord
	for _, rec := range r.records(id) {
		if rec.Event == event {
			out = append(out, rec)
		}
	}
	return out
}

// lines returns how many lines of a job, events not counted, are in the sink.
func (r *harness) lines(id string) int {
	return len(r.events(id, ""))
}

// until waits until a condition is true.
func (r *harness) until(what string, cond func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			r.t.Fatalf("timed out waiting until %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// checkSlots waits until Ray holds no more than budget slots for us. A request in
// progress holds one for a moment; a closed tail of a silent job does not release it.
func (r *harness) checkSlots(head *raytest.Head, budget int) {
	r.t.Helper()
	r.until(fmt.Sprintf("Ray holds at most %d slots for us", budget), func() bool { return head.SlotsInUse() <= budget })
}

func (r *harness) waitEnd(id string) jsonRecord {
	r.t.Helper()
	r.until("job "+id+" has its end event", func() bool { return len(r.events(id, record.EventEnd)) > 0 })
	return r.events(id, record.EventEnd)[0]
}

// checkLines checks that the records of a job's last epoch are the lines of log, each
// once and in order, or counted as skipped, and that seq has no holes.
func (r *harness) checkLines(id string, log []byte) {
	r.t.Helper()
	if err := compareLines(r.records(id), log); err != nil {
		r.t.Errorf("job %s: %v", id, err)
	}
}

func compareLines(recs []jsonRecord, log []byte) error {
	want := linestest.Lines(log)
	epoch, seq, last := uint64(0), uint64(0), ""
	for _, rec := range recs {
		if rec.Time <= last {
			return fmt.Errorf("time %s after %s", rec.Time, last)
		}
		last = rec.Time
		if rec.Epoch != epoch {
			return fmt.Errorf("epoch %d, want %d", rec.Epoch, epoch)
		}
		if seq += uint64(rec.Skipped); rec.Seq != seq {
			return fmt.Errorf("seq %d, want %d (%q)", rec.Seq, seq, rec.Message)
		}
		if rec.Event != "" {
			continue
		}
		lines := []string{rec.Message}
		if rec.Lines != nil {
			if lines = linestest.Lines([]byte(rec.Message)); uint64(len(lines)) != *rec.Lines {
				return fmt.Errorf("a record has %d lines and counts %d: %q", len(lines), *rec.Lines, rec.Message)
			}
		}
		for _, line := range lines {
			if seq >= uint64(len(want)) {
				return fmt.Errorf("line %d %q was never printed", seq, line)
			}
			if w := strings.ToValidUTF8(want[seq], "\uFFFD"); collapse(w) != collapse(line) {
				return fmt.Errorf("line %d is %q, want %q", seq, line, w)
			}
			seq++
		}
	}
	if seq != uint64(len(want)) {
		return fmt.Errorf("%d of %d lines are in the sink", seq, len(want))
	}
	return nil
}

// metric returns the sum of the samples of one of the shipper's metrics, 0 if there is none.
func (r *harness) metric(name string, labels ...string) float64 {
	r.t.Helper()
	reg := prometheus.NewRegistry()
	if err := reg.Register(r.metrics); err != nil {
		r.t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "raytap_shipper_"+name {
			continue
		}
	sample:
		for _, m := range f.GetMetric() {
			have := map[string]string{}
			for _, l := range m.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			for i := 0; i+1 < len(labels); i += 2 {
				if have[labels[i]] != labels[i+1] {
					continue sample
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// uncached requests each list from the client.
type uncached struct{ *dashboard.Client }

func (u uncached) JobsNewerThan(ctx context.Context, _ time.Time) ([]ray.Job, error) {
	return u.Jobs(ctx)
}

// allTransports is embedded by fakes of a Ray that has all transports.
type allTransports struct{}

func (allTransports) LogTransports() ray.LogTransports { return ray.LogTransports{} }
func (allTransports) LogText(context.Context, ray.LogRef) (io.ReadCloser, error) {
	return nil, &ray.Error{Op: "read log as text", Code: 500}
}

var _ tail.Client = (*dashboard.Client)(nil)
var _ Lists = (*cache.Source)(nil)

// collapse replaces consecutive U+FFFD by one: strings.ToValidUTF8 writes one for a
// sequence of invalid bytes, the encoder one for each.
func collapse(s string) string {
	for strings.Contains(s, "\uFFFD\uFFFD") {
		s = strings.ReplaceAll(s, "\uFFFD\uFFFD", "\uFFFD")
	}
	return s
}

func (r *harness) messages(id string) string {
	var b strings.Builder
	for _, rec := range r.records(id) {
		b.WriteString(rec.Message + "\n")
	}
	return b.String()
}
