package synapse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"raytap/ray"
	"raytap/ray/transport"
)

// Sizes in bytes: the largest message that is accepted, and the largest buffer that is
// kept between messages.
const (
	maxMessageBytes = 32 << 20
	maxKeptBuffer   = 256 << 10
)

// maxMissedPongs is how many pings in a row may stay unanswered.
const maxMissedPongs = 3

// closeTimeout limits the time to write a Close frame.
const closeTimeout = 250 * time.Millisecond

// wsStream is a ray.MessageStream over a WebSocket.
type wsStream struct {
	ctx             context.Context // only to distinguish its end from a network failure
	t               *transport.Client
	conn            *transport.WebSocket
	dec             decoder
	frame           []byte
	betweenFrames   bool // no frame is partly read
	failed          error
	closed          atomic.Bool
	dead            atomic.Bool // the liveness timeout has passed
	livenessTimeout time.Duration
	pinger          *time.Timer
}

func newWSStream(ctx context.Context, t *transport.Client, conn *transport.WebSocket, life time.Duration) *wsStream {
	conn.SetReadLimit(maxMessageBytes)
	s := &wsStream{ctx: ctx, t: t, conn: conn, betweenFrames: true, livenessTimeout: life}
	var (
		seen   = conn.Received()
		silent int
	)
	armed := make(chan struct{})
	s.pinger = time.AfterFunc(life/maxMissedPongs, func() {
		<-armed
		switch n := conn.Received(); {
		case s.closed.Load():
			return
		case n != seen || !conn.Waiting(): // it is alive, or no reader waits
			seen, silent = n, 0
		default:
			silent++
		}
		if silent >= maxMissedPongs {
			s.dead.Store(true)
			_ = conn.Conn.Close()
			return
		}
		if conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(life/maxMissedPongs)) == nil {
			s.pinger.Reset(life / maxMissedPongs)
		}
	})
	close(armed)
	return s
}

// OnIdle sets a function that Next calls before it waits for the network. Call it
// before the first Next.
func (s *wsStream) OnIdle(f func()) { s.conn.OnIdle(f) }

// Next returns the next message.
func (s *wsStream) Next() ([]byte, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	for {
		e, ok := s.dec.next()
		if !ok {
			frame, err := s.read()
			if err != nil {
				return nil, s.fail(s.reason(err))
			}
			e = s.dec.decode(frame, "")
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

func serverError(t *transport.Client, text []byte) error {
	message := t.Detail(string(text))
	if message == "" {
		message = "the agent sent no reason"
	}
	return &ray.Error{Op: opTail, Code: http.StatusInternalServerError, Detail: "the agent failed to read the log: " + message}
}

// read returns one whole frame, in a buffer that it reuses.
func (s *wsStream) read() ([]byte, error) {
	if cap(s.frame) > maxKeptBuffer {
		s.frame = nil
	}
	if cap(s.dec.out) > maxKeptBuffer {
		s.dec.out = nil
	}
	s.betweenFrames = true
	_, r, err := s.conn.NextReader()
	if err != nil {
		return nil, err
	}
	s.betweenFrames = false
	b := s.frame[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, make([]byte, max(512, len(b)))...)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF:
			s.frame = b
			return b, nil
		case err != nil:
			return nil, err
		}
	}
}

// Close sends a Close frame and closes the connection.
func (s *wsStream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.pinger.Stop()
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = s.conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(closeTimeout))
	return s.conn.Conn.Close()
}

// fail records the final error and closes the stream.
func (s *wsStream) fail(err error) error {
	s.failed = err
	_ = s.Close()
	return err
}

// reason returns the error with which the connection ended.
func (s *wsStream) reason(err error) error {
	ended := func(detail string) error {
		return &ray.Error{Op: opTail, Code: http.StatusServiceUnavailable, Detail: detail, Err: err}
	}
	var frame *websocket.CloseError
	switch {
	case s.ctx.Err() != nil:
		return s.t.StreamError(s.ctx, opTail, s.ctx.Err())
	case s.dead.Load():
		return ended(fmt.Sprintf("the connection received nothing for %s", s.livenessTimeout))
	case s.closed.Load():
		return ended("closed")
	case errors.Is(err, websocket.ErrReadLimit):
		return &ray.Error{Op: opTail, Code: http.StatusInternalServerError, Detail: "a message of the tail is larger than 32 MiB", Err: err}
	case errors.As(err, &frame) && frame.Code != websocket.CloseAbnormalClosure:
		text := s.t.Detail(frame.Text)
		if text != "" {
			text = ": " + text
		}
		return ended(fmt.Sprintf("the agent closed the tail with code %d%s", frame.Code, text))
	case errors.As(err, &frame) && s.betweenFrames:
		return ended("the connection ended without a Close frame")
	case errors.As(err, &frame):
		return ended("the connection ended in the middle of a message")
	}
	return s.t.ConnectionLost(s.ctx, opTail, err)
}
