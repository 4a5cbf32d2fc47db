package transport

import (
	"cmp"
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

// Sizes of a WebSocket's buffers in bytes. Ray's frames are small (10 lines), so that
// one read should take many of them.
const (
	wsReadBuffer  = 64 << 10
	wsWriteBuffer = 512
	// wsKernelBuffer is what the kernel may buffer between two reads; it suffices for
	// about 40 MB/s.
	wsKernelBuffer = 256 << 10
)

// wsPause is how long a connection that was read empty is left alone before the next
// read, unless it returned much at once: Ray sends a second's lines in as many small
// writes as there are frames, and each would wake the reader.
const wsPause = 5 * time.Millisecond

// WebSocket is an open WebSocket.
type WebSocket struct {
	*websocket.Conn
	conn *wsConn
}

// Received returns how many reads of the network returned data. With Waiting, a check
// for keep-alives can tell a slow reader from a dead peer. May be called from any
// goroutine.
func (s *WebSocket) Received() uint64 { return s.conn.reads.Load() }

// Waiting reports whether a read of the network is in progress. May be called from any
// goroutine.
func (s *WebSocket) Waiting() bool { return s.conn.waiting.Load() }

// OnIdle sets a function that the reading goroutine calls each time before it waits for
// the network: all data received so far has been read. It must be set before the first
// read.
func (s *WebSocket) OnIdle(f func()) { s.conn.onIdle = f }

// wsKeepAlive detects a half-open connection after about a minute. It is TCP's: Ray
// answers no ping (2.60.0).
var wsKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 20 * time.Second, Interval: 10 * time.Second, Count: 4}

var wsBuffers sync.Pool

// WebSocket opens a WebSocket at the request's path, with the client's headers, TLS and
// proxy; it ignores Method, Query, Body and AllowStatus. The request's or else the
// client's timeout bounds the handshake. A refused upgrade is the error of its HTTP
// status. The context applies to the connection's whole life: its end closes the
// connection, and so does Close. No extension is offered: Ray accepts
// permessage-deflate and then sends nothing (2.60.0).
//
// It takes no slot: callers bound the number of their WebSockets themselves.
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
	timeout := cmp.Or(r.Timeout, c.timeout)
	timer := time.AfterFunc(timeout, func() { cancel(timeoutCause(timeout)) })
	defer timer.Stop()
	counted := &wsConn{}
	d := websocket.Dialer{
		Proxy:           c.Proxy(),
		TLSClientConfig: c.TLS(),
		ReadBufferSize:  wsReadBuffer,
		WriteBufferSize: wsWriteBuffer,
		WriteBufferPool: &wsBuffers,
		NetDialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
			conn, err := c.dialer.dial(limited, network, addr, &net.Dialer{KeepAliveConfig: wsKeepAlive})
			if err != nil {
				return nil, err
			}
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(wsKernelBuffer) // a smaller one works, too
			}
			// The handshake ignores the context once it is connected.
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			late := context.AfterFunc(limited, func() {
				if errors.Is(context.Cause(limited), errTimeout) {
					_ = conn.Close()
				}
			})
			counted.Conn, counted.stop = conn, func() { stop(); late() }
			return counted, nil
		},
	}
	conn, res, err := d.DialContext(limited, u.String(), req.Header)
	if res != nil {
		c.auth.answered(req.Header, res.StatusCode)
	}
	switch {
	case err == nil:
		return &WebSocket{Conn: conn, conn: counted}, http.StatusSwitchingProtocols, nil
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
			Detail: fmt.Sprintf("%s does not upgrade to a WebSocket: check that proxies in between allow it", c.base.Host)}
	}
	return nil, 0, c.netError(ctx, limited, r.Op, err)
}

// wsConn limits how often the network is read, counts reads, and stops watching the
// context when it is closed.
type wsConn struct {
	net.Conn
	stop    func()
	onIdle  func()    // may be nil
	emptied time.Time // when the last read took all data; zero if it did not
	taken   int       // bytes since the last pause
	reads   atomic.Uint64
	waiting atomic.Bool
}

// Read implements net.Conn.
func (c *wsConn) Read(p []byte) (int, error) {
	if c.onIdle != nil {
		c.onIdle()
	}
	if !c.emptied.IsZero() {
		if c.taken < wsReadBuffer {
			time.Sleep(wsPause - time.Since(c.emptied))
		}
		c.taken, c.emptied = 0, time.Time{}
	}
	c.waiting.Store(true)
	n, err := c.Conn.Read(p)
	c.waiting.Store(false)
	if n > 0 {
		c.reads.Add(1)
	}
	c.taken += n
	if n < len(p) && c.onIdle != nil {
		c.emptied = time.Now()
	}
	return n, err
}

func (c *wsConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// StreamError returns the *ray.Error of a failure on a connection that the client
// opened.
func (c *Client) StreamError(ctx context.Context, op string, err error) error {
	return c.netError(ctx, ctx, op, err)
}

// ConnectionLost returns the *ray.Error of a failed read on an open connection: like
// StreamError, but a timeout has code 503, because the server stopped responding.
func (c *Client) ConnectionLost(ctx context.Context, op string, err error) error {
	err = c.StreamError(ctx, op, err)
	var e *ray.Error
	if errors.As(err, &e) && e.Status == 0 && e.Code == http.StatusRequestTimeout {
		e.Code = http.StatusServiceUnavailable
	}
	return err
}
