package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"raytap/ray"
)

// Sizes of a WebSocket's buffers in bytes: many of them are open, and a message
// is read in parts.
const (
	wsReadBuffer  = 4 << 10
	wsWriteBuffer = 512
)

// wsKeepAlive finds a half-open connection after about a minute: Ray answers no
// ping, so TCP is the only one to ask (2.60.0).
var wsKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 20 * time.Second, Interval: 10 * time.Second, Count: 4}

var wsBuffers sync.Pool

// WebSocket opens a WebSocket at the request's path, with the client's headers,
// TLS and proxy; Method, Query, Body and Pass are not used. The timeout bounds
// the handshake. A refused upgrade is the error of its HTTP status. The
// context governs the connection's whole life: its end closes it, and so does
// Close. No extension is offered: Ray accepts permessage-deflate and then
// sends nothing (2.60.0).
//
// It takes no slot: whoever opens WebSockets has a bound of its own on them.
func (c *Client) WebSocket(ctx context.Context, r Request) (*websocket.Conn, error) {
	began := time.Now()
	conn, status, err := c.upgrade(ctx, r)
	c.observed(ctx, r.Endpoint, status, err, began)
	return conn, err
}

func (c *Client) upgrade(ctx context.Context, r Request) (*websocket.Conn, int, error) {
	req, err := c.build(r)
	if err != nil {
		return nil, 0, err
	}
	u := *req.URL
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(context.Canceled)
	timer := time.AfterFunc(c.timeout, func() { cancel(errTimeout) })
	defer timer.Stop()
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
			// The handshake does not look at the context once it is connected.
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			late := context.AfterFunc(limited, func() {
				if errors.Is(context.Cause(limited), errTimeout) {
					_ = conn.Close()
				}
			})
			return &wsConn{Conn: conn, stop: func() { stop(); late() }}, nil
		},
	}
	conn, res, err := d.DialContext(limited, u.String(), req.Header)
	switch {
	case err == nil:
		return conn, http.StatusSwitchingProtocols, nil
	case errors.Is(err, websocket.ErrBadHandshake) && res != nil && res.StatusCode/100 != 2 && res.StatusCode != http.StatusSwitchingProtocols:
		return nil, res.StatusCode, c.statusError(r.Op, req.Header, res)
	case errors.Is(err, websocket.ErrBadHandshake):
		status := 0
		if res != nil {
			status = res.StatusCode
		}
		return nil, status, &ray.Error{Op: r.Op, Code: http.StatusBadRequest, Status: status,
			Detail: fmt.Sprintf("%s does not open WebSockets: does a proxy in between let them through?", c.base.Host)}
	}
	return nil, 0, c.netError(ctx, limited, r.Op, err)
}

// wsConn forgets the context when it is closed.
type wsConn struct {
	net.Conn
	stop func()
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
