package shipper

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/record"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

func TestTail_ReplacedLogIsNewEpoch(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		r := newHarness(t, head, agents, fastOptions(protocol), writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{})
		for i := range 50 {
			job.Printf("line %d of the first log\n", i)
		}
		r.until("the first log is shipped", func() bool { return len(r.records("job-1")) == 53 })
		job.ReplaceLog(strings.Repeat("another log\n", 3) + "end of it\n")
		head.CutTails(raytest.CutReset, "")
		r.until("the new epoch is reported", func() bool { return len(r.events("job-1", record.EventEpoch)) > 0 })
		job.Print("and more\n")
		job.End("SUCCEEDED", 0)
		end := r.waitEnd("job-1")
		// It counts the whole run, also the lines before the gap.
		if end.Epoch != 1 || *end.Lines != 52+5 || *end.Complete {
			t.Errorf("end event %+v, %d lines, complete %v", end, *end.Lines, *end.Complete)
		}
		var got []string
		for _, rec := range r.records("job-1") {
			if rec.Epoch == 1 && rec.Event == "" {
				got = append(got, rec.Message)
			}
		}
		if want := "another log,another log,another log,end of it,and more"; strings.Join(got, ",") != want {
			t.Errorf("the second epoch has %q", got)
		}
		if len(r.events("job-1", record.EventGap)) != 1 || r.metric("gaps_total") != 1 {
			t.Errorf("gap events %+v", r.events("job-1", record.EventGap))
		}
	})
}

func TestTail_DeadNode(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		node, err := head.AddNode("127.0.0.2")
		if err != nil {
			t.Fatal(err)
		}
		o := fastOptions(protocol)
		o.LostAfter = time.Second
		r := newHarness(t, head, agents, o, writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{Node: node})
		job.Print("the last that was read\n")
		r.until("its first line is shipped", func() bool { return len(r.records("job-1")) >= 4 })
		node.Kill()
		end := r.waitEnd("job-1")
		if *end.Complete || end.Status != "RUNNING" {
			t.Errorf("end event %+v", end)
		}
		if len(r.events("job-1", record.EventGap)) != 1 || r.metric("gaps_total") != 1 {
			t.Error("there is no gap event")
		}
	})
}

func TestTail_JobWithoutLog(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "on", fastOptions(tail.ProtocolAuto), writer.Options{})
	job := head.Submit("never", raytest.JobOptions{Pending: true})
	r.until("the start event is written", func() bool { return r.metric("tails", "state", "waiting") == 1 })
	if n := head.PeakTails(); n != 0 {
		t.Errorf("%d tails on a pending job", n)
	}
	job.End("FAILED", 1)
	end := r.waitEnd("never")
	if *end.Lines != 0 || !*end.Complete || end.Status != "FAILED" || len(r.records("never")) != 1 {
		t.Errorf("records %+v", r.records("never"))
	}
}

// Long lines at the end of a log exceed the window of lines that are requested.
func TestTail_EndAfterLongLines(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		o := fastOptions(protocol)
		o.Limits.MaxMessageSize = 4 << 20
		r := newHarness(t, head, agents, o, writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{})
		for i := range 2000 {
			job.Printf("short line %d\n", i)
		}
		for i := range 12 {
			job.Printf("long line %d %s\n", i, strings.Repeat("0123456789", 20_000))
		}
		job.Print(strings.Repeat("no newline at its end ", 70_000))
		log := job.Log()
		job.End("SUCCEEDED", 0)
		if end := r.waitEnd("job-1"); !*end.Complete {
			t.Errorf("end event %+v", end)
		}
		r.checkLines("job-1", log)
	})
}

// A tail that is cut at the same offset a few times may still pass it.
func TestTail_ClosedAtSameOffsetByChance(t *testing.T) {
	t.Parallel()
	for _, do := range []raytest.Action{raytest.CloseFrame, raytest.CutReset} {
		head := raytest.New(t)
		r := newHarness(t, head, "off", fastOptions(tail.ProtocolWebSocket), writer.Options{})
		in := head.Inject(raytest.Fault{Endpoint: raytest.EndpointTail, Action: do, AfterBytes: 1200, Times: 3})
		job := head.Submit("job-1", raytest.JobOptions{})
		for i := range 200 {
			job.Printf("line %d\n", i)
		}
		log := job.Log()
		job.End("SUCCEEDED", 0)
		end := r.waitEnd("job-1")
		r.checkLines("job-1", log)
		if !*end.Complete || in.Hits() != 3 {
			t.Errorf("end event %+v after %d cuts", end, in.Hits())
		}
		r.stop()
	}
}

// A log that no allowed transport can read is reported as lost when the job is over.
func TestTail_UnreadableByAllowedTransports(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "off", fastOptions(tail.ProtocolWebSocket), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("before\n\xff\nafter\n")
	job.End("FAILED", 1)
	if end := r.waitEnd("job-1"); *end.Complete || end.Status != "FAILED" || len(r.events("job-1", record.EventGap)) != 1 {
		t.Errorf("end event %+v, %d gaps", end, len(r.events("job-1", record.EventGap)))
	}
}

func TestTail_StatusShowsCurrentError(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		var faults []*raytest.Injected
		for _, endpoint := range []string{raytest.EndpointNodeAgent, raytest.EndpointTail, raytest.EndpointLogFile} {
			faults = append(faults, head.Inject(raytest.Fault{Endpoint: endpoint, Job: "job-1", Body: "the disk is gone"}))
		}
		r := newHarness(t, head, agents, fastOptions(protocol), writer.Options{})
		for _, id := range []string{"job-1", "job-2"} {
			head.Submit(id, raytest.JobOptions{}).Print("a line\n")
		}
		shown := func() (why []string) {
			for _, st := range r.shipper.Tails() {
				why = append(why, st.Error)
			}
			return why
		}
		r.until("the tail that fails shows an error", func() bool {
			why := shown()
			return len(why) == 2 && strings.Contains(why[0], "the disk is gone")
		})
		r.until("the line of the other job is shipped", func() bool { return len(r.records("job-2")) > 1 })
		if why := shown(); why[1] != "" {
			t.Errorf("error %q of a tail that reads", why[1])
		}
		for _, f := range faults {
			f.Remove()
		}
		r.until("the error is cleared", func() bool { return shown()[0] == "" })
	})
}

// A job that was deleted before its node was known may have printed.
func TestTail_DeletedBeforeNodeKnown(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "on", fastOptions(tail.ProtocolHTTP), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{Pending: true})
	r.until("the job is tailed", func() bool { return r.metric("tails") == 1 })
	job.Delete()
	if end := r.waitEnd("job-1"); *end.Complete || len(r.events("job-1", record.EventGap)) != 1 {
		t.Errorf("end event %+v, %d gaps", end, len(r.events("job-1", record.EventGap)))
	}
}

// The end of a run whose id has another start time reports what is known, and not
// that it was submitted again.
func TestTail_EndMessageOfReplacedRun(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "on", fastOptions(tail.ProtocolHTTP), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("one\n")
	r.until("its first line is shipped", func() bool { return strings.Contains(r.messages("job-1"), "one") })
	head.Submit("job-1", raytest.JobOptions{Start: job.StartTime().Add(time.Second)})
	r.until("it has an end event", func() bool { return len(r.events("job-1", record.EventEnd)) == 1 })
	if m := r.events("job-1", record.EventEnd)[0].Message; !strings.HasPrefix(m, "Ray now reports another start time for this id (") {
		t.Errorf("status_message %q", m)
	}
}

// Each new tail replays the log. When a run is over and the grace period of its children
// has passed, one is enough.
func TestTail_AtMostOneReplayAfterEnd(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.60.0", "2.40.0", "2.9.3"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			head := raytest.New(t, raytest.RayVersion(version))
			o := fastOptions(tail.ProtocolWebSocket)
			o.GracePeriod = time.Second
			r := newHarness(t, head, "off", o, writer.Options{})
			job := head.Submit("job-1", raytest.JobOptions{})
			job.Print("early\n")
			r.until("a tail is open", func() bool { return head.OpenTails() > 0 })
			job.End("SUCCEEDED", 0)
			r.until("the tail has ended", func() bool { return head.OpenTails() == 0 })
			<-time.After(o.GracePeriod / 10) // children of the job are still printing
			job.Print("late\nwithout a newline")
			if end := r.waitEnd("job-1"); !*end.Complete {
				t.Errorf("end event %+v", end)
			}
			r.checkLines("job-1", job.Log())
			if n := head.Requests(raytest.EndpointTail); n > 2 {
				t.Errorf("%d tails were opened", n)
			}
		})
	}
}

// A job that ended before it was listed is first read after its grace period.
func TestTail_EndedLogReadAfterGracePeriod(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	o := fastOptions(tail.ProtocolWebSocket)
	o.GracePeriod = time.Second
	r := newHarness(t, head, "off", o, writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("early\n")
	job.End("SUCCEEDED", 0)
	r.until("the start event is written", func() bool { return len(r.records("job-1")) > 0 })
	<-time.After(o.GracePeriod / 10)
	job.Print("late")
	r.waitEnd("job-1")
	r.checkLines("job-1", job.Log())
	if n := head.Requests(raytest.EndpointTail); n != 1 {
		t.Errorf("%d tails were opened", n)
	}
}

// Durations are measured by our clock. If Ray's clock is two minutes late or
// early, the grace period stays as long.
func TestTail_GracePeriodWithRayClockOff(t *testing.T) {
	for _, off := range []time.Duration{-2 * time.Minute, 2 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			a := &agentOnly{log: numbered(0, 10, "\n")}
			recs := shipAgentOnly(t, a, func(*Shipper) {
				time.Sleep(time.Second)
				a.change(func() { a.over, a.end = true, time.Now().Add(off) })
				time.Sleep(8 * time.Second) // it is listed, and its grace period has lasted less than 5 s
				a.change(func() { a.log = append(a.log, "of a child\n"...) })
				time.Sleep(time.Minute)
			})
			if err := compareLines(recs, a.log); err != nil {
				t.Error(err)
			}
			var events []string
			for _, r := range recs {
				if r.Event != "" {
					events = append(events, r.Event)
				}
			}
			if got := strings.Join(events, " "); got != "start end" {
				t.Errorf("Ray's clock is off by %s: events %s", off, got)
			}
		})
	}
}
