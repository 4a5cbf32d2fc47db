package shipper

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"raytap/shipper/tail"

	"raytap/ray"
)

// fakeAgent is a Synapse agent that sends logs as messages: as text that is split
// anywhere, or as lines without their newlines.
type fakeAgent struct {
	mu         sync.Mutex
	changed    chan struct{} // closed when something has changed
	jobs       map[string]*fakeJob
	rnd        *rand.Rand
	lines      bool    // each message is a line; otherwise text that is split anywhere
	cuts       float64 // probability that a message is the stream's last one
	refuse     bool    // of WebSockets
	noSnapshot bool
	noLog      bool                  // no job has a log, and streams are refused
	cut        func(rest []byte) int // returns the length of the next message of text
	keeps      bool                  // returns complete logs of jobs that it does not list
	sent       int                   // messages
	// next is called before each message of a stream, with its number; an error
	// ends the stream, errHang blocks it.
	next   func(socket bool, id string, n int) error
	dials  map[bool]int // key: whether it was a WebSocket
	open   int
	most   int
	wholes int
}

type fakeJob struct {
	ray.Job
	text  []byte
	over  bool
	known bool
}

var errHang = fmt.Errorf("hang")

func newFakeAgent() *fakeAgent {
	return &fakeAgent{changed: make(chan struct{}), jobs: map[string]*fakeJob{}, rnd: rand.New(rand.NewPCG(5, 6)), dials: map[bool]int{}}
}

// change changes the agent and wakes its streams.
func (a *fakeAgent) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *fakeAgent) submit(id string) {
	a.change(func() {
		start := time.Now().UTC().Truncate(time.Millisecond)
		a.jobs[id] = &fakeJob{Job: ray.Job{Type: ray.JobSubmission, SubmissionID: id, Status: ray.JobRunning, Start: start}, known: true}
	})
}

func (a *fakeAgent) print(id, format string, args ...any) {
	a.change(func() { a.jobs[id].text = fmt.Appendf(a.jobs[id].text, format, args...) })
}

func (a *fakeAgent) end(id string, status ray.JobStatus) {
	a.change(func() {
		a.jobs[id].Status, a.jobs[id].over, a.jobs[id].End = status, true, time.Now()
	})
}

func (a *fakeAgent) text(id string) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return bytes.Clone(a.jobs[id].text)
}

func (a *fakeAgent) count(f func() int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return f()
}

func (a *fakeAgent) Version(context.Context) (ray.Version, error) {
	return ray.Version{Session: ray.UnknownSession}, nil
}

func (a *fakeAgent) JobsNewerThan(context.Context, time.Time) ([]ray.Job, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []ray.Job
	for _, id := range slices.Sorted(maps.Keys(a.jobs)) {
		if a.jobs[id].known {
			out = append(out, a.jobs[id].Job)
		}
	}
	return out, nil
}

func (a *fakeAgent) Nodes(context.Context) ([]ray.Node, error) { return nil, nil }

func (a *fakeAgent) Job(_ context.Context, id string) (ray.Job, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if j := a.jobs[id]; j != nil && j.known {
		return j.Job, nil
	}
	return ray.Job{}, &ray.Error{Op: "get job", Code: 404, Status: 404}
}

func (a *fakeAgent) JobLogs(_ context.Context, id string) (io.ReadCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wholes++
	j := a.jobs[id]
	switch {
	case a.noSnapshot:
		return nil, &ray.Error{Op: "get job logs", Code: 501, Status: 501}
	case j == nil || !j.known && !a.keeps || j.text == nil:
		return nil, &ray.Error{Op: "get job logs", Code: 404, Status: 404}
	}
	return io.NopCloser(bytes.NewReader(bytes.Clone(j.text))), nil
}

func (a *fakeAgent) TailWebSocket(ctx context.Context, id string) (ray.MessageStream, error) {
	return a.tail(ctx, id, true)
}

func (a *fakeAgent) TailSSE(ctx context.Context, id string) (ray.MessageStream, error) {
	return a.tail(ctx, id, false)
}

func (a *fakeAgent) tail(ctx context.Context, id string, socket bool) (ray.MessageStream, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dials[socket]++
	if socket && a.refuse {
		return nil, &ray.Error{Op: "tail job", Code: 503, Status: 403}
	}
	if j := a.jobs[id]; j == nil || !j.known || a.noLog {
		return nil, &ray.Error{Op: "tail job", Code: 404, Status: 404}
	}
	a.open++
	a.most = max(a.most, a.open)
	ctx, cancel := context.WithCancel(ctx)
	s := &fakeStream{a: a, ctx: ctx, id: id, socket: socket}
	s.stop = sync.OnceFunc(func() {
		cancel()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.open--
	})
	return s, nil
}

type fakeStream struct {
	a      *fakeAgent
	ctx    context.Context
	stop   func()
	id     string
	socket bool
	at, n  int
}

func (s *fakeStream) Close() error { s.stop(); return nil }

func (s *fakeStream) Next() ([]byte, error) {
	for {
		s.a.mu.Lock()
		m, err := s.message()
		changed := s.a.changed
		s.a.mu.Unlock()
		if m != nil || err != nil && err != errHang {
			return m, err
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return nil, s.ctx.Err()
		}
	}
}

// message returns the next message, nil if there is none yet.
func (s *fakeStream) message() ([]byte, error) {
	a := s.a
	j := a.jobs[s.id]
	rest := j.text[min(s.at, len(j.text)):]
	if a.next != nil {
		if err := a.next(s.socket, s.id, s.n); err != nil {
			return nil, err
		}
	}
	if len(rest) == 0 {
		if j.over {
			return nil, io.EOF
		}
		return nil, nil
	}
	var m []byte
	if a.lines {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 && !j.over {
			return nil, nil
		}
		if i < 0 {
			m, s.at = rest, len(j.text)
		} else {
			m, s.at = rest[:i], s.at+i+1
		}
		if len(m) == 0 {
			m = []byte{}
		}
	} else {
		n := 1 + a.rnd.IntN(min(len(rest), 60))
		if a.cut != nil {
			n = a.cut(rest)
		} else if s.at == 0 { // the first message shows the framing
			n = max(n, bytes.IndexByte(rest, '\n')+1)
		}
		m, s.at = rest[:n], s.at+n
	}
	if s.n++; a.rnd.Float64() < a.cuts && s.n > 1 {
		return nil, &ray.Error{Op: "tail job", Code: 503, Detail: "closed"}
	}
	a.sent++
	return bytes.Clone(m), nil
}

var _ tail.MessageClient = (*fakeAgent)(nil)
