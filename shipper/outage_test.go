package shipper

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/shipper/slots"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray/raytest"
	"raytap/shipper/record"
)

func TestOutage_DashboardDown(t *testing.T) {
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		r := newHarness(t, head, agents, fastOptions(protocol), writer.Options{})
		var jobs []*raytest.Job
		for i := range 3 {
			jobs = append(jobs, head.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{}))
		}
		for round := range 3 {
			for _, j := range jobs {
				j.Printf("before outage %d\n", round)
			}
			r.until("the lines are shipped", func() bool {
				recs := r.records(jobs[0].ID)
				return len(recs) > 0 && strings.HasSuffix(recs[len(recs)-1].Message, fmt.Sprint("outage ", round))
			})
			if round == 2 {
				break
			}
			head.Down()
			<-time.After(100 * time.Millisecond) // many attempts
			if err := head.Up(); err != nil {
				t.Fatal(err)
			}
		}
		for _, j := range jobs {
			log := j.Log()
			j.End("SUCCEEDED", 0)
			r.waitEnd(j.ID)
			r.checkLines(j.ID, log)
		}
	})
}

func TestSlots_RefusedConnectionHoldsNone(t *testing.T) {
	head := raytest.New(t)
	o := fastOptions(tail.ProtocolWebSocket)
	o.MaxTails = 2
	r := newHarness(t, head, "off", o, writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("a line\n")
	r.until("a tail is open", func() bool { return head.OpenTails() == 1 })
	head.Down()
	r.until("some dials were refused", func() bool { return r.metric("read_ends_total", "reason", "connection") > 3 })
	if held := r.metric("stream_slots_in_use"); held != 1 {
		t.Errorf("%v slots in use, want 1, of the tail that was cut", held)
	}
	if err := head.Up(); err != nil {
		t.Fatal(err)
	}
	r.until("the job is tailed again", func() bool { return head.OpenTails() == 1 })
}

func TestSlots_HeldUntilOutputOrEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slots.New(3, nil, func(map[string]int) {})
		for _, job := range []string{"a", "b", "c"} {
			if !s.Acquire(job) {
				t.Fatal("no slot")
			}
			s.Closed(job, false)
		}
		time.Sleep(24 * time.Hour)
		if s.Acquire("d") {
			t.Error("the slot of a silent job was released")
		}
		s.Printed("a")
		time.Sleep(releaseDelay - time.Second)
		if s.Acquire("d") {
			t.Error("a slot was released before Ray could notice")
		}
		time.Sleep(2 * time.Second)
		if !s.Acquire("d") || s.Acquire("e") {
			t.Error("not exactly one slot was released")
		}
		s.Ended("b")
		if !s.Acquire("e") || s.Count() != 3 {
			t.Error("the end of a job released no slot")
		}
	})
}

// Long lines at the end of a log exceed the window of lines that are requested.
func TestTail_EndAfterLongLines(t *testing.T) {
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
