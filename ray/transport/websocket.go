package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"raytap/ray"
)

// Sizes of a WebSocket's buffers in bytes. Ray's frames are small (10 lines), so
// that one read has to take many of them.
const (
	wsReadBuffer  = 64 << 10
	wsWriteBuffer = 512
	// wsKernelBuffer is what the kernel may keep while nobody reads; it holds what
	// comes in a pause at some 40 MB/s.
	wsKernelBuffer = 256 << 10
)

// wsPause is how soon a connection that was read empty is read again, unless it
// gave much at once: Ray sends a second's lines in as many small writes as there
// are frames, and each would wake the reader.
const wsPause = 5 * time.Millisecond

// WebSocket is an open one.
type WebSocket struct {
	*websocket.Conn
	wire *wsConn
}

// Received counts the reads of the network that gave something, and Waiting
// tells whether one is under way: whoever asks for signs of life must not take a
// reader that rests for a dead peer. Both may be called from any goroutine.
func (s *WebSocket) Received() uint64 { return s.wire.reads.Load() }

// Waiting tells whether a read of the network is under way.
func (s *WebSocket) Waiting() bool { return s.wire.waiting.Load() }

// OnIdle sets a function that is called by the goroutine that reads, each time
// before it waits for the network: nothing more is at hand then. It is set
// before the first read.
func (s *WebSocket) OnIdle(f func()) { s.wire.onWait = f }

// wsKeepAlive finds a half-open connection after about a minute: Ray answers no
// ping, so TCP is the only one to ask (2.60.0).
var wsKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 20 * time.Second, Interval: 10 * time.Second, Count: 4}

var wsBuffers sync.Pool

// WebSocket opens a WebSocket at the request's path, with the client's headers,
// TLS and proxy; Method, Query, Body and AllowStatus are not used. The request's or
// else the client's timeout bounds the handshake. A refused upgrade is the error of its HTTP status. The
// context governs the connection's whole life: its end closes it, and so does
// Close. No extension is offered: Ray accepts permessage-deflate and then
// sends nothing (2.60.0).
//
// It takes no slot: whoever opens WebSockets has a bound of its own on them.
func (c *Client) WebSocket(ctx context.Context, r Request) (*WebSocket, error) {
	began := time.Now()
	conn, status, err := c.upgrade(ctx, r)
	c.observed(ctx, r.Endpoint, status, err, began)
	return conn, err
}

func (c *Client) upgrade(ctx context.Context, r Request) (*WebSocket, int, error) {
	req, err := c.build(r)
	if err != nil {
		return nil, 0, err
	}
	u := *req.URL
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	timeout := orDefault(r.Timeout, c.timeout)
	timer := time.AfterFunc(timeout, func() { cancel(timeoutCause(timeout)) })
	defer timer.Stop()
	wire := &wsConn{}
	d := websocket.Dialer{
		Proxy:           c.Proxy(),
		TLSClientConfig: c.TLS(),
		ReadBufferSize:  wsReadBuffer,
		WriteBufferSize: wsWriteBuffer,
		WriteBufferPool: &wsBuffers,
		NetDialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{KeepAliveConfig: wsKeepAlive}).DialContext(limited, network, addr)
			if err != nil {
				return nil, err
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(wsKernelBuffer) // a smaller one does as well
			}
			// The handshake does not look at the context once it is connected.
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			late := context.AfterFunc(limited, func() {
				if errors.Is(context.Cause(limited), errTimeout) {
					_ = conn.Close()
				}
			})
			wire.Conn, wire.stop = conn, func() { stop(); late() }
			return wire, nil
		},
	}
	conn, res, err := d.DialContext(limited, u.String(), req.Header)
	switch {
	case err == nil:
		return &WebSocket{Conn: conn, wire: wire}, http.StatusSwitchingProtocols, nil
	case errors.Is(err, websocket.ErrBadHandshake) && res != nil && res.StatusCode/100 != 2 && res.StatusCode != http.StatusSwitchingProtocols:
		err := c.statusError(r.Op, req.Header, res)
		if e, ok := err.(*ray.Error); ok && res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusTooManyRequests {
			e.Err = ray.ErrNoWebSocket
		}
		return nil, res.StatusCode, err
	case errors.Is(err, websocket.ErrBadHandshake):
		status := 0
		if res != nil {
			status = res.StatusCode
		}
		return nil, status, &ray.Error{Op: r.Op, Code: http.StatusBadRequest, Status: status, Err: ray.ErrNoWebSocket,
			Detail: fmt.Sprintf("%s does not open WebSockets: does a proxy in between let them through?", c.base.Host)}
	}
	return nil, 0, c.netError(ctx, limited, r.Op, err)
}

// wsConn reads at a measured pace, and forgets the context when it is closed.
type wsConn struct {
	net.Conn
	stop    func()
	onWait  func()    // may be nil
	empty   time.Time // when the last read took all that there was; zero if it did not
	taken   int       // bytes since the last pause
	reads   atomic.Uint64
	waiting atomic.Bool
}

// Read implements net.Conn.
func (c *wsConn) Read(p []byte) (int, error) {
	if c.onWait != nil {
		c.onWait()
	}
	if !c.empty.IsZero() {
		if c.taken < wsReadBuffer {
			time.Sleep(wsPause - time.Since(c.empty))
		}
		c.taken, c.empty = 0, time.Time{}
	}
	c.waiting.Store(true)
	n, err := c.Conn.Read(p)
	c.waiting.Store(false)
	if n > 0 {
		c.reads.Add(1)
	}
	c.taken += n
	if n < len(p) && c.onWait != nil {
		c.empty = time.Now()
	}
	return n, err
}

func (c *wsConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// StreamError gives the *ray.Error of a failure on a connection that the
// client opened.
func (c *Client) StreamError(ctx context.Context, op string, err error) error {
	return c.netError(ctx, ctx, op, err)
}
