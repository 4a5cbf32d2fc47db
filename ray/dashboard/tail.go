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

	// maxTailMessage limits one message, in bytes. Ray itself ends a tail at a batch
	// of more than 4 MiB (2.60.0), so no message comes near it.
	maxTailMessage = 16 << 20
)

// TailLog opens the WebSocket tail of a job's log: Ray replays the log from its first
// byte and continues until the job has ended. The text has \n where the file has \r
// or \r\n (2.9.3 to 2.60.0).
//
// Each open tail takes one of the 100 requests that the Jobs API of the whole cluster
// processes at once; on 2.60.0 a closed tail keeps it for as long as the job is
// silent. The caller must limit their number.
//
// Reads end with io.EOF on Ray's Close frame, whatever its code, and when the
// dashboard dies; Ray closes the tail of a finished job and one that it failed to read
// alike. A refused upgrade is an error with the server's status.
func (c *Client) TailLog(ctx context.Context, ref ray.LogRef) (ray.LogStream, error) {
	return c.tailLog(ctx, ref, 0)
}

// tailLog is TailLog with a timeout for the handshake; 0 uses the client's.
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

// logStream is a ray.LogStream over one WebSocket. It buffers no message: Read reads
// from the connection.
type logStream struct {
	ctx      context.Context // only to distinguish its end from a network failure
	t        *transport.Client
	conn     *transport.WebSocket
	message  io.Reader // the current message, nil between two
	messages uint64
	failed   error
	closed   atomic.Bool
}

// Read returns bytes of at most one message.
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

// next starts the next message.
func (s *logStream) next() error {
	_, r, err := s.conn.NextReader()
	if err != nil {
		return s.fail(err)
	}
	s.message = r
	s.messages++
	return nil
}

// Await blocks until Read would return data or an error.
func (s *logStream) Await() {
	if s.failed != nil {
		return
	}
	if s.message != nil {
		switch _, err := s.message.Read(nil); {
		case err == nil:
			return
		case err != io.EOF:
			_ = s.fail(err) // Read returns it
			return
		}
		s.message = nil
	}
	_ = s.next() // Read returns its error
}

// OnIdle sets a function that Read and Await call before they wait for the network.
// Call it before the first of them.
func (s *logStream) OnIdle(f func()) { s.conn.OnIdle(f) }

// Messages returns the number of messages started.
func (s *logStream) Messages() uint64 { return s.messages }

// Close closes the connection; Ray expects no Close frame.
func (s *logStream) Close() error {
	s.closed.Store(true)
	return s.conn.Close()
}

// fail records the final error and closes the connection: a caller that got io.EOF
// may forget to.
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
		return io.EOF // a Close frame, or the end of TCP between two frames, which gorilla reports alike
	case errors.As(err, &frame):
		return &ray.Error{Op: opTail, Code: http.StatusServiceUnavailable, Detail: "the connection ended in the middle of a message", Err: io.ErrUnexpectedEOF}
	}
	return s.t.ConnectionLost(s.ctx, opTail, err)
}
