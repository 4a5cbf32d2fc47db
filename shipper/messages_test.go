package shipper

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/lines/linestest"
	"raytap/ray"
	"raytap/shipper/record"
)

// newMessageHarness starts a shipper on an agent; file is as of newHarnessWithFile.
func newMessageHarness(t *testing.T, a *fakeAgent, o Options, oo writer.Options, file string) *harness {
	t.Helper()
	return newHarnessFor(t, func(out *writer.Writer, o Options) *Shipper { return NewMessageShipper(a, a, out, o) }, o, oo, file)
}

// eachFraming runs f for both framings of messages and each protocol.
func eachFraming(t *testing.T, f func(t *testing.T, a *fakeAgent, protocol string)) {
	for _, lines := range []bool{false, true} {
		for _, protocol := range []string{tail.ProtocolAuto, tail.ProtocolWebSocket, tail.ProtocolHTTP} {
			t.Run(fmt.Sprintf("lines=%v/%s", lines, protocol), func(t *testing.T) {
				t.Parallel()
				a := newFakeAgent()
				a.lines = lines
				f(t, a, protocol)
			})
		}
	}
}

// printMixed prints lines, also blank and partial ones.
func (a *fakeAgent) printMixed(id string, from, n int, pause func()) {
	for i := from; i < from+n; i++ {
		a.print(id, "line %d of an ordinary log ☃\n", i)
		switch i % 7 {
		case 1:
			a.print(id, "\n")
		case 3:
			a.print(id, "%d: part of a li", i)
			pause()
			a.print(id, "ne, and the rest\n")
		case 5:
			a.print(id, "progress 1\rprogress 2\r\n")
		}
		pause()
	}
}

func shortPause() { <-time.After(time.Duration(rand.IntN(3)) * time.Millisecond) }

func TestMessages_EveryLineOnce(t *testing.T) {
	t.Parallel()
	eachFraming(t, func(t *testing.T, a *fakeAgent, protocol string) {
		a.cuts = 0.02
		r := newMessageHarness(t, a, fastOptions(protocol), writer.Options{}, "")
		a.submit("job-1")
		a.printMixed("job-1", 0, 200, shortPause)
		a.print("job-1", "no newline at the end")
		a.end("job-1", ray.JobFailed)
		end := r.waitEnd("job-1")
		r.checkLines("job-1", a.text("job-1"))
		if !*end.Complete || end.Status != "FAILED" || r.metric("gaps_total") != 0 {
			t.Errorf("end event %+v, %v gaps", end, r.metric("gaps_total"))
		}
	})
}

func TestMessages_Restart(t *testing.T) {
	t.Parallel()
	eachFraming(t, func(t *testing.T, a *fakeAgent, protocol string) {
		a.cuts = 0.005
		file := filepath.Join(t.TempDir(), "lines.jsonl")
		oo := writer.Options{Interval: 3 * time.Millisecond}
		r := newMessageHarness(t, a, fastOptions(protocol), oo, file)
		r.until("a position is saved", func() bool { _, err := os.Stat(file + ".positions"); return err == nil })
		a.submit("job-1")
		for i := range 6 {
			a.printMixed("job-1", 50*i, 50, shortPause)
			if i%2 == 0 {
				r.kill()
			} else {
				r.stop()
			}
			a.print("job-1", "printed while raytap was down, round %d\n", i)
			// Over the same transport again, and over each other one.
			next := []string{protocol, tail.ProtocolHTTP, tail.ProtocolWebSocket}[i%3]
			r = newMessageHarness(t, a, fastOptions(next), oo, file)
		}
		a.end("job-1", ray.JobSucceeded)
		end := r.waitEnd("job-1")
		r.checkLines("job-1", a.text("job-1"))
		if !*end.Complete || len(r.events("job-1", record.EventStart)) != 1 {
			t.Errorf("end event %+v, %d start events", end, len(r.events("job-1", record.EventStart)))
		}
		r.stop()
		saved, err := os.ReadFile(file + ".positions")
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{false: `:"text"`, true: `:"lines"`}[a.lines]; !bytes.Contains(saved, []byte(want)) {
			t.Errorf("the positions do not have the framing %s", want)
		}
	})
}

func TestMessages_ErrorEventFallsBack(t *testing.T) {
	t.Parallel()
	for _, lines := range []bool{false, true} {
		a := newFakeAgent()
		a.lines = lines
		r := newMessageHarness(t, a, fastOptions(tail.ProtocolAuto), writer.Options{}, "")
		failed := false
		a.next = func(socket bool, _ string, n int) error {
			if socket && n >= 30 {
				failed = true
				return &ray.Error{Op: "tail job", Code: 500, Detail: "the log cannot be read"}
			}
			return nil
		}
		a.submit("job-1")
		a.printMixed("job-1", 0, 100, shortPause)
		r.until("the WebSocket failed", func() bool { return a.count(func() int { return a.dials[false] }) > 0 })
		a.printMixed("job-1", 100, 20, shortPause)
		a.end("job-1", ray.JobSucceeded)
		r.waitEnd("job-1")
		r.checkLines("job-1", a.text("job-1"))
		if !failed {
			t.Error("nothing failed")
		}
		if n := a.count(func() int { return a.dials[true] }); n != 1 {
			t.Errorf("%d WebSockets were dialled, want 1: a transport that failed is not used for a while", n)
		}
		r.stop()
	}
}

func TestMessages_RefusedUpgradeHoldsForAllJobs(t *testing.T) {
	t.Parallel()
	a := newFakeAgent()
	a.refuse = true
	r := newMessageHarness(t, a, fastOptions(tail.ProtocolAuto), writer.Options{}, "")
	for i := range 4 {
		id := fmt.Sprint("job-", i)
		a.submit(id)
		a.print(id, "a line\n")
		r.until("its first line is shipped", func() bool { return len(r.records(id)) == 2 })
	}
	if n := a.count(func() int { return a.dials[true] }); n != 1 {
		t.Errorf("%d WebSockets were tried, want 1", n)
	}
}

func TestMessages_ReplaysBoundedAfterRestart(t *testing.T) {
	t.Parallel()
	a := newFakeAgent()
	a.cut = func(rest []byte) int { return min(len(rest), 8<<10) }
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo, o := writer.Options{Interval: 3 * time.Millisecond}, fastOptions(tail.ProtocolWebSocket)
	o.MaxTails = 64
	r := newMessageHarness(t, a, o, oo, file)
	const jobs = 10
	for i := range jobs {
		id := fmt.Sprint("job-", i)
		a.submit(id)
		a.print(id, "%s", strings.Repeat("a line of some length, so that it is worth a turn\n", 3000))
	}
	for i := range jobs {
		r.until("all lines are shipped", func() bool { return len(r.records(fmt.Sprint("job-", i))) == 3001 })
	}
	r.stop()
	hang := true
	a.next = func(_ bool, _ string, n int) error {
		if hang && n >= 2 {
			return errHang
		}
		return nil
	}
	r = newMessageHarness(t, a, o, oo, file)
	r.until("the maximum of replays is running", func() bool { return a.count(func() int { return a.open }) == maxConcurrentReplays })
	<-time.After(100 * time.Millisecond)
	if n := a.count(func() int { return a.open }); n != maxConcurrentReplays {
		t.Errorf("%d replays at the same time, want %d", n, maxConcurrentReplays)
	}
	a.change(func() { hang = false })
	r.until("all jobs are tailed", func() bool { return a.count(func() int { return a.open }) == jobs })
	for i := range jobs {
		r.checkLines(fmt.Sprint("job-", i), a.text(fmt.Sprint("job-", i)))
	}
}

func TestMessages_SilentStreamClosed(t *testing.T) {
	t.Parallel()
	a := newFakeAgent()
	dead := true
	a.next = func(socket bool, _ string, n int) error {
		if socket && dead && n >= 10 {
			return errHang
		}
		return nil
	}
	o := fastOptions(tail.ProtocolWebSocket)
	o.Timeout = 40 * time.Millisecond
	r := newMessageHarness(t, a, o, writer.Options{}, "")
	a.submit("job-1")
	a.printMixed("job-1", 0, 30, shortPause)
	r.until("the stream was closed as silent", func() bool { return r.metric("read_ends_total", "reason", "silent") > 0 })
	a.change(func() { dead = false })
	want := len(linestest.Lines(a.text("job-1")))
	r.until("all lines are shipped while the job runs", func() bool { return len(r.records("job-1")) == want+1 })
	r.checkLines("job-1", a.text("job-1"))
}

func TestMessages_RetryAfter(t *testing.T) {
	t.Parallel()
	a := newFakeAgent()
	busy := true
	a.next = func(bool, string, int) error {
		if busy {
			return &ray.Error{Op: "tail job", Code: 429, Status: 429, RetryAfter: time.Hour}
		}
		return nil
	}
	r := newMessageHarness(t, a, fastOptions(tail.ProtocolHTTP), writer.Options{}, "")
	a.submit("job-1")
	a.print("job-1", "a line\n")
	r.until("the agent has responded with Retry-After", func() bool { return r.metric("read_ends_total", "reason", "too_many_requests") > 0 })
	<-time.After(100 * time.Millisecond) // many times the longest backoff
	if n := a.count(func() int { return a.dials[false] }); n != 1 {
		t.Errorf("%d streams were requested within the hour", n)
	}
	a.change(func() { busy = false })
	a.end("job-1", ray.JobSucceeded) // the end of the job ends the pause
	r.waitEnd("job-1")
	r.checkLines("job-1", a.text("job-1"))
}

func TestMessages_SilentJobKeepsTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newFakeAgent()
		fail := false
		a.next = func(bool, string, int) error {
			if fail {
				fail = false
				return &ray.Error{Op: "tail job", Code: 503, Detail: "no byte for five minutes"}
			}
			return nil
		}
		r := newMessageHarness(t, a, fastOptions(tail.ProtocolAuto), writer.Options{}, "")
		a.submit("job-1")
		a.print("job-1", "a line\n")
		for range 5 {
			<-time.After(5 * time.Minute)
			a.change(func() { fail = true })
		}
		<-time.After(time.Minute)
		if n := r.metric("transport_fallbacks_total"); n != 0 {
			t.Errorf("%v transport fallbacks, want none", n)
		}
		if n := a.count(func() int { return a.dials[true] }); n != 6 {
			t.Errorf("%d streams were opened, want 6", n)
		}
		r.stop()
	})
}

func TestMessages_Limit(t *testing.T) {
	t.Parallel()
	for _, lines := range []bool{false, true} {
		a := newFakeAgent()
		a.lines = lines
		a.cut = func(rest []byte) int { return bytes.IndexByte(rest, '\n') + 1 }
		o := fastOptions(tail.ProtocolHTTP)
		o.Limits.MaxMessages = 5
		r := newMessageHarness(t, a, o, writer.Options{}, "")
		a.submit("job-1")
		a.print("job-1", "%s", strings.Repeat("a line\n", 3))
		r.until("three lines are shipped", func() bool { return len(r.records("job-1")) == 4 })
		// Replayed messages do not count.
		a.change(func() { a.next = func(bool, string, int) error { return &ray.Error{Op: "tail job", Code: 503} } })
		r.until("the stream has ended with an error", func() bool { return r.metric("read_ends_total", "reason", "connection") > 0 })
		a.change(func() { a.next = nil })
		r.until("the three messages were sent again", func() bool { return a.count(func() int { return a.sent }) == 6 })
		a.print("job-1", "%s", strings.Repeat("a line\n", 10))
		r.until("the limit is exceeded", func() bool { return len(r.events("job-1", record.EventLimit)) == 1 })
		// The message that exceeds the limit was received before it was counted.
		if n := len(r.records("job-1")); n != 1+6+1 {
			t.Errorf("%d records, want 8: start, 6 lines, limit", n)
		}
		r.stop()
	}
}

func TestMessages_MoreJobsThanStreams(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{tail.ProtocolAuto, tail.ProtocolWebSocket, tail.ProtocolHTTP} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			a := newFakeAgent()
			o := fastOptions(protocol)
			o.MaxTails = 3
			r := newMessageHarness(t, a, o, writer.Options{}, "")
			const jobs = 12
			id := func(i int) string { return fmt.Sprint("job-", i) }
			for i := range jobs {
				a.submit(id(i))
			}
			for i := range jobs {
				a.printMixed(id(i), 0, 10, func() {})
			}
			for i := range jobs {
				want := len(linestest.Lines(a.text(id(i)))) + 1
				r.until("all lines of a running job are shipped", func() bool { return len(r.records(id(i))) == want })
			}
			for i := range jobs {
				a.end(id(i), ray.JobSucceeded)
			}
			for i := range jobs {
				r.waitEnd(id(i))
				r.checkLines(id(i), a.text(id(i)))
			}
			if most := a.count(func() int { return a.most }); most > o.MaxTails {
				t.Errorf("%d streams were open at the same time, max_tails is %d", most, o.MaxTails)
			}
		})
	}
}

func TestMessages_Resubmit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text  string // of the second run's log
		epoch uint64 // of its lines
		seq   uint64 // of its end
	}{
		"the log goes on":             {"a\nb\nc\nd\n", 0, 4},
		"another log, longer":         {"x\ny\nz\nw\n", 1, 4},
		"another log, shorter":        {"x\n", 1, 1},
		"the same beginning, shorter": {"a\n", 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newFakeAgent()
			o := fastOptions(tail.ProtocolAuto)
			o.Timeout = 300 * time.Millisecond
			r := newMessageHarness(t, a, o, writer.Options{}, "")
			a.submit("job-1")
			a.print("job-1", "a\nb\n")
			a.end("job-1", ray.JobSucceeded)
			r.waitEnd("job-1")
			<-time.After(2 * time.Millisecond) // for another start_time
			a.submit("job-1")
			a.print("job-1", "%s", tt.text)
			r.until("its lines are shipped", func() bool {
				recs := r.records("job-1")
				last := recs[len(recs)-1]
				return last.Epoch == tt.epoch && last.Event == "" && last.Seq == tt.seq-1
			})
			if n := r.metric("transport_fallbacks_total"); n != 0 {
				t.Errorf("%v transport fallbacks, want none", n)
			}
			a.end("job-1", ray.JobSucceeded)
			r.until("the second run has ended", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
			if end := r.events("job-1", record.EventEnd)[1]; end.Seq != tt.seq || end.Epoch != tt.epoch || !*end.Complete {
				t.Errorf("end event %+v", end)
			}
		})
	}
}
