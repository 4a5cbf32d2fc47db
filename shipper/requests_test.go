package shipper

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
	"raytap/shipper/tail"
	"raytap/shipper/tail/tailtest"
)

// busyHead is a cluster of many running jobs without a usable node agent. Each job has
// printed its first lines, and every second job prints more each second. It counts requests.
type busyHead struct {
	allTransports
	jobs  []ray.Job
	began time.Time

	mu     sync.Mutex
	agent  error // error of a read from an agent; nil: it returns the log
	counts map[string]int
}

const (
	busyNodes = 3
	busyFirst = 20 // lines that were printed at the start
	busyLine  = 100
)

func newBusyHead(n int, agent error) *busyHead {
	h := &busyHead{began: time.Now(), agent: agent, counts: map[string]int{}}
	for i := range n {
		h.jobs = append(h.jobs, ray.Job{Type: ray.JobSubmission, SubmissionID: strconv.Itoa(i), Status: "RUNNING",
			Start: time.UnixMilli(1), DriverNodeID: "n", DriverAgentURL: fmt.Sprintf("http://10.0.0.%d:52365", i%busyNodes)})
	}
	return h
}

func (h *busyHead) count(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[path]++
}

// requests returns the numbers of requests since the last call, to the dashboard and to agents.
func (h *busyHead) requests() (dashboard, agents int, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text = fmt.Sprint(h.counts)
	for path, n := range h.counts {
		if path == "agent" {
			agents += n
		} else {
			dashboard += n
		}
	}
	clear(h.counts)
	return dashboard, agents, text
}

// log returns the log of a job as it is now, from a line on.
func (h *busyHead) log(id string, from int) string {
	i, _ := strconv.Atoi(id)
	lines, seconds := busyFirst, int(time.Since(h.began)/time.Second)
	switch {
	case i%10 == 1:
		lines += 12 * seconds // more lines between two polls than one window has
	case i%2 == 1:
		lines += seconds
	}
	return busyText()[from*busyLine : lines*busyLine]
}

// busyText has the lines that a job prints during the longest test.
var busyText = sync.OnceValue(func() string {
	var b strings.Builder
	for n := range 12000 {
		fmt.Fprintf(&b, "%-*s\n", busyLine-1, fmt.Sprintf("line %05d", n))
	}
	return b.String()
})

func (h *busyHead) JobsNewerThan(context.Context, time.Time) ([]ray.Job, error) {
	h.count("jobs")
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.jobs, nil
}
func (h *busyHead) Job(_ context.Context, id string) (ray.Job, error) {
	h.count("job")
	h.mu.Lock()
	defer h.mu.Unlock()
	i, err := strconv.Atoi(id)
	return h.jobs[i], err
}
func (h *busyHead) Nodes(context.Context) ([]ray.Node, error) {
	h.count("nodes")
	return nil, nil
}
func (h *busyHead) Version(context.Context) (ray.Version, error) {
	h.count("version")
	return ray.Version{Session: "s"}, nil
}
func (h *busyHead) AgentFile(ctx context.Context, agentURL, name string, from, to int64) (ray.FilePart, error) {
	return tailtest.Read(ctx, h, agentURL, name, from, to)
}
func (h *busyHead) AgentFileStat(ctx context.Context, agentURL, name string) (ray.FileStat, error) {
	return tailtest.Stat(ctx, h, agentURL, name)
}
func (h *busyHead) AgentLog(_ context.Context, ref ray.LogRef, from int64) (ray.LogRange, error) {
	h.count("agent")
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.agent != nil {
		return ray.LogRange{}, h.agent
	}
	text := h.log(ref.SubmissionID, 0)
	size := int64(len(text))
	return ray.LogRange{Body: io.NopCloser(strings.NewReader(text[min(from, size):])), Offset: from, Size: size}, nil
}
func (h *busyHead) LogLines(_ context.Context, ref ray.LogRef, n int) (io.ReadCloser, error) {
	h.count("file")
	text := h.log(ref.SubmissionID, 0)
	if from := len(text) - busyLine*n; n > 0 && from > 0 {
		text = text[from:]
	}
	return io.NopCloser(strings.NewReader(text)), nil
}
func (h *busyHead) TailLog(ctx context.Context, ref ray.LogRef) (ray.LogStream, error) {
	h.count("tail")
	return &busyTail{ctx: ctx, h: h, id: ref.SubmissionID}, nil
}

// busyTail is an open WebSocket: it sends the log, and then what is printed.
type busyTail struct {
	ctx      context.Context
	h        *busyHead
	id       string
	rest     string
	lines    int
	messages uint64
}

func (t *busyTail) Read(p []byte) (int, error) {
	for t.rest == "" {
		if t.rest = t.h.log(t.id, t.lines); t.rest != "" {
			t.lines += len(t.rest) / busyLine
			t.messages++
			break
		}
		select {
		case <-t.ctx.Done():
			return 0, t.ctx.Err()
		case <-time.After(time.Second):
		}
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}
func (t *busyTail) Messages() uint64 { return t.messages }
func (t *busyTail) Close() error     { return nil }

// The rate of requests to Ray's dashboard is bounded by the configuration, for any
// number of jobs.
func TestRequests_Bounded(t *testing.T) {
	refused := &ray.Error{Op: "read log from node agent", Code: 403, Err: ray.ErrTransportNotAllowed}
	unreachable := &ray.Error{Op: "read log from node agent", Code: 503}
	for _, c := range []struct {
		name, protocol string
		agent          error
	}{
		{"node agents not allowed", tail.ProtocolAuto, refused},
		{"node agents unreachable", tail.ProtocolAuto, unreachable},
		{"only WebSockets", tail.ProtocolWebSocket, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { checkRequests(t, c.protocol, c.agent) })
		})
	}
}

func checkRequests(t *testing.T, protocol string, agent error) {
	const jobs, minutes = 300, 6 // longer than transportCooldown
	h := newBusyHead(jobs, agent)
	var dashboard, agents int
	var text string
	var o Options
	lines := shipTo(t, h, h, protocol, func(s *Shipper) {
		o = s.opts
		time.Sleep(2 * time.Minute) // each log was polled once
		h.requests()
		time.Sleep(minutes * time.Minute)
		dashboard, agents, text = h.requests()
		if inUse := s.slotsInUse(); inUse != o.MaxTails {
			t.Errorf("%d of %d slots are in use", inUse, o.MaxTails)
		}
	})

	perMinute := int(time.Minute/o.Interval) + // job lists
		o.MaxTails*2*int(time.Minute/o.Timeout) // a silent tail is compared with the end of the log, at most twice
	if protocol != tail.ProtocolWebSocket {
		perMinute += int(60 * o.FileRate)
	}
	const burst = 5
	if most := minutes*perMinute + burst; dashboard > most {
		t.Errorf("%d requests to the dashboard in %d minutes, want at most %d: %s", dashboard, minutes, most, text)
	}
	if most := busyNodes * (minutes/5 + 1); agents > most {
		t.Errorf("%d requests to agents in %d minutes, want at most %d", agents, minutes, most)
	}
	if n := len(bytes.Split(lines, []byte("line 00000 "))) - 1; protocol != tail.ProtocolWebSocket && n != jobs {
		t.Errorf("the first line of %d of %d jobs was shipped", n, jobs)
	}
	t.Logf("%.0f requests per minute to the dashboard (allowed: %d), %.1f to agents: %s",
		float64(dashboard)/minutes, perMinute, float64(agents)/minutes, text)
}
