package synapse

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/synapsetest"
	"raytap/ray/transport"
)

// client returns a client of an agent.
func client(t testing.TB, url string) *Client {
	t.Helper()
	tr, err := NewTransport(transport.Options{URL: url}, Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(tr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// both opens the tails of an agent, one after the other.
var both = []struct {
	name string
	open func(*Client, context.Context, string, time.Duration) (ray.MessageStream, error)
}{
	{"WebSocket", (*Client).tailWebSocket},
	{"SSE", (*Client).tailSSE},
}

// readAll returns the text of a stream and its error.
func readAll(s ray.MessageStream) (string, error) {
	defer s.Close()
	var b strings.Builder
	for {
		m, err := s.Next()
		if err != nil {
			return b.String(), err
		}
		b.Write(m)
	}
}

func TestStream_Complete(t *testing.T) {
	const text = "one\ntwo \"quoted\" \\ \t\u2028 ü 😀\n{\"type\":\"error\",\"message\":\"a line\"}\nlast"
	for _, kind := range both {
		for name, shape := range map[string]synapsetest.MessageFormat{
			"a message per line": {}, "three lines per message": {Lines: 3}, "pieces": {Bytes: 3},
			"compact": {Compact: true}, "wrapped": {NestedEvent: true},
		} {
			t.Run(kind.name+", "+name, func(t *testing.T) {
				a := synapsetest.New(t, synapsetest.ConnectedEvent(), synapsetest.Prefix("/x/y"))
				job := a.Submit("j", synapsetest.JobOptions{Format: shape})
				job.Print(text)
				job.End("SUCCEEDED", 0)
				s, err := kind.open(client(t, a.URL()), t.Context(), "j", 0)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := readAll(s); got != text || err != io.EOF {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
	}
}

func TestStream_PlainText(t *testing.T) {
	for _, kind := range both {
		t.Run(kind.name, func(t *testing.T) {
			a := synapsetest.New(t)
			job := a.Submit("j", synapsetest.JobOptions{Format: synapsetest.MessageFormat{NoEnvelope: true, NoNewline: true}})
			want := []string{"plain", `{"level":"info","msg":"x"}`, "42", `"x"`, "[1]", "null", `{"type":7,"message":"x"}`, `{"message":["x"]}`, "{broken"}
			job.Print(strings.Join(want, "\n") + "\n")
			job.End("FAILED", 1)
			s, err := kind.open(client(t, a.URL()), t.Context(), "j", 0)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for _, line := range want {
				if m, err := s.Next(); string(m) != line || err != nil {
					t.Errorf("got %q, %v, want %q", m, err, line)
				}
			}
			if _, err := s.Next(); err != io.EOF {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestStream_Errors(t *testing.T) {
	for _, kind := range both {
		for _, row := range []struct {
			name string
			f    synapsetest.Fault
			code int
			says string
		}{
			{"FIN", synapsetest.Fault{Action: synapsetest.CutClose, AfterMessages: 2}, 503, ""},
			{"reset", synapsetest.Fault{Action: synapsetest.CutReset, AfterMessages: 2}, 503, ""},
			{"partial message", synapsetest.Fault{Action: synapsetest.PartialFrame, AfterMessages: 2}, 503, ""},
			{"a close", synapsetest.Fault{Action: synapsetest.CloseFrame, Code: 1011, AfterMessages: 2}, 503, ""},
			{"an error event", synapsetest.Fault{Action: synapsetest.ErrorEvent, Body: "disk gone", AfterMessages: 2}, 500, "disk gone"},
		} {
			t.Run(kind.name+", "+row.name, func(t *testing.T) {
				a := synapsetest.New(t)
				in := a.Inject(row.f)
				job := a.Submit("j", synapsetest.JobOptions{})
				job.Print("1\n2\n3\n")
				s, err := kind.open(client(t, a.URL()), t.Context(), "j", 0)
				if err != nil {
					t.Fatal(err)
				}
				got, err := readAll(s)
				if ray.Code(err) != row.code || !strings.Contains(err.Error(), row.says) || err == io.EOF {
					t.Errorf("ended with %v", err)
				}
				if row.f.Action != synapsetest.CutReset && got != "1\n2\n" { // a reset may drop what was not read
					t.Errorf("got %q", got)
				}
				if _, again := s.Next(); !errors.Is(again, err) {
					t.Errorf("then %v", again)
				}
				if in.Hits() != 1 {
					t.Errorf("fault hit %d times", in.Hits())
				}
			})
		}
	}
}

func TestStream_SilentJob(t *testing.T) {
	for _, kind := range both {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			a := synapsetest.New(t)
			job := a.Submit("j", synapsetest.JobOptions{})
			job.Print("1\n")
			s, err := kind.open(client(t, a.URL()), t.Context(), "j", time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Next(); err != nil {
				t.Fatal(err)
			}
			later := time.AfterFunc(2500*time.Millisecond, func() { job.Print("2\n") })
			defer later.Stop()
			if m, err := s.Next(); string(m) != "2\n" {
				t.Errorf("got %q, %v", m, err)
			}
		})
	}
}

func TestStream_LivenessTimeout(t *testing.T) {
	a := synapsetest.New(t)
	a.Submit("j", synapsetest.JobOptions{}).Print("1\n2\n")
	a.Inject(synapsetest.Fault{Action: synapsetest.HalfOpen, AfterMessages: 1})
	for _, kind := range both {
		t.Run(kind.name, func(t *testing.T) {
			s, err := kind.open(client(t, a.URL()), t.Context(), "j", 150*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			// SSE has no pings: the end of the job ends the stream.
			if kind.name == "SSE" {
				defer time.AfterFunc(300*time.Millisecond, func() { a.Job("j").End("SUCCEEDED", 0) }).Stop()
			}
			if got, err := readAll(s); got != "1\n" || ray.Code(err) != http.StatusServiceUnavailable {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestStream_MissedPongs(t *testing.T) {
	a := synapsetest.New(t, synapsetest.NoPongs())
	a.Submit("j", synapsetest.JobOptions{}).Print("1\n")
	s, err := client(t, a.URL()).tailWebSocket(t.Context(), "j", 150*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(s); got != "1\n" || ray.Code(err) != http.StatusServiceUnavailable || !strings.Contains(err.Error(), "received nothing for") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestStream_SlowReader(t *testing.T) {
	a := synapsetest.New(t, synapsetest.NoPongs())
	job := a.Submit("j", synapsetest.JobOptions{})
	job.Print("1\n")
	s, err := client(t, a.URL()).tailWebSocket(t.Context(), "j", 60*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Next(); err != nil {
		t.Fatal(err)
	}
	// Long after the liveness timeout of a silent connection.
	rested := make(chan struct{})
	defer time.AfterFunc(300*time.Millisecond, func() { job.Print("2\n"); close(rested) }).Stop()
	<-rested
	if m, err := s.Next(); string(m) != "2\n" || err != nil {
		t.Errorf("got %q, %v", m, err)
	}
}

func TestStream_CloseUnblocksNext(t *testing.T) {
	for _, kind := range both {
		t.Run(kind.name, func(t *testing.T) {
			a := synapsetest.New(t)
			a.Submit("j", synapsetest.JobOptions{})
			s, err := kind.open(client(t, a.URL()), t.Context(), "j", 0)
			if err != nil {
				t.Fatal(err)
			}
			defer time.AfterFunc(20*time.Millisecond, func() { _ = s.Close() }).Stop()
			if _, err := s.Next(); ray.Code(err) != http.StatusServiceUnavailable {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

func TestStream_Refused(t *testing.T) {
	for _, row := range []struct {
		name       string
		o          []synapsetest.Option
		id         string
		ws, sse    int
		noUpgrade  bool
		triedPaths int
	}{
		{"an unknown job", nil, "nobody", 503, 404, true, 0},
		{"no WebSocket, 404", []synapsetest.Option{synapsetest.NoWebSocket(404)}, "j", 404, 0, true, 0},
		{"no WebSocket, 403", []synapsetest.Option{synapsetest.NoWebSocket(403)}, "j", 503, 0, true, 0},
		{"no WebSocket, 426", []synapsetest.Option{synapsetest.NoWebSocket(426)}, "j", 503, 0, true, 0},
		{"a wrong token", []synapsetest.Option{synapsetest.Token("right")}, "j", 401, 401, false, 0},
		{"a wrong user", []synapsetest.Option{synapsetest.UserTenant("u", "t")}, "j", 503, 403, true, 0},
		{"an invalid id", nil, "a/b", 400, 400, false, 0},
		{"an id that is too long", nil, strings.Repeat("a", 101), 400, 400, false, 0},
		{"a newline after the id", nil, "j\n", 400, 400, false, 0},
		{"no id", nil, "", 400, 400, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := synapsetest.New(t, row.o...)
			a.Submit("j", synapsetest.JobOptions{}).End("SUCCEEDED", 0)
			c := client(t, a.URL())
			s, err := c.TailWebSocket(t.Context(), row.id)
			if ray.Code(err) != row.ws || errors.Is(err, ray.ErrNoWebSocket) != row.noUpgrade {
				t.Errorf("WebSocket: %v", err)
			}
			if s != nil {
				t.Error("both a stream and an error are returned")
			}
			sse, err := c.TailSSE(t.Context(), row.id)
			if ray.Code(err) != row.sse {
				t.Errorf("SSE: %v", err)
			}
			if sse != nil {
				_ = sse.Close()
			}
		})
	}
}

func TestStream_LegacyPaths(t *testing.T) {
	for _, kind := range both {
		t.Run(kind.name, func(t *testing.T) {
			a := synapsetest.New(t, synapsetest.LegacyPaths())
			job := a.Submit("j", synapsetest.JobOptions{})
			job.Print("1\n")
			job.End("SUCCEEDED", 0)
			c := client(t, a.URL())
			for range 2 {
				s, err := kind.open(c, t.Context(), "j", 0)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := readAll(s); got != "1\n" || err != io.EOF {
					t.Errorf("got %q, %v", got, err)
				}
			}
			if n := a.Requests(synapsetest.EndpointOther); n != 1 && n != 2 {
				t.Errorf("%d requests to unknown paths: the working path is not cached", n)
			}
		})
	}
}

func TestStream_NotAnEventStream(t *testing.T) {
	for _, row := range []struct {
		name, contentType, body, text string
		code                          int
	}{
		{"plain lines", "text/plain", "one\ntwo\r\nthree", "one\ntwo\nthree", 503},
		{"plain lines that claim to be events", "text/event-stream", "one\n\ndata: two\n", "one\n\ndata: two\n", 503},
		{"a whole log", "application/json", `{"logs":["one","two"]}`, "one\ntwo\n", 503},
		{"an error with status 200", "application/json", `{"detail":"no such job"}`, "", 500},
		{"a page", "text/html", "<html>", "", 500},
	} {
		t.Run(row.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", row.contentType)
				_, _ = io.WriteString(w, row.body)
			}))
			defer srv.Close()
			s, err := client(t, srv.URL).TailSSE(t.Context(), "j")
			got := ""
			if err == nil {
				got, err = readAll(s)
			}
			if got != row.text || ray.Code(err) != row.code {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
