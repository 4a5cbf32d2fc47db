package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"raytap/ray"
	"raytap/ray/transport"
)

const (
	opTail       = "tail log"
	endpointTail = "/api/jobs/{id}/logs/tail"

	// maxTailMessage bounds one message, in bytes. Ray itself ends a tail over a
	// batch of more than 4 MiB (2.60.0), so that nothing near it can come.
	maxTailMessage = 16 << 20
)

// TailLog opens the WebSocket tail of a job's log: Ray replays it from its
// first byte and goes on until the job has ended. The text that comes has \n
// where the file has \r or \r\n (2.9.3 to 2.60.0).
//
// Each open tail takes one of the 100 connections on which the Jobs API of the
// whole cluster runs, on 2.60.0 even for as long as the job is silent after it
// was closed: the caller keeps count.
//
// io.EOF is what Ray's Close frame gives, whatever its code, and the death of
// the dashboard; Ray closes a finished job's tail and one that it failed to
// read alike. A refused upgrade is an error with the server's status.
func (c *Client) TailLog(ctx context.Context, ref ray.LogRef) (ray.LogStream, error) {
	return c.tailLog(ctx, ref, 0)
}

// tailLog does it with a timeout for the handshake; 0 is the client's.
func (c *Client) tailLog(ctx context.Context, ref ray.LogRef, timeout time.Duration) (ray.LogStream, error) {
	conn, err := c.t.WebSocket(ctx, transport.Request{Op: opTail, Endpoint: endpointTail, Timeout: timeout,
		Path: "/api/jobs/" + url.PathEscape(ref.SubmissionID) + "/logs/tail"})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(maxTailMessage)
	// Ray's dashboard reads no Close reply, so none is sent.
	conn.SetCloseHandler(func(int, string) error { return nil })
	return &logStream{ctx: ctx, t: c.t, conn: conn}, nil
}

// logStream is a LogStream over one WebSocket. It holds no message, only what its
// caller's Read asks for.
type logStream struct {
	ctx      context.Context // only to tell its end from the network's
	t        *transport.Client
	conn     *transport.WebSocket
	message  io.Reader // the begun message, nil between two
	messages uint64
	failed   error
	closed   atomic.Bool
}

// Read gives bytes of one message at the most.
func (s *logStream) Read(p []byte) (int, error) {
	if len(p) == 0 || s.failed != nil {
		return 0, s.failed
	}
	for {
		if s.message == nil {
			if err := s.next(); err != nil {
				return 0, err
			}
		}
		n, err := s.message.Read(p)
		switch {
		case err == io.EOF:
			s.message = nil
		case err != nil:
			return n, s.fail(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// next begins the next message.
func (s *logStream) next() error {
	_, r, err := s.conn.NextReader()
	if err != nil {
		return s.fail(err)
	}
	s.message = r
	s.messages++
	return nil
}

// Await waits until there is something to Read, be it an error.
func (s *logStream) Await() {
	if s.failed != nil {
		return
	}
	if s.message != nil {
		switch _, err := s.message.Read(nil); {
		case err == nil:
			return
		case err != io.EOF:
			_ = s.fail(err) // Read gives it
			return
		}
		s.message = nil
	}
	_ = s.next() // likewise
}

// OnIdle sets a function that Read and Await call before they wait for the
// network. It is set before the first of them.
func (s *logStream) OnIdle(f func()) { s.conn.OnIdle(f) }

// Messages counts the frames begun.
func (s *logStream) Messages() uint64 { return s.messages }

// Close closes the connection; Ray expects no farewell.
func (s *logStream) Close() error {
	s.closed.Store(true)
	return s.conn.Close()
}

// fail says why no more comes, once and for all, and closes the connection: a
// caller that got io.EOF may forget to.
func (s *logStream) fail(err error) error {
	s.failed = s.reason(err)
	_ = s.conn.Close()
	return s.failed
}

func (s *logStream) reason(err error) error {
	var frame *websocket.CloseError
	switch {
	case s.ctx.Err() != nil:
		return s.t.StreamError(s.ctx, opTail, s.ctx.Err())
	case s.closed.Load():
		return &ray.Error{Op: opTail, Code: http.StatusServiceUnavailable, Detail: "closed", Err: err}
	case errors.Is(err, websocket.ErrReadLimit):
		return &ray.Error{Op: opTail, Code: http.StatusInternalServerError, Detail: "a message of the tail is larger than 16 MiB", Err: err}
	case errors.As(err, &frame) && (frame.Code != websocket.CloseAbnormalClosure || s.message == nil):
		return io.EOF // a Close frame; or, as gorilla has it, the end of TCP between two frames
	case errors.As(err, &frame):
		return &ray.Error{Op: opTail, Code: http.StatusServiceUnavailable, Detail: "the connection ended in the middle of a message", Err: io.ErrUnexpectedEOF}
	}
	return asClosed(s.t.StreamError(s.ctx, opTail, err))
}

// asClosed makes a failure of a connection that was open a 503: the dashboard
// stopped answering, whatever the kernel calls it.
func asClosed(err error) error {
	var e *ray.Error
	if errors.As(err, &e) && e.Status == 0 && e.Code == http.StatusRequestTimeout {
		e.Code = http.StatusServiceUnavailable
	}
	return err
}
