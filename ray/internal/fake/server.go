// Package fake has the common parts of the fakes raytest and synapsetest: a server that
// can be stopped with all of its connections, WebSocket frames, and fault rules.
package fake

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is an HTTP server. Close ends all of its connections, including hijacked ones,
// and waits for the handlers.
type Server struct {
	ln     net.Listener
	srv    *http.Server
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	hijacked map[net.Conn]struct{} // nil once closed
}

type serverKey struct{}

// Listen starts a server on addr; port 0 means any free one. It retries for a second if
// the address is in use.
func Listen(addr string, handler http.Handler) (*Server, error) {
	var ln net.Listener
	var err error
	for range 50 {
		if ln, err = net.Listen("tcp", addr); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return nil, err
	}
	s := &Server{ln: ln, hijacked: map[net.Conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.WithValue(context.Background(), serverKey{}, s))
	s.srv = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.wg.Add(1)
			defer s.wg.Done()
			handler.ServeHTTP(w, r)
			if s.ctx.Err() != nil {
				// A response that Close interrupts must not end as an empty 200.
				panic(http.ErrAbortHandler)
			}
		}),
		BaseContext: func(net.Listener) context.Context { return s.ctx },
	}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		_ = s.srv.Serve(ln)
	}()
	return s, nil
}

// Addr returns the address that it listens on: "127.0.0.1:8265".
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Close ends all connections and waits for the handlers.
func (s *Server) Close() {
	s.cancel()
	_ = s.srv.Close()
	s.mu.Lock()
	for c := range s.hijacked {
		_ = c.Close()
	}
	s.hijacked = nil
	s.mu.Unlock()
	s.wg.Wait()
}

// Hijack takes over the request's connection. Close of the server closes it.
func Hijack(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	s := r.Context().Value(serverKey{}).(*Server)
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hijacked == nil {
		_ = c.Close()
		return nil, errors.New("closed")
	}
	s.hijacked[c] = struct{}{}
	return c, nil
}

// CloseConn closes a hijacked connection.
func CloseConn(r *http.Request, c net.Conn) {
	s := r.Context().Value(serverKey{}).(*Server)
	s.mu.Lock()
	delete(s.hijacked, c)
	s.mu.Unlock()
	_ = c.Close()
}

// Disconnect ends a connection with RST or, without reset, FIN, even if its writer is
// blocked.
func Disconnect(c net.Conn, reset bool) {
	if tcp, ok := c.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = c.SetDeadline(time.Now())
	_ = c.Close()
}
