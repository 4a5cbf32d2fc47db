package shipper

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"raytap/ray/dashboard"
	"raytap/ray/raytest"
	"raytap/ray/transport"
	"raytap/shipper/record"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

// Ray before 2.40 has no API for log files. Each line is still shipped once, and the end is
// verified with the log as text, over each transport, also for a job that has ended before.
func TestOldRay_EveryLineOnceAndEndVerified(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.9.3", "2.30.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			eachTransport(t, func(t *testing.T, protocol, agents string) {
				head := raytest.New(t, raytest.RayVersion(version))
				over := head.Submit("over", raytest.JobOptions{})
				over.Print("one\ntwo\r\nthree without a newline")
				over.EndAt(time.Now().Add(-time.Hour), "SUCCEEDED", 0)
				o := fastOptions(protocol)
				o.Backfill = BackfillAll
				r := newHarness(t, head, agents, o, writer.Options{})
				job := head.Submit("job-1", raytest.JobOptions{})
				printMixed(job, 0, func() { <-time.After(time.Millisecond) })
				log := job.Log()
				job.End("FAILED", 3)
				for id, log := range map[string][]byte{"over": over.Log(), "job-1": log} {
					if end := r.waitEnd(id); !*end.Complete {
						t.Errorf("job %s: end event %+v", id, end)
					}
					r.checkLines(id, log)
				}
				if n := r.metric("gaps_total"); n != 0 {
					t.Errorf("%v gaps, want none", n)
				}
				// "error" may occur: a text that ends within a character is not served.
				for _, reason := range []string{"connection", "timeout", "unauthorized", "not_found", "unsupported", "silent", "short_replay", "replaced", "unverified", "lost"} {
					if n := r.metric("read_ends_total", "reason", reason); n != 0 {
						t.Errorf("%v reads ended with reason %q, want none", n, reason)
					}
				}
				if n := r.metric("read_ends_total", "reason", "complete"); n != 2 {
					t.Errorf("%v reads ended with reason \"complete\", want one for each job", n)
				}
			})
		})
	}
}

// The end of a tail proves nothing: what the text has after it is shipped.
func TestOldRay_TailEndsEarly(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{tail.ProtocolWebSocket, tail.ProtocolAuto} {
		t.Run(protocol, func(t *testing.T) {
			head := raytest.New(t, raytest.RayVersion("2.9.3"))
			head.Inject(raytest.Fault{Endpoint: raytest.EndpointTail, Action: raytest.CloseFrame}) // without data, each time
			r := newHarness(t, head, "off", fastOptions(protocol), writer.Options{})
			job := head.Submit("job-1", raytest.JobOptions{})
			job.Print("a\nb\nc")
			r.until("a tail was opened", func() bool { return head.Requests(raytest.EndpointTail) > 2 || protocol == tail.ProtocolAuto })
			job.End("SUCCEEDED", 0)
			if end := r.waitEnd("job-1"); !*end.Complete {
				t.Errorf("end event %+v", end)
			}
			r.checkLines("job-1", job.Log())
		})
	}
}

// An end that no transport can verify is not reported as complete.
func TestOldRay_UnverifiedEndIsNotComplete(t *testing.T) {
	t.Parallel()
	const first = "before\nit\n"
	for _, test := range []struct {
		name, log string
		answer    int   // status code of the text, if it fails
		maxBody   int64 // limit of the client
		lines     int   // that a tail can read
		gaps      int
	}{
		{name: "not UTF-8", log: first + strings.Repeat("more\n", 30_000) + "\xff\n" + "after it\n", lines: -1, gaps: 1},
		{name: "the text is not available", log: first + "half", answer: http.StatusInternalServerError, lines: -1, gaps: 1},
		{name: "too large", log: first + strings.Repeat("a long line\n", 3000) + "half", maxBody: 20_000, lines: 3003, gaps: 0},
	} {
		for _, protocol := range []string{tail.ProtocolWebSocket, tail.ProtocolAuto, tail.ProtocolHTTP} {
			t.Run(test.name+", "+protocol, func(t *testing.T) {
				t.Parallel()
				head := raytest.New(t, raytest.RayVersion("2.9.3"))
				if test.answer != 0 {
					head.Inject(raytest.Fault{Endpoint: raytest.EndpointJobLogs, Status: test.answer})
				}
				job := head.Submit("job-1", raytest.JobOptions{EmptyLog: true})
				job.Print(test.log)
				job.End("SUCCEEDED", 0)
				tr, err := transport.New(transport.Options{URL: head.URL(), Timeout: time.Second, MaxBody: test.maxBody})
				if err != nil {
					t.Fatal(err)
				}
				c, err := dashboard.New(tr, dashboard.Options{NodeAgents: dashboard.NodeAgents{Mode: dashboard.NodeAgentsOff}})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(c.Close)
				o := fastOptions(protocol)
				o.Backfill = BackfillAll
				if test.answer != 0 {
					o.LostAfter = 300 * time.Millisecond
				}
				r := newHarnessFor(t, func(out *writer.Writer, o Options) *Shipper { return New(uncached{c}, c, out, o) }, o, writer.Options{}, "")
				r.head = head
				end := r.waitEnd("job-1")
				if *end.Complete {
					t.Errorf("end event %+v", end)
				}
				gaps := test.gaps
				if protocol == tail.ProtocolHTTP {
					gaps = 1 // it opens no tail, so lines are certainly missing
				} else if test.lines >= 0 {
					r.checkLines("job-1", job.Log())
				}
				if n := len(r.events("job-1", record.EventGap)); n != gaps {
					t.Errorf("%d gaps, want %d: %+v", n, gaps, end)
				}
				if n := head.Requests(raytest.EndpointTail); n > 2 {
					t.Errorf("%d tails were opened", n)
				}
			})
		}
	}
}

// The lines before a byte that is not UTF-8 are shipped, also of a job that has ended.
func TestOldRay_LinesBeforeInvalidByte(t *testing.T) {
	t.Parallel()
	head := raytest.New(t, raytest.RayVersion("2.9.3"))
	job := head.Submit("job-1", raytest.JobOptions{EmptyLog: true})
	job.Print(strings.Repeat("a line of a log\n", 10_000) + "\xff\n")
	job.End("SUCCEEDED", 0)
	o := fastOptions(tail.ProtocolAuto)
	o.Backfill = BackfillAll
	r := newHarness(t, head, "off", o, writer.Options{})
	if end := r.waitEnd("job-1"); *end.Complete || *end.Lines < 5_000 {
		t.Errorf("end event %+v", end)
	}
}

// From Ray 2.11 to 2.37 a tail stops the job agent of its node. Tails are opened only with
// protocol: websocket, and then one per node.
func TestOldRay_TailsThatStopJobAgent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		protocol string
		tails    int // maximum at the same time
		live     int // jobs whose lines are shipped while they run
	}{
		{tail.ProtocolAuto, 0, 10}, {tail.ProtocolHTTP, 0, 10}, {tail.ProtocolWebSocket, 2, 2},
	} {
		t.Run(test.protocol, func(t *testing.T) {
			t.Parallel()
			head := raytest.New(t, raytest.RayVersion("2.30.0"))
			second, err := head.AddNode("127.0.0.2")
			if err != nil {
				t.Fatal(err)
			}
			r := newHarness(t, head, "off", fastOptions(test.protocol), writer.Options{})
			var jobs []*raytest.Job
			for i := range 10 {
				o := raytest.JobOptions{}
				if i%2 == 1 {
					o.Node = second
				}
				jobs = append(jobs, head.Submit(fmt.Sprint("job-", i), o))
				jobs[i].Print("a line\n")
			}
			r.until("lines of running jobs are shipped", func() bool {
				live := 0
				for _, job := range jobs {
					if recs := r.records(job.ID); len(recs) > 0 && recs[len(recs)-1].Message == "a line" {
						live++
					}
				}
				return live >= test.live
			})
			for _, job := range jobs {
				job.Print("the last one")
				job.End("SUCCEEDED", 0)
			}
			for _, job := range jobs {
				if end := r.waitEnd(job.ID); !*end.Complete {
					t.Errorf("end event %+v", end)
				}
				r.checkLines(job.ID, job.Log())
			}
			if n := head.PeakTails(); n > test.tails {
				t.Errorf("%d tails were open at the same time", n)
			}
			warned := strings.Count(r.logText(), "blocks a node's job agent")
			if want := min(test.tails, 1); warned != want {
				t.Errorf("%d warnings, want %d", warned, want)
			}
		})
	}
}

// The text of a removed file is empty like that of an empty file:
// it does not make a log count as replaced.
func TestOldRay_EmptyTextIsNotReplacedLog(t *testing.T) {
	t.Parallel()
	head := raytest.New(t, raytest.RayVersion("2.30.0"))
	o := fastOptions(tail.ProtocolAuto)
	o.LostAfter = 200 * time.Millisecond
	r := newHarness(t, head, "off", o, writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("a line\n")
	r.until("its line is shipped", func() bool { return len(r.records("job-1")) > 3 })
	job.RemoveLog()
	job.End("SUCCEEDED", 0)
	if end := r.waitEnd("job-1"); *end.Complete || end.Epoch != 0 {
		t.Errorf("end event %+v", end)
	}
}
