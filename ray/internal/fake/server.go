// Package fake is what the fakes of raytest and agenttest are both made of: a
// server that dies with all of its connections, WebSocket frames, and which
// request a fault hits.
package fake

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Server is one life of a listener: closing it cuts every connection, also
// those that a handler took over, and waits for the handlers.
type Server struct {
	ln     net.Listener
	srv    *http.Server
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex
	taken map[net.Conn]struct{} // nil once closed
}

type serverKey struct{}

// Listen serves on addr, with port 0 on a free one. An address that was in use
// a moment ago is tried for a second.
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
	s := &Server{ln: ln, taken: map[net.Conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.WithValue(context.Background(), serverKey{}, s))
	s.srv = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.wg.Add(1)
			defer s.wg.Done()
			handler.ServeHTTP(w, r)
			if s.ctx.Err() != nil {
				// One that was cut short by the close must not end as an
				// empty answer 200.
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

// Addr is where it listens: "127.0.0.1:8265".
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Close cuts every connection and waits for the handlers.
func (s *Server) Close() {
	s.cancel()
	_ = s.srv.Close()
	s.mu.Lock()
	for c := range s.taken {
		_ = c.Close()
	}
	s.taken = nil
	s.mu.Unlock()
	s.wg.Wait()
}

// Hijack hijacks the request's connection, which is closed with the server.
func Hijack(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	s := r.Context().Value(serverKey{}).(*Server)
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken == nil {
		_ = c.Close()
		return nil, errors.New("closed")
	}
	s.taken[c] = struct{}{}
	return c, nil
}

// CloseConn closes a taken connection.
func CloseConn(r *http.Request, c net.Conn) {
	s := r.Context().Value(serverKey{}).(*Server)
	s.mu.Lock()
	delete(s.taken, c)
	s.mu.Unlock()
	_ = c.Close()
}

// Disconnect ends a connection, by RST or else by FIN, also one whose writer is stuck.
func Disconnect(c net.Conn, reset bool) {
	if tcp, ok := c.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
	_ = c.SetDeadline(time.Now())
	_ = c.Close()
}
