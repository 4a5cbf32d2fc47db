package dashboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

// logClient returns a client of a fake head, with a timeout that is long enough for a
// busy machine.
func logClient(t *testing.T, h *raytest.Head, to transport.Options, o Options) *Client {
	t.Helper()
	to.URL = h.URL()
	if to.Timeout == 0 {
		to.Timeout = 20 * time.Second
	}
	tr, err := transport.New(to)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func refOf(t *testing.T, h *raytest.Head, id string) ray.LogRef {
	t.Helper()
	n := h.Nodes()[0]
	return ray.LogRef{SubmissionID: id, NodeID: n.ID, AgentURL: n.AgentURL()}
}

func wantCode(t *testing.T, err error, code int) {
	t.Helper()
	var e *ray.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("error %v, want a *ray.Error of code %d", err, code)
	}
}

var oddIDs = []string{"raysubmit_1", "we ird?x", "h#sh", "pc%20t é", "..", "a&b=c+d", "-x_.~"}

func TestLogLines_LastLines(t *testing.T) {
	h := raytest.New(t)
	c := logClient(t, h, transport.Options{}, Options{})
	for _, id := range oddIDs {
		j := h.Submit(id, raytest.JobOptions{EmptyLog: true})
		j.Print("one\r\ntwo\rtwo\n\n\xff\xfe three\nhalf")
		for n, want := range map[int]string{
			-1: "one\r\ntwo\rtwo\n\n\xff\xfe three\nhalf", 0: "one\r\ntwo\rtwo\n\n\xff\xfe three\nhalf",
			1: "half", 2: "\xff\xfe three\nhalf", 3: "\n\xff\xfe three\nhalf", 99: "one\r\ntwo\rtwo\n\n\xff\xfe three\nhalf",
		} {
			for _, ref := range []ray.LogRef{refOf(t, h, id), {SubmissionID: id}} {
				body, err := c.LogLines(t.Context(), ref, n)
				if err != nil {
					t.Fatalf("%q, %d lines: %v", id, n, err)
				}
				got, err := io.ReadAll(body)
				_ = body.Close()
				if string(got) != want || err != nil {
					t.Fatalf("%q, %d lines: %q, %v; want %q", id, n, got, err, want)
				}
			}
		}
	}
}

func TestLogLines_Errors(t *testing.T) {
	tests := []struct {
		name    string
		options []raytest.Option
		fault   *raytest.Fault
		ref     ray.LogRef
		code    int
	}{
		{name: "no such file", ref: ray.LogRef{SubmissionID: "nope", NodeID: fmt.Sprintf("%056x", 1)}, code: 404},
		{name: "no such submission", ref: ray.LogRef{SubmissionID: "nope"}, code: 404},
		{name: "a job without a node", ref: ray.LogRef{SubmissionID: "pending"}, code: 404},
		{name: "no such file in 2.40", options: []raytest.Option{raytest.RayVersion("2.40.0")}, ref: ray.LogRef{SubmissionID: "nope"}, code: 404},
		{name: "a node that is gone", ref: ray.LogRef{SubmissionID: "job", NodeID: "ffff"}, code: 500},
		{name: "a node that is gone in 2.40", options: []raytest.Option{raytest.RayVersion("2.40.0")}, ref: ray.LogRef{SubmissionID: "job", NodeID: "ffff"}, code: 500},
		{name: "a version that spoils the bytes", options: []raytest.Option{raytest.RayVersion("2.9.3")}, ref: ray.LogRef{SubmissionID: "job"}, code: 501},
		{name: "too many requests", fault: &raytest.Fault{Status: 429, Body: `{"result":false,"msg":"Max number of in-progress requests=100 reached."}`}, ref: ray.LogRef{SubmissionID: "job"}, code: 429},
		{name: "a login page", fault: &raytest.Fault{Action: raytest.HTML}, ref: ray.LogRef{SubmissionID: "job"}, code: 500},
		{name: "a traceback", fault: &raytest.Fault{}, ref: ray.LogRef{SubmissionID: "job"}, code: 500},
		{name: "cut in the middle", fault: &raytest.Fault{Action: raytest.CutClose, AfterBytes: 9}, ref: ray.LogRef{SubmissionID: "job"}, code: 503},
		{name: "reset in the middle", fault: &raytest.Fault{Action: raytest.CutReset, AfterBytes: 9}, ref: ray.LogRef{SubmissionID: "job"}, code: 503},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := raytest.New(t, tt.options...)
			c := logClient(t, h, transport.Options{}, Options{})
			h.Submit("job", raytest.JobOptions{EmptyLog: true}).Print("hello, world\n")
			h.Submit("pending", raytest.JobOptions{Pending: true})
			if tt.fault != nil {
				tt.fault.Endpoint = raytest.EndpointLogFile
				defer func(in *raytest.Injected) {
					if in.Hits() != 1 {
						t.Errorf("fault hit %d times", in.Hits())
					}
				}(h.Inject(*tt.fault))
			}
			body, err := c.LogLines(t.Context(), tt.ref, -1)
			if err == nil {
				var got []byte
				got, err = io.ReadAll(body)
				_ = body.Close()
				if !strings.HasPrefix("hello, world\n", string(got)) {
					t.Errorf("read %q", got)
				}
			}
			wantCode(t, err, tt.code)
			if tt.fault != nil && tt.fault.Action == raytest.CutClose && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got %v, want io.ErrUnexpectedEOF", err)
			}
		})
	}
}

func TestLogLines_Stalled(t *testing.T) {
	h := raytest.New(t)
	c := logClient(t, h, transport.Options{Timeout: 300 * time.Millisecond}, Options{})
	h.Submit("job", raytest.JobOptions{EmptyLog: true}).Print("hello, world\n")
	h.Inject(raytest.Fault{Endpoint: raytest.EndpointLogFile, Action: raytest.HalfOpen, AfterBytes: 5})
	body, err := c.LogLines(t.Context(), ray.LogRef{SubmissionID: "job"}, -1)
	if err == nil {
		_, err = io.ReadAll(body)
		_ = body.Close()
	}
	wantCode(t, err, 408)
}

func TestLogLines_VersionRetried(t *testing.T) {
	h := raytest.New(t)
	c := logClient(t, h, transport.Options{}, Options{})
	h.Submit("job", raytest.JobOptions{})
	h.Inject(raytest.Fault{Endpoint: raytest.EndpointVersion, Times: 1})
	_, err := c.LogLines(t.Context(), ray.LogRef{SubmissionID: "job"}, 1)
	wantCode(t, err, 500)
	for range 3 {
		body, err := c.LogLines(t.Context(), ray.LogRef{SubmissionID: "job"}, 1)
		if err != nil {
			t.Fatal(err)
		}
		_ = body.Close()
	}
	if n := h.Requests(raytest.EndpointVersion); n != 2 {
		t.Errorf("version requested %d times, want 2", n)
	}
}

func TestLogLines_DoNotBlockStateRequests(t *testing.T) {
	h := raytest.New(t)
	c := logClient(t, h, transport.Options{MaxConcurrent: 2}, Options{})
	h.Submit("job", raytest.JobOptions{})
	for range 2 {
		body, err := c.LogLines(t.Context(), ray.LogRef{SubmissionID: "job"}, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
	}
	if _, err := c.Version(t.Context()); err != nil {
		t.Errorf("with every log slot in use: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.LogLines(ctx, ray.LogRef{SubmissionID: "job"}, 1); err == nil {
		t.Error("a third log read got a slot")
	}
}

func readInBand(r io.Reader) (string, error) {
	b, err := io.ReadAll(&inBandErrorReader{body: io.NopCloser(r), detail: func(s string) string { return s }})
	return string(b), err
}

func TestInBandError_EndsLog(t *testing.T) {
	long := strings.Repeat("x", maxInBandError)
	tests := []struct {
		name, body, log string
		code            int // 0: no error
	}{
		{"a log", "a\nb\n", "a\nb\n", 0},
		{"nothing", "", "", 0},
		{"only an error", inBandMarker + "A file is not found at: /x", "", 404},
		{"an error after bytes", "a\nb" + inBandMarker + "agent gone", "a\nb", 500},
		{"the mark printed by a job", inBandMarker + long + "\n", inBandMarker + long + "\n", 0},
		{"printed, and then an error", inBandMarker + long + inBandMarker + "gone", inBandMarker + long, 500},
		{"a begun mark at the end", "a\n" + inBandMarker[:9], "a\n" + inBandMarker[:9], 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readInBand(strings.NewReader(tt.body))
			if got != tt.log || (err == nil) != (tt.code == 0) {
				t.Fatalf("got %q, %v", got, err)
			}
			if tt.code != 0 {
				wantCode(t, err, tt.code)
			}
		})
	}
}

// FuzzInBandError: any split of the same bytes yields the same log, and a body without
// the marker is unchanged.
func FuzzInBandError(f *testing.F) {
	f.Add([]byte("a\nb"+inBandMarker+"gone"), uint8(3))
	f.Add([]byte(inBandMarker[:9]+inBandMarker), uint8(1))
	f.Add(bytes.Repeat([]byte("[get_logs] "), 900), uint8(7))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		whole, err1 := readInBand(bytes.NewReader(b))
		cut, err2 := readInBand(&bySize{b, int(size)%97 + 1})
		if whole != cut || (err1 == nil) != (err2 == nil) {
			t.Fatalf("whole %q, %v; in pieces %q, %v", whole, err1, cut, err2)
		}
		if !bytes.Contains(b, []byte(inBandMarker)) && (whole != string(b) || err1 != nil) {
			t.Fatalf("%q became %q, %v", b, whole, err1)
		}
	})
}

func TestInBandError_KeepsBodyError(t *testing.T) {
	broken := errors.New("broken")
	got, err := readInBand(io.MultiReader(strings.NewReader("a\n"+inBandMarker), iotest.ErrReader(broken)))
	if got != "a\n"+inBandMarker || !errors.Is(err, broken) {
		t.Fatalf("got %q, %v", got, err)
	}
}

type bySize struct {
	b []byte
	n int
}

func (r *bySize) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.n)], r.b)
	r.b = r.b[n:]
	return n, nil
}

func TestParseRelease(t *testing.T) {
	for s, old := range map[string]bool{"2.9.3": true, "2.39.0": true, "2.40.0": false, "2.60.0": false, "3.0.0": false, "3.0.0.dev0": false, "nightly": false} {
		if parseRelease(s).before(2, 40) != old {
			t.Errorf("%s before 2.40: %t", s, !old)
		}
	}
}

func TestLogLines_HTML(t *testing.T) {
	res := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: http.NoBody}
	wantCode(t, rejectHTML(res, "x"), 500)
	res.Header.Set("Content-Type", "text/plain")
	if err := rejectHTML(res, "x"); err != nil {
		t.Fatal(err)
	}
}
