package dashboard

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

func openTail(t *testing.T, c *Client, id string) ray.LogStream {
	t.Helper()
	s, err := c.TailLog(t.Context(), ray.LogRef{SubmissionID: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// eventually polls for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("condition not met: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func TestTailLog_UntilEnd(t *testing.T) {
	for _, version := range []string{"2.9.3", "2.40.0", "2.60.0"} {
		t.Run(version, func(t *testing.T) {
			h := raytest.New(t, raytest.PollInterval(2*time.Millisecond), raytest.Token("secret"), raytest.RayVersion(version))
			c := logClient(t, h, transport.Options{Token: transport.StaticToken("secret"), Scheme: "Bearer "}, Options{})
			j := h.Submit("a b é", raytest.JobOptions{EmptyLog: true})
			j.Print(strings.Repeat("a line\r\n", 95) + "bar\rbar\rhalf")
			s := openTail(t, c, j.ID)
			want := strings.Repeat("a line\n", 95) + "bar\nbar\nhalf"
			got := make([]byte, len(want))
			if _, err := io.ReadFull(s, got); err != nil || string(got) != want {
				t.Fatalf("got %q, %v", got, err)
			}
			if s.Messages() != 10 {
				t.Errorf("%d messages, want 10", s.Messages())
			}
			j.Print(" a line\n")
			j.End("SUCCEEDED", 0)
			rest, err := io.ReadAll(s)
			if string(rest) != " a line\n" || err != nil || s.Messages() != 11 {
				t.Errorf("rest %q, %v, %d messages", rest, err, s.Messages())
			}
			if n, err := s.Read(got); n != 0 || err != io.EOF {
				t.Errorf("after the end: %d, %v", n, err)
			}
		})
	}
}

func TestTailLog_BigMessages(t *testing.T) {
	h := raytest.New(t, raytest.PollInterval(2*time.Millisecond))
	c := logClient(t, h, transport.Options{}, Options{})
	j := h.Submit("job", raytest.JobOptions{EmptyLog: true})
	j.Print(strings.Repeat("y", 3_500_000) + "\n")
	j.End("SUCCEEDED", 0)
	s := openTail(t, c, "job")
	p, total := make([]byte, 4096), 0
	for {
		n, err := s.Read(p)
		total += n
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if total != 3_500_001 || s.Messages() != 1 {
		t.Errorf("%d bytes in %d messages", total, s.Messages())
	}
}

func TestTailLog_Refused(t *testing.T) {
	refuse := func(status int) *raytest.Fault { return &raytest.Fault{Status: status, Body: "no"} }
	tests := []struct {
		name  string
		id    string
		token string
		fault *raytest.Fault
		code  int
	}{
		{"an unknown job", "nope", "secret", nil, 404},
		{"a driver's job", "01000000", "secret", nil, 400},
		{"no token", "job", "", nil, 401},
		{"a wrong token", "job", "wrong", nil, 403},
		{"a module that restarts", "job", "secret", refuse(500), 500},
		{"a gateway", "job", "secret", refuse(502), 503},
		{"too many", "job", "secret", refuse(429), 429},
		{"a login page", "job", "secret", &raytest.Fault{Action: raytest.HTML}, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := raytest.New(t, raytest.Token("secret"))
			var to transport.Options
			if tt.token != "" {
				to = transport.Options{Token: transport.StaticToken(tt.token), Scheme: "Bearer "}
			}
			c := logClient(t, h, to, Options{})
			h.Submit("job", raytest.JobOptions{})
			h.AddDriverJob("01000000", "python3 x.py", time.Now(), time.Time{})
			if tt.fault != nil {
				h.Inject(*tt.fault)
			}
			_, err := c.TailLog(t.Context(), ray.LogRef{SubmissionID: tt.id})
			wantCode(t, err, tt.code)
			if strings.Contains(err.Error(), "wrong") {
				t.Errorf("the error contains the token: %q", err)
			}
		})
	}
}

func TestTailLog_HandshakeTimeout(t *testing.T) {
	h := raytest.New(t)
	c := logClient(t, h, transport.Options{Timeout: 200 * time.Millisecond}, Options{})
	h.Submit("job", raytest.JobOptions{})
	h.Inject(raytest.Fault{Endpoint: raytest.EndpointTail, Action: raytest.Hang})
	_, err := c.TailLog(t.Context(), ray.LogRef{SubmissionID: "job"})
	wantCode(t, err, 408)
}

func TestTailLog_HandshakeContextDone(t *testing.T) {
	h := raytest.New(t)
	c := logClient(t, h, transport.Options{Timeout: time.Hour}, Options{})
	h.Submit("job", raytest.JobOptions{})
	hang := h.Inject(raytest.Fault{Endpoint: raytest.EndpointTail, Action: raytest.Hang})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		eventually(t, "the request came", func() bool { return hang.Hits() == 1 })
		cancel()
	}()
	if _, err := c.TailLog(ctx, ray.LogRef{SubmissionID: "job"}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestTailLog_Ends(t *testing.T) {
	tests := []struct {
		name  string
		fault raytest.Fault
		code  int // 0: io.EOF
	}{
		{"a Close frame while the job runs", raytest.Fault{Action: raytest.CloseFrame, AfterBytes: 20}, 0},
		{"the end of TCP between two frames", raytest.Fault{Action: raytest.CutClose, AfterBytes: 12}, 0},
		{"the end of TCP within a frame", raytest.Fault{Action: raytest.CutClose, AfterBytes: 17}, 503},
		{"a reset", raytest.Fault{Action: raytest.CutReset, AfterBytes: 12}, 503},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := raytest.New(t, raytest.PollInterval(2*time.Millisecond))
			c := logClient(t, h, transport.Options{}, Options{})
			j := h.Submit("job", raytest.JobOptions{EmptyLog: true})
			j.Print("0123456789") // a frame of 12 bytes
			tt.fault.Endpoint = raytest.EndpointTail
			cut := h.Inject(tt.fault)
			s := openTail(t, c, "job")
			p := make([]byte, 10)
			if _, err := io.ReadFull(s, p); err != nil {
				t.Fatal(err)
			}
			j.Print("0123456789")
			_, err := io.ReadAll(s)
			if cut.Hits() != 1 {
				t.Fatalf("fault hit %d times", cut.Hits())
			}
			if tt.code == 0 {
				if err != nil {
					t.Fatalf("got %v, want io.EOF", err)
				}
				return
			}
			wantCode(t, err, tt.code)
		})
	}
}

func TestTailLog_OversizedMessage(t *testing.T) {
	h := raytest.New(t, raytest.PollInterval(2*time.Millisecond), raytest.MaxFrame(64<<20))
	c := logClient(t, h, transport.Options{}, Options{})
	h.Submit("job", raytest.JobOptions{EmptyLog: true}).Print(strings.Repeat("y", maxTailMessage) + "\n")
	_, err := io.ReadAll(openTail(t, c, "job"))
	wantCode(t, err, 500)
}

func TestTailLog_ContextDoneAndClose(t *testing.T) {
	h := raytest.New(t, raytest.PollInterval(2*time.Millisecond))
	c := logClient(t, h, transport.Options{}, Options{})
	j := h.Submit("job", raytest.JobOptions{EmptyLog: true})
	ctx, cancel := context.WithCancel(t.Context())
	s, err := c.TailLog(ctx, ray.LogRef{SubmissionID: "job"})
	if err != nil {
		t.Fatal(err)
	}
	closed := openTail(t, c, "job")
	ends := make(chan error, 2)
	for _, r := range []io.Reader{s, closed} {
		go func() {
			_, err := io.ReadAll(r)
			ends <- err
		}()
	}
	eventually(t, "two tails are open", func() bool { return h.OpenTails() == 2 })
	cancel()
	if err := <-ends; !errors.Is(err, context.Canceled) {
		t.Errorf("after the context was done: %v", err)
	}
	eventually(t, "its connection is closed", func() bool { return h.OpenTails() == 1 })
	_ = closed.Close()
	wantCode(t, <-ends, 503)
	eventually(t, "the other connection is closed", func() bool { return h.OpenTails() == 0 })
	if h.SlotsInUse() != 2 {
		t.Errorf("%d slots in use by closed tails of a silent job, want 2", h.SlotsInUse())
	}
	j.Print("x\n")
	eventually(t, "the slots are free after output", func() bool { return h.SlotsInUse() == 0 })
}

// TestTailLog_Ingress: an ingress with TLS, a path prefix and its own header.
func TestTailLog_Ingress(t *testing.T) {
	h := raytest.New(t, raytest.PollInterval(2*time.Millisecond), raytest.Token("secret"))
	head, err := url.Parse(h.URL())
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(head)
		r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/some/prefix")
		r.Out.URL.RawPath = strings.TrimPrefix(r.In.URL.EscapedPath(), "/some/prefix")
	}}
	ingress := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Team") != "ml" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(ingress.Close)
	pool := x509.NewCertPool()
	pool.AddCert(ingress.Certificate())
	open := func(o transport.Options) (ray.LogStream, error) {
		o.URL, o.Token, o.Scheme = ingress.URL+"/some/prefix/", transport.StaticToken("secret"), "Bearer "
		tr, err := transport.New(o)
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(tr, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c.TailLog(t.Context(), ray.LogRef{SubmissionID: "a b"})
	}
	j := h.Submit("a b", raytest.JobOptions{EmptyLog: true})
	j.Print("line\n")
	j.End("SUCCEEDED", 0)
	s, err := open(transport.Options{TLS: &tls.Config{RootCAs: pool}, Headers: map[string]string{"X-Team": "ml"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, err := io.ReadAll(s); string(got) != "line\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	_, err = open(transport.Options{TLS: &tls.Config{RootCAs: pool}})
	wantCode(t, err, 503)
	_, err = open(transport.Options{})
	wantCode(t, err, 503)
	if !strings.Contains(err.Error(), "tls.ca_file") {
		t.Errorf("%v does not state what to do", err)
	}
}
