package synapse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/synapsetest"
)

// protocols are the protocols of a tail.
var protocols = []string{ray.TailAuto, ray.TailWebSocket, ray.TailHTTP}

func options(protocol string) ray.TailOptions {
	o := ray.DefaultTailOptions()
	o.Protocol = protocol
	return o
}

// tailed returns the texts of a tail's lines and its error.
func tailed(ctx context.Context, c *Client, id string, o ray.TailOptions) (texts []string, err error) {
	for line, err := range c.Tail(ctx, id, o) {
		if err != nil {
			return texts, err
		}
		texts = append(texts, line.Text)
	}
	return texts, nil
}

func numbered(n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d of the log", i)
	}
	return lines
}

func printAll(j *synapsetest.Job, lines []string) { j.Print(strings.Join(lines, "\n") + "\n") }

func TestTail_EachLineOnce(t *testing.T) {
	want := numbered(1000)
	for _, protocol := range protocols {
		for _, shape := range []synapsetest.MessageFormat{{}, {Lines: 10}, {NoNewline: true}, {Bytes: 30}, {NoNewline: true, NoEnvelope: true}} {
			for name, f := range map[string]synapsetest.Fault{
				"nothing":       {Action: synapsetest.Delay, AfterMessages: 1 << 30},
				"FIN":           {Action: synapsetest.CutClose, AfterMessages: 60, Times: 1},
				"partial frame": {Action: synapsetest.PartialFrame, AfterMessages: 60, Times: 2},
				"reset":         {Action: synapsetest.CutReset, AfterMessages: 60, Times: 1},
				"a close":       {Action: synapsetest.CloseFrame, Code: 4404, AfterMessages: 60, Times: 1},
				"an error":      {Action: synapsetest.ErrorEvent, AfterMessages: 60, Times: 1},
			} {
				t.Run(fmt.Sprintf("%s, %+v, %s", protocol, shape, name), func(t *testing.T) {
					t.Parallel()
					a := synapsetest.New(t)
					f := f
					f.Endpoint = synapsetest.EndpointWebSocket
					if protocol == ray.TailHTTP {
						f.Endpoint = synapsetest.EndpointSSE
					}
					in := a.Inject(f)
					job := a.Submit("j", synapsetest.JobOptions{Format: shape})
					printAll(job, want)
					job.End("SUCCEEDED", 0)
					got, err := tailed(t.Context(), client(t, a.URL()), "j", options(protocol))
					if err != nil || !slices.Equal(got, want) {
						t.Errorf("%d lines (%d wanted), %v", len(got), len(want), err)
					}
					if name != "nothing" && in.Hits() == 0 {
						t.Error("the fault did not hit")
					}
				})
			}
		}
	}
}

func TestTail_FallbackRemembered(t *testing.T) {
	for _, status := range []int{403, 404, 426} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			a := synapsetest.New(t, synapsetest.NoWebSocket(status))
			job := a.Submit("j", synapsetest.JobOptions{})
			printAll(job, numbered(3))
			job.End("SUCCEEDED", 0)
			c := client(t, a.URL())
			for range 3 {
				if got, err := tailed(t.Context(), c, "j", options(ray.TailAuto)); len(got) != 3 || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			}
			if n := a.Requests(synapsetest.EndpointWebSocket); n != 1 {
				t.Errorf("%d WebSocket requests", n)
			}
			if _, err := tailed(t.Context(), c, "j", options(ray.TailWebSocket)); err == nil {
				t.Error("protocol websocket fell back, too")
			}
		})
	}
}

func TestTail_FallbackEachLineOnce(t *testing.T) {
	a := synapsetest.New(t)
	in := a.Inject(synapsetest.Fault{Endpoint: synapsetest.EndpointWebSocket, Action: synapsetest.ErrorEvent, Body: "no more", AfterMessages: 5})
	job := a.Submit("j", synapsetest.JobOptions{})
	printAll(job, numbered(10))
	var (
		got []string
		err error
	)
	for line, e := range client(t, a.URL()).Tail(t.Context(), "j", options(ray.TailAuto)) {
		if err = e; err == nil {
			got = append(got, line.Text)
		}
		if len(got) == 10 {
			job.End("SUCCEEDED", 0)
		}
	}
	if err != nil || !slices.Equal(got, numbered(10)) || in.Hits() != 1 || a.Requests(synapsetest.EndpointSSE) == 0 {
		t.Errorf("%q, %v, %d hits", got, err, in.Hits())
	}
}

func TestTail_UnreadableOffset(t *testing.T) {
	for _, logs := range []synapsetest.LogFormat{synapsetest.LogString, synapsetest.LogList} {
		a := synapsetest.New(t, synapsetest.LogsAs(logs))
		a.Inject(synapsetest.Fault{Action: synapsetest.CutClose, AfterMessages: 5})
		job := a.Submit("j", synapsetest.JobOptions{})
		job.Print(strings.Join(numbered(10), "\n")) // the tenth is not terminated yet
		var got []string
		for line, err := range client(t, a.URL()).Tail(t.Context(), "j", options(ray.TailAuto)) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, line.Text); len(got) == 9 {
				job.Print(", and more\n")
				job.End("SUCCEEDED", 0)
			}
		}
		want := numbered(10)
		want[9] += ", and more"
		if !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	}
}

func TestTail_CompleteWithoutStatus(t *testing.T) {
	a := synapsetest.New(t)
	a.Inject(synapsetest.Fault{Endpoint: synapsetest.EndpointJob, Action: synapsetest.HTML})
	job := a.Submit("j", synapsetest.JobOptions{})
	printAll(job, numbered(3))
	job.End("SUCCEEDED", 0)
	if got, err := tailed(t.Context(), client(t, a.URL()), "j", options(ray.TailAuto)); err != nil || !slices.Equal(got, numbered(3)) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTail_RunningJob(t *testing.T) {
	for _, o := range []synapsetest.JobOptions{{}, {NoComplete: true}, {StayOpen: true}} {
		for _, protocol := range protocols[1:] {
			t.Run(fmt.Sprintf("%s, complete %t, closes %t", protocol, !o.NoComplete, !o.StayOpen), func(t *testing.T) {
				t.Parallel()
				a := synapsetest.New(t, synapsetest.Heartbeat(20*time.Millisecond), synapsetest.ConnectedEvent())
				job := a.Submit("j", o)
				job.Print("first\n")
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var got []string
				for line, err := range client(t, a.URL()).Tail(ctx, "j", options(protocol)) {
					if err != nil {
						t.Fatal(err)
					}
					if got = append(got, line.Text); line.Text == "first" {
						job.Print("second\nno newline at the end")
						job.End("FAILED", 3)
					}
				}
				if want := []string{"first", "second", "no newline at the end"}; !slices.Equal(got, want) {
					t.Errorf("got %q", got)
				}
			})
		}
	}
}

func TestTail_Limits(t *testing.T) {
	for _, row := range []struct {
		name   string
		limits ray.StreamLimits
		lines  int // returned before 429; 10 is all
	}{
		{"as many messages", ray.StreamLimits{MaxMessages: 5}, 10},
		{"one message too many", ray.StreamLimits{MaxMessages: 4}, 8},
		{"as many lines", ray.StreamLimits{MaxLines: 10}, 10},
		{"one line too many", ray.StreamLimits{MaxLines: 9}, 9},
		{"as many bytes", ray.StreamLimits{MaxBytes: 170}, 10},
		{"one byte too many", ray.StreamLimits{MaxBytes: 169}, 9},
	} {
		for _, protocol := range protocols {
			t.Run(row.name+", "+protocol, func(t *testing.T) {
				t.Parallel()
				a := synapsetest.New(t)
				a.Inject(synapsetest.Fault{Action: synapsetest.CutClose, AfterMessages: 3, Times: 1, Endpoint: synapsetest.EndpointWebSocket})
				a.Inject(synapsetest.Fault{Action: synapsetest.CutClose, AfterMessages: 3, Times: 1, Endpoint: synapsetest.EndpointSSE})
				job := a.Submit("j", synapsetest.JobOptions{Format: synapsetest.MessageFormat{Lines: 2}})
				printAll(job, numbered(10))
				o := options(protocol)
				o.Limits = row.limits
				var (
					got []string
					err error
				)
				for line, e := range client(t, a.URL()).Tail(t.Context(), "j", o) {
					if err = e; err == nil {
						got = append(got, line.Text)
					}
					if len(got) == 10 {
						job.End("SUCCEEDED", 0)
					}
				}
				if want := map[bool]int{true: 0, false: 429}[row.lines == 10]; ray.Code(err) != want || !slices.Equal(got, numbered(10)[:row.lines]) {
					t.Errorf("%d lines, %v", len(got), err)
				}
			})
		}
	}
}

func TestTail_OversizedLine(t *testing.T) {
	a := synapsetest.New(t)
	job := a.Submit("j", synapsetest.JobOptions{})
	job.Print("short\n" + strings.Repeat("ü", 100) + "\nexactly10!\n")
	job.End("SUCCEEDED", 0)
	o := options(ray.TailWebSocket)
	o.Limits.MaxMessageSize = 11
	var got []ray.TailLine
	for line, err := range client(t, a.URL()).Tail(t.Context(), "j", o) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, line)
	}
	want := []ray.TailLine{{Text: "short", Bytes: 5}, {Text: "üüüüü", Truncated: true, Bytes: 200}, {Text: "exactly10!", Bytes: 10}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestTail_Errors(t *testing.T) {
	a := synapsetest.New(t)
	a.Submit("j", synapsetest.JobOptions{}).Print("1\n")
	a.Submit("broken", synapsetest.JobOptions{})
	a.Inject(synapsetest.Fault{Job: "broken", Endpoint: synapsetest.EndpointWebSocket, Action: synapsetest.CloseFrame})
	c := client(t, a.URL())
	gone := synapsetest.New(t)
	goneURL := gone.URL()
	gone.Close()
	for _, row := range []struct {
		name   string
		client *Client
		id     string
		change func(*ray.TailOptions)
		code   int
	}{
		{"an empty id", c, "", nil, 400},
		{"an invalid id", c, "a/b", nil, 400},
		{"no timeout", c, "j", func(o *ray.TailOptions) { o.Timeout = 0 }, 400},
		{"a timeout that is too long", c, "j", func(o *ray.TailOptions) { o.Timeout = 300*time.Second + 1 }, 400},
		{"another protocol", c, "j", func(o *ray.TailOptions) { o.Protocol = "stream" }, 400},
		{"an unknown job", c, "nobody", nil, 404},
		{"an unknown job, WebSocket only", c, "nobody", func(o *ray.TailOptions) { o.Protocol = ray.TailWebSocket }, 503},
		{"no server", client(t, goneURL), "j", nil, 503},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := ray.DefaultTailOptions()
			if row.change != nil {
				row.change(&o)
			}
			if got, err := tailed(t.Context(), row.client, row.id, o); ray.Code(err) != row.code || len(got) > 0 {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestTail_ContextDoneAndBreak(t *testing.T) {
	a := synapsetest.New(t)
	a.Submit("j", synapsetest.JobOptions{}).Print("1\n2\n")
	c := client(t, a.URL())
	for _, err := range c.Tail(t.Context(), "j", ray.DefaultTailOptions()) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err := range c.Tail(ctx, "j", ray.DefaultTailOptions()) {
		if n++; n == 2 {
			cancel()
		}
		if err != nil && (n != 3 || !errors.Is(err, context.Canceled)) {
			t.Errorf("element %d: %v", n, err)
		}
	}
	if n != 3 {
		t.Errorf("%d elements", n)
	}
}

func TestTail_LogReplaced(t *testing.T) {
	a := synapsetest.New(t)
	job := a.Submit("j", synapsetest.JobOptions{})
	job.Print("one\ntwo\n")
	var last error
	n := 0
	for _, err := range client(t, a.URL()).Tail(t.Context(), "j", ray.DefaultTailOptions()) {
		if last = err; err == nil {
			if n++; n == 2 {
				job.TruncateLog()
				job.Print("another log\nof this job\n")
			}
		}
	}
	if n != 2 || ray.Code(last) != http.StatusInternalServerError || !strings.Contains(last.Error(), "replaced") {
		t.Errorf("%d lines, %v", n, last)
	}
}
