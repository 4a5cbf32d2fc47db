package synapsetest

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"raytap/ray/internal/fake"
)

// maxBatch limits what is written at once, in bytes.
const maxBatch = 256 << 10

// tail is one open tail, over either transport.
type tail struct {
	agent    *Agent
	job      *Job
	via      int
	cut      *cut        // the fault that will end it, or nil
	cuts     chan Action // by CutTails
	ctx      context.Context
	halfOpen atomic.Bool // pongs are disabled, too

	write func([]byte) bool // false: the client left
	conn  func() net.Conn   // returns the connection to cut it
	close func(code int)    // sends a Close frame, or ends the body cleanly
}

var upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, WriteBufferSize: 512}

func (a *Agent) serveWebSocket(w http.ResponseWriter, r *http.Request, id string, c *cut) {
	j := a.Job(id)
	if j == nil {
		fail(w, http.StatusForbidden, "") // like a FastAPI server that does not accept
		return
	}
	ws, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	conn := ws.NetConn()
	defer conn.Close()
	ctx, leave := context.WithCancel(r.Context())
	defer leave()
	t := &tail{agent: a, job: j, via: viaWebSocket, cut: c, cuts: make(chan Action, 1), ctx: ctx}
	t.write = func(b []byte) bool { _, err := conn.Write(b); return err == nil }
	t.conn = func() net.Conn { return conn }
	t.close = func(code int) { _, _ = conn.Write(fake.CloseFrame(code)) }
	stop := context.AfterFunc(r.Context(), func() { _ = conn.Close() })
	defer stop()
	pong := ws.PingHandler()
	ws.SetPingHandler(func(data string) error {
		if t.halfOpen.Load() || a.o.noPongs {
			return nil
		}
		return pong(data)
	})
	listened := make(chan struct{})
	go func() { // reads pings and the Close frame
		defer close(listened)
		defer leave()
		for {
			if _, _, err := ws.NextReader(); err != nil {
				return
			}
		}
	}()
	t.run()
	_ = conn.Close()
	<-listened
}

func (a *Agent) serveSSE(w http.ResponseWriter, r *http.Request, id string, c *cut) {
	j := a.Job(id)
	if j == nil {
		fail(w, http.StatusNotFound, "Job "+id+" not found")
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	t := &tail{agent: a, job: j, via: viaSSE, cut: c, cuts: make(chan Action, 1), ctx: r.Context()}
	t.write = func(b []byte) bool {
		_, err := w.Write(b)
		return err == nil && rc.Flush() == nil
	}
	t.conn = func() net.Conn {
		conn, _, err := rc.Hijack()
		if err != nil {
			return nil
		}
		return conn
	}
	t.close = func(int) {}
	t.run()
}

func errorEvent(message string) []byte {
	return append(appendString([]byte(`{"type": "error", "message": `), []byte(message)), '}')
}

// event writes an event that is not a message.
func (t *tail) event(payload []byte) bool {
	if t.via == viaWebSocket {
		return t.write(fake.AppendText(nil, payload))
	}
	return t.write(appendEvent(nil, payload))
}

// run sends the log from its first message on until the tail ends.
func (t *tail) run() {
	a := t.agent
	a.mu.Lock()
	a.tails[t] = struct{}{}
	a.peak = max(a.peak, len(a.tails))
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.tails, t)
		a.mu.Unlock()
	}()
	if a.o.connectedEvent && !t.event([]byte(`{"type": "connected", "job_id": "`+t.job.ID+`"}`)) {
		return
	}
	t.job.mu.Lock()
	generation := t.job.generation
	t.job.mu.Unlock()
	sent, beat := 0, time.Now()
	for {
		data, ends, ended, same := t.job.nextMessages(t.via, sent, generation)
		switch {
		case !same:
			t.end(CutClose, 0, "")
			return
		case len(ends) > 0:
			n, ok := t.send(data, ends, sent)
			if sent += n; !ok {
				return
			}
		case ended && !t.job.o.StayOpen:
			if !t.job.o.NoComplete {
				t.event([]byte(`{"type": "complete"}`))
			}
			t.close(1000)
			return
		default:
			if !t.wait(&beat) {
				return
			}
		}
	}
}

// nextMessages returns what is encoded after the first sent messages, and whether the job
// has ended; same is false after TruncateLog.
func (j *Job) nextMessages(over, sent, generation int) (data []byte, ends []int, ended, same bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if generation != j.generation {
		return nil, nil, isTerminal(j.status), false
	}
	e := j.encode(over)
	from := 0
	if sent > 0 {
		from = e.ends[sent-1]
	}
	n := sent
	for n < len(e.ends) && (n == sent || e.ends[n]-from <= maxBatch) {
		n++
	}
	ended = isTerminal(j.status)
	if n == sent {
		return nil, nil, ended, true
	}
	return e.data[from:e.ends[n-1]], e.ends[sent:n], ended, true
}

// send writes messages, or the part that a fault lets through.
func (t *tail) send(data []byte, ends []int, sent int) (n int, ok bool) {
	select {
	case how := <-t.cuts:
		return 0, t.end(how, 1000, "")
	default:
	}
	c := t.cut
	if c == nil {
		return len(ends), t.write(data)
	}
	base := ends[len(ends)-1] - len(data) // length of the messages before data
	var through int
	switch {
	case c.f.AfterBytes > 0 && c.after < base+len(data):
		through = max(0, c.after-base)
	case c.f.AfterBytes > 0:
		return len(ends), t.write(data)
	case c.messages >= sent+len(ends):
		return len(ends), t.write(data)
	case c.messages <= sent:
		through = 0
	default:
		through = ends[c.messages-sent-1] - base
	}
	if c.f.Action == Delay {
		if through > 0 {
			return c.messages - sent, t.write(data[:through])
		}
		return t.sendDelayed(data, base, ends)
	}
	if c.f.Action == PartialFrame {
		through = min(len(data), through+3)
	}
	if through > 0 && !t.write(data[:through]) {
		return 0, false
	}
	t.cut = nil
	c.hit()
	return 0, t.end(c.f.Action, c.f.Code, c.f.Body)
}

// sendDelayed writes one message after the fault's delay.
func (t *tail) sendDelayed(data []byte, base int, ends []int) (int, bool) {
	t.cut.hit()
	timer := time.NewTimer(t.cut.f.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ctx.Done():
		return 0, false
	}
	return 1, t.write(data[:ends[0]-base])
}

// end ends the tail by an action, and returns false.
func (t *tail) end(how Action, code int, body string) bool {
	switch how {
	case CloseFrame:
		if code == 0 {
			code = 1000
		}
		t.close(code)
	case ErrorEvent:
		t.event(errorEvent(body))
		t.close(1000)
	case HalfOpen:
		t.halfOpen.Store(true)
		<-t.ctx.Done()
	default:
		if conn := t.conn(); conn != nil {
			fake.Disconnect(conn, how == CutReset)
		}
	}
	return false
}

// wait waits for more; false: the tail has ended.
func (t *tail) wait(beat *time.Time) bool {
	timer := time.NewTimer(t.agent.o.pollInterval)
	defer timer.Stop()
	select {
	case <-t.ctx.Done():
		return false
	case how := <-t.cuts:
		return t.end(how, 1000, "")
	case <-timer.C:
	}
	if d := t.agent.o.heartbeat; d > 0 && time.Since(*beat) >= d {
		*beat = time.Now()
		if t.via == viaSSE {
			return t.write([]byte(": heartbeat\n\n"))
		}
		return t.event([]byte(`{"type": "heartbeat"}`))
	}
	return true
}

func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

var _ io.Writer = (*Job)(nil)
