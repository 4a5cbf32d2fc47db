//go:build e2e && linux

package kuberay

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"testing"
)

// front is a server of a pod: a fake head with a token that can change, or a stranger that
// records who asks it.
type front struct {
	ip   string
	port int

	listener net.Listener
	server   *http.Server

	mu       sync.Mutex
	token    string // that it wants; "": none
	requests int
	refused  int      // of them
	tokens   []string // that it got, each once
}

// newFront starts a server on an address of a pod that forwards requests with a token to a
// head, and closes it when the test ends.
func newFront(t testing.TB, ip, head, token string) *front {
	t.Helper()
	to, err := url.Parse(head)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, FlushInterval: -1}
	return listen(t, ip+":0", token, proxy)
}

// newStranger starts a server that answers nothing useful.
func newStranger(t testing.TB, address string) *front {
	t.Helper()
	return listen(t, address, "", http.NotFoundHandler())
}

func listen(t testing.TB, address, token string, next http.Handler) *front {
	t.Helper()
	f := &front{token: token}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f.ip = host
	if f.port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	f.listener = l
	f.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.accept(r.Header.Get("Authorization")) {
			next.ServeHTTP(w, r)
			return
		}
		http.Error(w, "Unauthorized: Missing authentication token", http.StatusUnauthorized)
	}), ErrorLog: nil}
	go func() { _ = f.server.Serve(l) }() // ends with close
	t.Cleanup(f.close)
	return f
}

// accept records a request and reports whether its token is the right one.
func (f *front) accept(authorization string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests++
	if authorization != "" && (len(f.tokens) == 0 || f.tokens[len(f.tokens)-1] != authorization) {
		f.tokens = append(f.tokens, authorization)
	}
	if f.token != "" && authorization != "Bearer "+f.token {
		f.refused++
		return false
	}
	return true
}

// want changes the token, like a head that is restarted.
func (f *front) want(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token = token
}

// seen returns the number of requests, of those that were refused, and the tokens.
func (f *front) seen() (requests, refused int, tokens []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests, f.refused, append([]string(nil), f.tokens...)
}

// close ends the server and its connections. It may be called again.
func (f *front) close() { _ = f.server.Close() }
