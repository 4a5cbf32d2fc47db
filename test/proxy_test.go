//go:build e2e && linux

package test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// A webSocketProxy is a proxy between raytap and the dashboard. It counts the open
// WebSockets and can cut them.
type webSocketProxy struct {
	*httptest.Server
	mu            sync.Mutex
	open, maxOpen int
	cutNow        chan struct{} // closed at the next cut
}

func newWebSocketProxy(t *testing.T, target string) *webSocketProxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	c := &webSocketProxy{cutNow: make(chan struct{})}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			ctx, end := context.WithCancel(r.Context())
			defer end()
			cutNow := c.opened()
			defer c.closed()
			go func() {
				select {
				case <-cutNow:
					end()
				case <-ctx.Done():
				}
			}()
			r = r.WithContext(ctx)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		c.CloseClientConnections()
		c.Close()
	})
	return c
}

// opened counts a WebSocket. It returns a channel that is closed at the next cut.
func (c *webSocketProxy) opened() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	c.maxOpen = max(c.maxOpen, c.open)
	return c.cutNow
}

func (c *webSocketProxy) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
}

// cut ends all open WebSockets without a close frame, and returns their number.
func (c *webSocketProxy) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.cutNow)
	c.cutNow = make(chan struct{})
	return c.open
}

func (c *webSocketProxy) counts() (open, maxOpen int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open, c.maxOpen
}
