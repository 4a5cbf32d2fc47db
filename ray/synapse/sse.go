package synapse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"raytap/ray"
	"raytap/ray/transport"
)

// idleTimeout ends an SSE stream that receives no byte at all: a half-open connection
// and a silent job look alike there.
const idleTimeout = 5 * time.Minute

// sseStream is a ray.MessageStream over an HTTP response.
type sseStream struct {
	ctx      context.Context // only to distinguish its end from a network failure
	t        *transport.Client
	body     io.ReadCloser
	payloads payloads
	dec      decoder
	failed   error
	closed   atomic.Bool
	reads    atomic.Uint64
	onIdle   func() // may be nil

	// The watchdog: a timer's function, which holds mu while it runs.
	mu             sync.Mutex
	watchdog       *time.Timer
	cancel         context.CancelFunc
	watchdogReason atomic.Pointer[string] // why the watchdog closed the body; nil if it did not
}

// payloads returns the payloads of a body one by one, with the name of the event if it
// has one; io.EOF if the body ended cleanly.
type payloads interface {
	next() (payload []byte, name string, err error)
}

func (c *Client) openSSE(ctx context.Context, id, path string, timeout time.Duration) (*sseStream, error) {
	res, err := c.t.Do(ctx, transport.Request{Op: opTail, Endpoint: endpointSSE, Path: path, Stream: true, LongLived: true, Timeout: timeout,
		Idle: idleTimeout, Header: http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-store"}}})
	if err != nil {
		return nil, err
	}
	contentType := strings.ToLower(res.Header.Get("Content-Type"))
	if strings.HasPrefix(contentType, "text/html") {
		_ = res.Body.Close()
		return nil, &ray.Error{Op: opTail, Code: http.StatusInternalServerError, Status: res.StatusCode,
			Detail: "the response is an HTML page, not a log: check whether a proxy requires a login"}
	}
	s := &sseStream{ctx: ctx, t: c.t, body: res.Body}
	counted := readerFunc(func(p []byte) (int, error) {
		if s.onIdle != nil {
			s.onIdle()
		}
		n, err := s.body.Read(p)
		if n > 0 {
			s.reads.Add(1)
		}
		return n, err
	})
	if strings.HasPrefix(contentType, "application/json") {
		s.payloads = &textPayloads{lines: lineReader{r: newLogReader(counted, true, opTail, c.t.Detail)}}
	} else {
		s.payloads = &ssePayloads{lines: lineReader{r: counted}}
	}
	s.startWatchdog(ctx, c, id, livenessTimeout(timeout))
	return s, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// startWatchdog queries the job each time the stream received nothing for the timeout.
func (s *sseStream) startWatchdog(ctx context.Context, c *Client, id string, life time.Duration) {
	ctx, s.cancel = context.WithCancel(ctx)
	var seen uint64
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchdog = time.AfterFunc(life, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed.Load() {
			return
		}
		if n := s.reads.Load(); n != seen {
			seen = n
			s.watchdog.Reset(life)
			return
		}
		job, err := c.Job(ctx, id)
		why := ""
		switch {
		case s.reads.Load() != seen:
		case err != nil && ray.Code(err) != http.StatusNotFound:
			why = fmt.Sprintf("the stream received nothing for %s, and the agent does not respond: %v", life, err)
		case err != nil:
			why = "the agent no longer knows the job, and its stream is silent"
		case job.Status.Terminal():
			why = "the job has ended, and its stream is silent"
		}
		if why == "" {
			s.watchdog.Reset(life)
			return
		}
		s.watchdogReason.Store(&why)
		_ = s.body.Close()
	})
}

// OnIdle sets a function that Next calls before it waits for the network. Call it
// before the first Next.
func (s *sseStream) OnIdle(f func()) { s.onIdle = f }

// Next returns the next message.
func (s *sseStream) Next() ([]byte, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	for {
		e, ok := s.dec.next()
		if !ok {
			if cap(s.dec.out) > maxKeptBuffer {
				s.dec.out = nil
			}
			payload, name, err := s.payloads.next()
			if err != nil {
				return nil, s.fail(s.reason(err))
			}
			if name == plainText {
				return payload, nil
			}
			e = s.dec.decode(payload, name)
		}
		switch e.kind {
		case kindMessage:
			return e.text, nil
		case kindComplete:
			return nil, s.fail(io.EOF)
		case kindError:
			return nil, s.fail(serverError(s.t, e.text))
		}
	}
}

// Close ends the stream and waits for its watchdog.
func (s *sseStream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.cancel()
	s.watchdog.Stop()
	err := s.body.Close()
	s.mu.Lock() // waits for the watchdog
	defer s.mu.Unlock()
	return err
}

func (s *sseStream) fail(err error) error {
	s.failed = err
	_ = s.Close()
	return err
}

// reason returns the error with which the body ended.
func (s *sseStream) reason(err error) error {
	ended := func(detail string) error {
		e := &ray.Error{Op: opTail, Code: http.StatusServiceUnavailable, Detail: detail, Err: err}
		if err == io.EOF {
			e.Err = nil // io.EOF would mean that the log is complete
		}
		return e
	}
	why := s.watchdogReason.Load()
	var e *ray.Error
	switch {
	case s.ctx.Err() != nil:
		return s.t.StreamError(s.ctx, opTail, s.ctx.Err())
	case why != nil:
		return ended(*why)
	case s.closed.Load():
		return ended("closed")
	case err == io.EOF:
		return ended("the stream ended without a complete event")
	case errors.Is(err, errLongLine):
		return &ray.Error{Op: opTail, Code: http.StatusInternalServerError, Detail: "a line of the stream is longer than 32 MiB", Err: err}
	case errors.As(err, &e) && e.Code == http.StatusRequestTimeout:
		return ended(fmt.Sprintf("the stream received no byte for %s", idleTimeout))
	}
	return err
}
