package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

func headClient(t *testing.T, url string) *Client {
	t.Helper()
	tr, err := transport.New(transport.Options{URL: url})
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

func tailOptions(protocol string) ray.TailOptions {
	o := ray.DefaultTailOptions()
	o.Protocol = protocol
	return o
}

func tailed(ctx context.Context, c *Client, id string, o ray.TailOptions) (texts []string, err error) {
	for line, err := range c.Tail(ctx, id, o) {
		if err != nil {
			return texts, err
		}
		texts = append(texts, line.Text)
	}
	return texts, nil
}

func TestTail_EachLineOnce(t *testing.T) {
	var want []string
	for i := range 200 {
		want = append(want, fmt.Sprintf("line %d", i))
	}
	for _, protocol := range []string{ray.TailAuto, ray.TailWebSocket, ray.TailHTTP} {
		for name, f := range map[string]raytest.Fault{
			"nothing": {Job: "nobody"},
			"FIN":     {Action: raytest.CutClose, AfterBytes: 700, Times: 1},
			"reset":   {Action: raytest.CutReset, AfterBytes: 700, Times: 1},
			"a close": {Action: raytest.CloseFrame, AfterBytes: 700, Times: 1},
		} {
			t.Run(protocol+", "+name, func(t *testing.T) {
				t.Parallel()
				h := raytest.New(t)
				f := f
				if f.Endpoint = raytest.EndpointTail; protocol == ray.TailHTTP {
					f.Endpoint = raytest.EndpointLogFile
				}
				h.Inject(f)
				job := h.Submit("j", raytest.JobOptions{EmptyLog: true})
				job.Print(strings.Join(want[:100], "\r\n"))
				var got []string
				for line, err := range headClient(t, h.URL()).Tail(t.Context(), "j", tailOptions(protocol)) {
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, line.Text)
					if len(got) == 99 { // the 100th is not terminated yet
						job.Print("\n\n" + strings.Join(want[100:], "\n"))
						job.End("SUCCEEDED", 0)
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%d lines, the last %q", len(got), got[max(0, len(got)-2):])
				}
			})
		}
	}
}

func TestTail_RepetitiveLogOverHTTP(t *testing.T) {
	h := raytest.New(t)
	job := h.Submit("j", raytest.JobOptions{EmptyLog: true})
	job.Print(strings.Repeat("the same\n", 50))
	n := 0
	for line, err := range headClient(t, h.URL()).Tail(t.Context(), "j", tailOptions(ray.TailHTTP)) {
		if err != nil || line.Text != "the same" {
			t.Fatalf("%q, %v", line.Text, err)
		}
		if n++; n == 50 {
			job.Print(strings.Repeat("the same\n", 1500))
		}
		if n == 1550 {
			job.End("SUCCEEDED", 0)
		}
	}
	if n != 1550 {
		t.Errorf("%d lines", n)
	}
}

func TestTail_UpgradeRefused(t *testing.T) {
	for _, status := range []int{403, 404, 426, 502} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			h := raytest.New(t)
			h.Inject(raytest.Fault{Endpoint: raytest.EndpointTail, Status: status})
			job := h.Submit("j", raytest.JobOptions{EmptyLog: true})
			job.Print("one\ntwo\n")
			job.End("SUCCEEDED", 0)
			c := headClient(t, h.URL())
			for range 2 {
				if got, err := tailed(t.Context(), c, "j", tailOptions(ray.TailAuto)); len(got) != 2 || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			}
			if n := h.Requests(raytest.EndpointTail); n != 1 {
				t.Errorf("%d WebSocket requests", n)
			}
		})
	}
}

func TestTail_FinishedLogWithoutWebSocket(t *testing.T) {
	h := raytest.New(t)
	end := func(id string, ago time.Duration) {
		job := h.Submit(id, raytest.JobOptions{EmptyLog: true})
		job.Print("one\ntwo, unended")
		job.EndAt(time.Now().Add(-ago), "FAILED", 1)
	}
	end("long ago", time.Minute)
	end("just now", 0)
	end("unreadable", time.Minute)
	h.Inject(raytest.Fault{Endpoint: raytest.EndpointLogFile, Job: "unreadable", Status: 500, Times: 1})
	for _, row := range []struct {
		id    string
		o     ray.TailOptions
		tails int
	}{
		{"long ago", tailOptions(ray.TailAuto), 0},
		{"long ago", tailOptions(ray.TailWebSocket), 1}, // explicitly requested
		{"just now", tailOptions(ray.TailAuto), 1},      // its children may print
		{"unreadable", tailOptions(ray.TailAuto), 1},
	} {
		before := h.Requests(raytest.EndpointTail)
		got, err := tailed(t.Context(), headClient(t, h.URL()), row.id, row.o)
		if err != nil || !slices.Equal(got, []string{"one", "two, unended"}) {
			t.Errorf("%s: %q, %v", row.id, got, err)
		}
		if n := h.Requests(raytest.EndpointTail) - before; n != row.tails {
			t.Errorf("%s over %s: %d WebSockets, want %d", row.id, row.o.Protocol, n, row.tails)
		}
	}
}

func TestTail_Errors(t *testing.T) {
	h := raytest.New(t)
	h.AddDriverJob("01000000", "python x.py", time.Now(), time.Time{})
	h.Submit("j", raytest.JobOptions{}).End("SUCCEEDED", 0)
	for _, row := range []struct {
		id, protocol string
		code         int
	}{
		{"", ray.TailAuto, 400}, {"..", ray.TailAuto, 400}, {"j", "stream", 400},
		{"nobody", ray.TailAuto, 404}, {"nobody", ray.TailWebSocket, 404}, {"nobody", ray.TailHTTP, 404},
		{"01000000", ray.TailAuto, 400}, {"01000000", ray.TailHTTP, 400},
	} {
		if got, err := tailed(t.Context(), headClient(t, h.URL()), row.id, tailOptions(row.protocol)); ray.Code(err) != row.code || len(got) > 0 {
			t.Errorf("%q over %s: %q, %v", row.id, row.protocol, got, err)
		}
	}
}

func TestTail_ContextDone(t *testing.T) {
	h := raytest.New(t)
	h.Submit("j", raytest.JobOptions{EmptyLog: true}).Print("one\n")
	for _, protocol := range []string{ray.TailWebSocket, ray.TailHTTP} {
		ctx, cancel := context.WithCancel(t.Context())
		var last error
		for _, err := range headClient(t, h.URL()).Tail(ctx, "j", tailOptions(protocol)) {
			last = err
			cancel()
		}
		if cancel(); !errors.Is(last, context.Canceled) {
			t.Errorf("%s: %v", protocol, last)
		}
	}
}

func TestJobLogs_OldRay(t *testing.T) {
	for _, version := range []string{"2.60.0", "2.40.0", "2.9.3"} {
		h := raytest.New(t, raytest.RayVersion(version))
		h.Submit("j", raytest.JobOptions{EmptyLog: true}).Print("one\ntwo")
		c := headClient(t, h.URL())
		body, err := c.JobLogs(t.Context(), "j")
		if err != nil {
			t.Errorf("%s: %v", version, err)
			continue
		}
		if b, err := io.ReadAll(body); string(b) != "one\ntwo" || err != nil {
			t.Errorf("%s: %q, %v", version, b, err)
		}
		_ = body.Close()
		if _, err := c.JobLogs(t.Context(), "nobody"); ray.Code(err) != 404 {
			t.Errorf("%s: an unknown job: %v", version, err)
		}
	}
}

// The log of a job that never had a node is on the head; each protocol reads it.
func TestJobLogs_JobWithoutNode(t *testing.T) {
	head := raytest.New(t)
	c := headClient(t, head.URL())
	job := head.Submit("job-1", raytest.JobOptions{Pending: true})
	job.FailSetup("runtime_env setup failed\nOSError: no such package")
	never := head.Submit("job-2", raytest.JobOptions{Pending: true})
	never.End("FAILED", 1)
	for _, protocol := range []string{ray.TailAuto, ray.TailHTTP, ray.TailWebSocket} {
		lines, err := tailed(t.Context(), c, "job-1", tailOptions(protocol))
		if err != nil || len(lines) != 3 || lines[2] != "OSError: no such package" {
			t.Errorf("%s: %q, %v", protocol, lines, err)
		}
		if lines, err := tailed(t.Context(), c, "job-2", tailOptions(protocol)); err != nil || len(lines) != 0 {
			t.Errorf("%s: a job without a log: %q, %v", protocol, lines, err)
		}
	}
	log, err := c.JobLogs(t.Context(), "job-1")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if b, err := io.ReadAll(log); err != nil || !strings.HasSuffix(string(b), "OSError: no such package") {
		t.Errorf("%q, %v", b, err)
	}
}

// A Ray that does not serve files cannot serve a log that is not UTF-8: its tail must
// end with an error.
func TestTail_NotTextOnOldRay(t *testing.T) {
	h := raytest.New(t, raytest.RayVersion("2.9.3"))
	job := h.Submit("j", raytest.JobOptions{EmptyLog: true})
	job.Print(strings.Repeat("a line\n", 3000) + "\xff\nafter it\n")
	job.EndAt(time.Now().Add(-time.Hour), "SUCCEEDED", 0)
	for _, protocol := range []string{ray.TailAuto, ray.TailWebSocket} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			got, err := tailed(ctx, headClient(t, h.URL()), "j", tailOptions(protocol))
			if !errors.Is(err, ray.ErrNotText) {
				t.Errorf("tail ended with %v", err)
			}
			if len(got) == 0 || len(got) > 3000 || slices.Contains(got, "after it") {
				t.Errorf("%d lines", len(got))
			}
		})
	}
}
