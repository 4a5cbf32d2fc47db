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

// A socketCounter stands between raytap and the dashboard, counts the WebSockets
// that are open, and can cut them.
type socketCounter struct {
	*httptest.Server
	mu         sync.Mutex
	open, most int
	severed    chan struct{} // closed at the next cut
}

func newSocketCounter(t *testing.T, target string) *socketCounter {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	c := &socketCounter{severed: make(chan struct{})}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			ctx, end := context.WithCancel(r.Context())
			defer end()
			severed := c.opened()
			defer c.closed()
			go func() {
				select {
				case <-severed:
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

// opened counts a WebSocket, and gives what tells it that it is cut.
func (c *socketCounter) opened() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open++
	c.most = max(c.most, c.open)
	return c.severed
}

func (c *socketCounter) closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
}

// cut ends all WebSockets that are open, without a farewell, and tells how many.
func (c *socketCounter) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.severed)
	c.severed = make(chan struct{})
	return c.open
}

func (c *socketCounter) counts() (open, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open, c.most
}
