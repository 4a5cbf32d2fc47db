package dashboard

import (
	"bytes"
	"context"
	"io"
	"iter"
	"net/http"
	"sync"
	"time"

	"raytap/ray"
	"raytap/ray/internal/follow"
)

// Tail follows a job's log until the job has ended and its log was read to the
// end. It returns each line once, across broken connections. With auto, the log
// of a job that ended more than ten seconds ago is read in one request. See
// ray.TailOptions for protocols, timeout and limits. With http, the log file is
// polled, less often the longer it is silent; this needs Ray 2.40 or later. Ray
// answers no pings (2.60.0): TCP detects a WebSocket whose peer is gone after
// about a minute, whatever the timeout.
//
// The iterator's errors are *ray.Error, and an error is its last element: code
// 400 for an invalid id, timeout or protocol, and for a DRIVER job, whose output
// Ray does not keep; 404 for an unknown job, 429 over a limit, 500 if the log was
// replaced, 503 if no connection could be opened at all. A connection that breaks
// later is opened again, with growing pauses, until ctx ends. Each use of the
// iterator starts a new tail.
func (c *Client) Tail(ctx context.Context, id string, o ray.TailOptions) iter.Seq2[ray.TailLine, error] {
	if _, err := jobPath("tail job", id, ""); err != nil {
		return func(yield func(ray.TailLine, error) bool) { yield(ray.TailLine{}, err) }
	}
	return follow.Lines(ctx, follow.Log{
		Job: func(ctx context.Context) (ray.Job, error) { return c.Job(ctx, id) },
		WebSocket: func(ctx context.Context) (follow.Conn, error) {
			if o.Protocol == ray.TailAuto {
				if log := c.finishedLog(ctx, id); log != nil {
					return follow.Snapshot(log), nil
				}
			}
			s, err := c.tailLog(ctx, ray.LogRef{SubmissionID: id}, o.Timeout)
			if err != nil {
				return nil, err
			}
			return &tailConn{s: s, buf: make([]byte, 64<<10)}, nil
		},
		HTTP: func(ctx context.Context) (follow.Conn, error) {
			job, err := c.Job(ctx, id)
			switch {
			case err != nil:
				return nil, err
			case job.SubmissionID == "":
				return nil, &ray.Error{Op: "tail job", Code: http.StatusBadRequest, Detail: "Ray keeps no output of a job of type DRIVER"}
			}
			release, err := c.release(ctx)
			switch {
			case err != nil:
				return nil, err
			case release.before(2, 40):
				return nil, &ray.Error{Op: "tail job", Code: http.StatusNotImplemented, Detail: "the http protocol needs Ray 2.40 or later"}
			}
			return newFileConn(ctx, c, job), nil
		},
		Snapshot: func(ctx context.Context) (follow.Conn, error) {
			body, err := c.JobLogs(ctx, id)
			if err != nil {
				return nil, err
			}
			return follow.Snapshot(body), nil
		},
		Refusals: &c.refusals,
	}, o)
}

// settleAfterEnd is how long after a job's end, by the cluster's clock, its log is
// complete: its child processes may print after it.
const settleAfterEnd = 10 * time.Second

// finishedLog returns the whole log of a job that ended at least settleAfterEnd
// ago; nil for any other job and on an error. Ray returns such a log immediately,
// but takes five seconds to tail it: it waits for a second at each step (2.60.0).
func (c *Client) finishedLog(ctx context.Context, id string) io.ReadCloser {
	job, err := c.Job(ctx, id)
	if err != nil || !job.Status.Terminal() || job.End.IsZero() || time.Since(job.End)+c.ClockAhead() < settleAfterEnd {
		return nil
	}
	log, err := c.JobLogs(ctx, id)
	if err != nil {
		return nil // the tail will report the error
	}
	return log
}

// tailConn is a follow.Conn over the WebSocket tail. The tail's end never proves the end of the log.
type tailConn struct {
	s        ray.LogStream
	buf      []byte
	messages uint64
}

func (t *tailConn) Next() ([]byte, bool, error) {
	n, err := t.s.Read(t.buf)
	if n > 0 {
		begins := t.s.Messages() != t.messages
		t.messages = t.s.Messages()
		return t.buf[:n], begins, nil
	}
	if err == io.EOF {
		err = &ray.Error{Op: opTail, Code: http.StatusServiceUnavailable, Detail: "Ray ended the tail"}
	}
	return nil, false, err
}

func (t *tailConn) Close() error { return t.s.Close() }

// Polling of a log file: the interval grows from minPoll to maxPoll while the log
// is silent, and is at least pollFactor times as long as the last request took.
// Each poll reads the last windowLines lines and searches them for the bytes that
// were delivered last.
const (
	minPoll, maxPoll = time.Second, 15 * time.Second
	pollFactor       = 50
	windowLines      = 1000
	maxWindow        = 8 << 20
	maxLastBytes     = 4 << 10
)

// fileConn is a follow.Conn that polls the log file until it was read to its end
// after the end of the job.
type fileConn struct {
	ctx    context.Context
	cancel context.CancelFunc
	c      *Client
	ref    ray.LogRef
	ended  bool // the job had ended before the current or the last read began
	done   bool // a read that began after the job's end reached the end of the file

	mu     sync.Mutex
	body   io.ReadCloser // of the full read in progress, nil if none; guarded by mu
	closed bool          // guarded by mu

	skip         int64 // bytes of body that were delivered before
	buf          []byte
	delivered    int64  // bytes of the file
	lastBytes    []byte // the last of them
	pause        time.Duration
	lastDuration time.Duration
	started      bool
}

func newFileConn(ctx context.Context, c *Client, job ray.Job) *fileConn {
	f := &fileConn{c: c, ref: ray.LogRef{SubmissionID: job.SubmissionID}, ended: job.Status.Terminal(), buf: make([]byte, 64<<10), pause: minPoll}
	f.ctx, f.cancel = context.WithCancel(ctx)
	return f
}

// Next implements follow.Conn; there are no messages here.
func (f *fileConn) Next() ([]byte, bool, error) {
	for {
		p, err := f.next()
		if len(p) > 0 || err != nil {
			f.noteDelivered(p)
			return p, false, err
		}
	}
}

func (f *fileConn) next() ([]byte, error) {
	f.mu.Lock()
	body := f.body
	f.mu.Unlock()
	if body != nil {
		return f.readBody(body)
	}
	if f.done {
		return nil, io.EOF
	}
	if f.started && !f.ended {
		if err := f.wait(); err != nil {
			return nil, err
		}
		if job, err := f.c.Job(f.ctx, f.ref.SubmissionID); err == nil {
			f.ended = job.Status.Terminal()
		}
	}
	f.started = true
	began := time.Now()
	defer func() { f.lastDuration = time.Since(began) }()
	if f.delivered > 0 {
		p, ok, err := f.readWindow()
		if err != nil || ok {
			f.done = f.ended && err == nil
			return p, err
		}
	}
	body, err := f.c.LogLines(f.ctx, f.ref, 0)
	if ray.Code(err) == http.StatusNotFound && f.delivered == 0 && f.ended && f.ref.NodeID == "" {
		if ref, err := f.c.headLogRef(f.ctx, f.ref.SubmissionID); err == nil {
			f.ref = ref
			return nil, nil // the job never had a node
		}
	}
	if ray.Code(err) == http.StatusNotFound && f.delivered == 0 {
		f.done = f.ended
		return nil, nil // not written yet
	}
	if err == nil {
		f.skip = f.delivered
		f.setBody(body)
	}
	return nil, err
}

// setBody sets the body to read; nil for none.
func (f *fileConn) setBody(body io.ReadCloser) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.body = body; f.closed && body != nil {
		_ = body.Close()
	}
}

// wait pauses before the next poll.
func (f *fileConn) wait() error {
	timer := time.NewTimer(max(f.pause, pollFactor*f.lastDuration))
	defer timer.Stop()
	f.pause = min(f.pause*3/2, maxPoll)
	select {
	case <-timer.C:
		return nil
	case <-f.ctx.Done():
		return &ray.Error{Op: opLines, Code: http.StatusServiceUnavailable, Detail: "closed", Err: f.ctx.Err()}
	}
}

// readWindow reads the last lines of the file and returns what follows the bytes
// delivered last; false if these are not found in it exactly once.
func (f *fileConn) readWindow() ([]byte, bool, error) {
	body, err := f.c.LogLines(f.ctx, f.ref, windowLines)
	if err != nil {
		return nil, false, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxWindow+1))
	if err != nil {
		return nil, false, err
	}
	i := bytes.Index(b, f.lastBytes)
	if i < 0 || len(b) > maxWindow || bytes.Contains(b[i+1:], f.lastBytes) {
		return nil, false, nil
	}
	return b[i+len(f.lastBytes):], true, nil
}

// readBody returns the next bytes of a full read.
func (f *fileConn) readBody(body io.ReadCloser) ([]byte, error) {
	n, err := body.Read(f.buf)
	p := f.buf[:n]
	if f.skip > 0 {
		old := min(f.skip, int64(n))
		f.skip -= old
		p = p[old:]
	}
	if err == io.EOF {
		_ = body.Close()
		f.setBody(nil)
		f.done, err = f.ended, nil
		if f.skip > 0 {
			err = &ray.Error{Op: opLines, Code: http.StatusServiceUnavailable, Detail: "the log file is shorter than before"}
		}
	}
	return p, err
}

// noteDelivered counts delivered bytes and keeps the last of them.
func (f *fileConn) noteDelivered(p []byte) {
	if len(p) == 0 {
		return
	}
	f.pause = minPoll
	f.delivered += int64(len(p))
	f.lastBytes = append(f.lastBytes, p[max(0, len(p)-maxLastBytes):]...)
	if over := len(f.lastBytes) - maxLastBytes; over > 0 {
		f.lastBytes = append(f.lastBytes[:0], f.lastBytes[over:]...)
	}
}

// Close implements follow.Conn.
func (f *fileConn) Close() error {
	f.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed = true; f.body != nil {
		return f.body.Close()
	}
	return nil
}
