package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"raytap/ray"
)

const op = "list jobs"

// longTimeout is for tests that are not about timeouts: the machine may be busy.
const longTimeout = 2 * time.Minute

// testClient returns a client of a test server, and the number of its requests.
func testClient(t *testing.T, o Options, h http.HandlerFunc) (*Client, *atomic.Int32) {
	t.Helper()
	requests := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		h(w, r)
	}))
	t.Cleanup(server.Close)
	if o.URL == "" {
		o.URL = server.URL
	}
	if o.Timeout == 0 {
		o.Timeout = longTimeout
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, requests
}

func respond(status int, kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

const traceback = `Traceback (most recent call last):
  File "/home/ray/lib/python3.11/site-packages/ray/dashboard/modules/job/job_head.py", line 419, in submit_job
    resp = await job_agent_client.submit_job_internal(submit_request)
           ^^^^^^^^^^^^^^^^^^^^
ValueError: Job with submission_id fail-1 already exists.
.
`

func TestClient_Errors(t *testing.T) {
	never := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, row := range []struct {
		name   string
		h      http.HandlerFunc
		token  string
		code   int
		detail string
		retry  bool
	}{
		{"no response", never, "", 408, "no response from", true},
		{"stops in the middle", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"a":`)
			w.(http.Flusher).Flush()
			never(w, r)
		}, "", 408, "no response from", true},
		{"partial body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"a":1`)
		}, "", 503, "closed the connection", true},
		{"partial body that parses", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `[`)
		}, "", 503, "closed the connection", true},
		{"closes without a response", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "", 503, "closed the connection", true},
		{"HTML", respond(200, "text/html; charset=utf-8", "<!doctype html><html>"), "", 500, "is HTML, not JSON", true},
		{"HTML under another type", respond(200, "application/json", "\n <!doctype html><html>"), "", 500, "is HTML, not JSON", true},
		{"an error page", respond(502, "text/html", "<html><h1>Bad Gateway</h1>"), "", 503, "a proxy in front of", true},
		{"not JSON", respond(200, "text/plain", "hello"), "", 500, "not JSON", true},
		{"empty", respond(200, "application/json", ""), "", 500, "empty", true},
		{"ends early", respond(200, "application/json", `{"a":1`), "", 500, "in the middle of its JSON", true},
		{"another type", respond(200, "application/json", `[]`), "", 500, "a list instead of an object", true},
		{"no token", respond(401, "text/plain", "Unauthorized: Missing authentication token"), "", 401, "Missing authentication token: set auth.token_file", false},
		{"wrong token", respond(403, "text/plain", "Forbidden: Invalid authentication token"), "wrong-token", 403, "the token was rejected", false},
		{"forbidden without a token", respond(403, "text/plain", ""), "", 403, "no token was sent", false},
		{"traceback", respond(500, "text/plain", traceback), "", 500, "ValueError: Job with submission_id fail-1 already exists.", true},
		{"unhandled exception", respond(500, "text/plain", "500 Internal Server Error\n\nServer got itself in trouble"), "", 500, "Server got itself in trouble", true},
		{"State API error", respond(400, "application/json", `{"result":false,"msg":"Given limit 10001 exceeds","data":{}}`), "", 400, "Given limit 10001 exceeds", false},
		{"not found", respond(404, "text/plain", "Job x does not exist"), "", 404, "Job x does not exist", false},
		{"not allowed", respond(405, "text/plain", "'POST' method not allowed"), "", 400, "not allowed", false},
		{"too many", respond(429, "application/json", `{"result":false,"msg":"Max number of in-progress requests=100 reached"}`), "", 429, "in-progress", true},
		{"not possible there", respond(501, "text/plain", "Serve is not installed"), "", 501, "not installed", false},
		{"unavailable", respond(503, "text/plain", ""), "", 503, "Service Unavailable", true},
		{"a long text is bounded", respond(500, "text/plain", strings.Repeat("é", 5000)), "", 500, "é", true},
		{"control characters", respond(500, "text/plain", "a\x1b[31mb\x00c"), "", 500, "a [31mb c", true},
		{"the token is sent back", respond(500, "text/plain", "bad header: Bearer s3cret-token"), "s3cret-token", 500, "bad header: Bearer <secret>", true},
		{"the token is sent back at the cut", respond(500, "text/plain", strings.Repeat("x", 240)+"s3cret-token"), "s3cret-token", 500, "xxx", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			var observed []int
			o := Options{Timeout: 100 * time.Millisecond, Scheme: "Bearer ", Headers: map[string]string{"X-Key": "h3ader-value"},
				Observe: func(endpoint string, code int, _ time.Duration) { observed = append(observed, code) }}
			if row.code != 408 {
				o.Timeout = longTimeout
			}
			if row.token != "" {
				o.Token = StaticToken(row.token)
			}
			c, _ := testClient(t, o, row.h)
			err := c.GetJSON(t.Context(), op, "/x", "/x", nil, new(struct{ A int }))
			checkError(t, err, row.code, row.detail)
			var e *ray.Error
			if errors.As(err, &e) && e.Temporary() != row.retry {
				t.Errorf("temporary is %t: %v", e.Temporary(), e)
			}
			checkNoSecret(t, "error", fmt.Sprintf("%+v %#v %v", err, err, errors.Unwrap(err)), "s3cret", "h3ader-value", "wrong-token")
			if len(observed) != 1 || observed[0] != row.code && observed[0] < 400 {
				t.Errorf("observed %v, want one call with the status or %d", observed, row.code)
			}
		})
	}
}

func checkError(t *testing.T, err error, code int, detail string) {
	t.Helper()
	var e *ray.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T %v, want a *ray.Error", err, err)
	}
	if e.Code != code || e.Op != op || !strings.Contains(e.Detail, detail) {
		t.Errorf("got %v; want code %d and %q", e, code, detail)
	}
	if len(e.Detail) > maxDetail || strings.ContainsAny(e.Detail, "\n\r\x00\x1b") {
		t.Errorf("the detail is not one bounded line: %d bytes %q", len(e.Detail), e.Detail)
	}
}

func TestClient_MaxBodyStopsReading(t *testing.T) {
	const limit, huge = 1 << 20, 200 << 20
	sent := new(atomic.Int64)
	h := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `["`)
		block := strings.Repeat("x", 64<<10)
		for sent.Load() < huge {
			n, err := io.WriteString(w, block)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}
	c, _ := testClient(t, Options{MaxBody: limit}, h)
	checkError(t, c.GetJSON(t.Context(), op, "/x", "/x", nil, new(any)), 500, "larger than 1 MiB")
	if n := sent.Load(); n >= huge {
		t.Errorf("read %d bytes", n)
	}
}

func TestClient_MaxBodyIsInclusive(t *testing.T) {
	text := `"` + strings.Repeat("x", 98) + `"`
	var got string
	c, _ := testClient(t, Options{MaxBody: 100}, respond(200, "application/json", text))
	if err := c.GetJSON(t.Context(), op, "/x", "/x", nil, &got); err != nil || len(got) != 98 {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	c, _ = testClient(t, Options{MaxBody: 99}, respond(200, "application/json", text))
	checkError(t, c.GetJSON(t.Context(), op, "/x", "/x", nil, &got), 500, "larger than 99 bytes")
}

func TestClient_NetworkErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	_ = l.Close()
	tlsServer := httptest.NewTLSServer(respond(200, "application/json", "{}"))
	defer tlsServer.Close()
	plain := httptest.NewServer(respond(200, "application/json", "{}"))
	defer plain.Close()
	for _, row := range []struct{ name, url, detail string }{
		{"refused", closed, "connection refused"},
		{"unknown host", "http://no-such-host.invalid:8265", "check the url and the DNS"},
		{"unknown authority", tlsServer.URL, "set tls.ca_file"},
		{"plain http behind https", strings.Replace(plain.URL, "http", "https", 1), "use http://"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := New(Options{URL: row.url, Timeout: longTimeout})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			checkError(t, c.GetJSON(t.Context(), op, "/x", "/x", nil, new(any)), 503, row.detail)
		})
	}
}

func TestClient_Redirects(t *testing.T) {
	leaked := make(chan string, 1)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leaked <- r.Header.Get("Authorization")
	}))
	defer other.Close()
	h := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, strings.Replace(other.URL, "http://", "http://u:p4ss@", 1)+"/?q=1", http.StatusFound)
		case "/here":
			http.Redirect(w, r, "/there", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/there":
			_, _ = io.WriteString(w, `{"A":1}`)
		}
	}
	c, _ := testClient(t, Options{Token: StaticToken("s3cret"), Scheme: "Bearer "}, h)
	var got struct{ A int }
	if err := c.GetJSON(t.Context(), op, "/x", "/here", nil, &got); err != nil || got.A != 1 {
		t.Errorf("a redirect within the host: %v, %v", got, err)
	}
	err := c.GetJSON(t.Context(), op, "/x", "/away", nil, &got)
	checkError(t, err, 400, "redirects to "+other.URL)
	checkNoSecret(t, "error", fmt.Sprintf("%+v", err), "s3cret", "p4ss")
	checkError(t, c.GetJSON(t.Context(), op, "/x", "/loop", nil, &got), 400, "redirects in a loop")
	checkError(t, c.PostJSON(t.Context(), op, "/x", "/here", nil, &got), 400, "redirect")
	select {
	case auth := <-leaked:
		t.Errorf("the other host got a request with %q", auth)
	default:
	}
}

func TestClient_RequestHeadersAndPath(t *testing.T) {
	var got *http.Request
	var body string
	c, _ := testClient(t, Options{Token: StaticToken(" tok\n"), Scheme: "Bearer ", UserAgent: "raytap/1.0", Headers: map[string]string{"x-tenant": "a"}},
		func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got, body = r, string(b)
			_, _ = io.WriteString(w, "{}")
		})
	id := url.PathEscape("we ird/é?x=1#%20")
	if err := c.PostJSON(t.Context(), op, "/x", "/jobs/"+id, map[string]int{"a": 1}, new(any)); err != nil {
		t.Fatal(err)
	}
	if got.RequestURI != "/jobs/we%20ird%2F%C3%A9%3Fx=1%23%2520" || got.URL.Path != "/jobs/we ird/é?x=1#%20" {
		t.Errorf("path is %s", got.RequestURI)
	}
	for name, want := range map[string]string{"Authorization": "Bearer tok", "User-Agent": "raytap/1.0", "X-Tenant": "a", "Content-Type": "application/json", "Accept-Encoding": ""} {
		if have := got.Header.Get(name); have != want {
			t.Errorf("%s is %q, want %q", name, have, want)
		}
	}
	if body != `{"a":1}` {
		t.Errorf("body is %s", body)
	}
	agent, err := c.WithBaseURL(c.URL().String()+"/agent/", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.GetJSON(t.Context(), op, "/x", "/logs", url.Values{"q": {"a&b"}}, new(any)); err != nil {
		t.Fatal(err)
	}
	if got.Header.Get("Authorization")+got.Header.Get("X-Tenant") != "" || got.Header.Get("User-Agent") != "raytap/1.0" {
		t.Errorf("an untrusted address got %v", got.Header)
	}
	if got.RequestURI != "/agent/logs?q=a%26b" {
		t.Errorf("path is %s", got.RequestURI)
	}
}

func TestClient_CallerContext(t *testing.T) {
	observed := new(atomic.Int32)
	arrived := make(chan struct{}, 8)
	c, _ := testClient(t, Options{Observe: func(string, int, time.Duration) { observed.Add(1) }}, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	err := c.GetJSON(ctx, op, "/x", "/x", nil, new(any))
	if !errors.Is(err, context.Canceled) || ray.Code(err) != 0 || observed.Load() != 0 {
		t.Errorf("cancelled: %v, observed %d", err, observed.Load())
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	checkError(t, c.GetJSON(ctx, op, "/x", "/x", nil, new(any)), 408, "before the caller's deadline")
	if observed.Load() != 1 {
		t.Errorf("a call that exceeded the deadline was observed %d times", observed.Load())
	}
}

func TestClient_RetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "999999": time.Hour, "Wed, 21 Oct 2026 07:28:00 GMT": 0,
	} {
		c, _ := testClient(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		var e *ray.Error
		if err := c.GetJSON(t.Context(), op, "/x", "/x", nil, new(any)); !errors.As(err, &e) || e.Code != 429 || e.RetryAfter != want {
			t.Errorf("Retry-After %q: %+v", header, e)
		}
	}
}
