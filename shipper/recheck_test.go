package shipper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/shipper/record"
)

// fastChecks returns fastOptions with checks soon after the end.
func fastChecks(protocol string) Options {
	o := fastOptions(protocol)
	o.Recheck = []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, time.Second}
	return o
}

// eventsOf returns the events of a job in order.
func (r *harness) eventsOf(id string) string {
	var all []string
	for _, rec := range r.records(id) {
		if rec.Event != "" {
			all = append(all, rec.Event)
		}
	}
	return strings.Join(all, " ")
}

// What children print after the end is shipped in the same epoch, each line once, and
// followed by an end event of its own.
// The checks wait until the sink has accepted the end of the log.
func TestRecheck_SinkBlockedAtEnd(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "on", fastChecks(tail.ProtocolHTTP), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("a line\n")
	r.until("its line is shipped", func() bool { return len(r.events("job-1", "")) == headLines+1 })
	r.sink.setBlocked(true)
	job.End("SUCCEEDED", 0)
	r.until("the tail has ended", func() bool { return r.shipper.tail("job-1") == nil })
	<-time.After(4 * fastChecks("").Recheck[0])
	if n := r.metric("end_checks_total"); n != 0 {
		t.Errorf("%v checks before the end was written", n)
	}
	r.sink.setBlocked(false)
	r.until("the end was checked", func() bool { return r.metric("end_checks_total", "result", "same") == 3 })
}

func TestRecheck_LinesAfterEnd(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		for _, newline := range []string{"\n", ""} {
			head := raytest.New(t)
			r := newHarness(t, head, agents, fastChecks(protocol), writer.Options{})
			job := head.Submit("job-1", raytest.JobOptions{})
			job.Print("early" + newline)
			job.End("SUCCEEDED", 0)
			r.waitEnd("job-1")
			for i := range 3 {
				job.Printf("\nlate %d\nand its second line"+newline, i)
				r.until("the log has another end event", func() bool { return len(r.events("job-1", record.EventEnd)) == i+2 })
			}
			r.checkLines("job-1", job.Log())
			if got, want := r.eventsOf("job-1"), "start end reopened end reopened end reopened end"; got != want {
				t.Errorf("events: %s, want %s", got, want)
			}
			for _, end := range r.events("job-1", record.EventEnd) {
				if !*end.Complete || end.Status != "SUCCEEDED" || end.Epoch != 0 {
					t.Errorf("end event %+v", end)
				}
			}
			r.until("the last end was checked, too", func() bool { return r.metric("end_checks_total", "result", "same") >= 3 })
			if n := r.metric("end_checks_total", "result", "grown"); n != 3 || r.metric("gaps_total") != 0 {
				t.Errorf("%v checks found a grown log, want 3; %v gaps, want none", n, r.metric("gaps_total"))
			}
			r.stop()
		}
	})
}

// A log that grows after its end is read until it is silent.
func TestRecheck_ReopenedLogEndsOnceSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &agentOnly{log: numbered(0, 10, "\n")}
		recs := shipAgentOnly(t, a, func(*Shipper) {
			time.Sleep(time.Second)
			a.change(func() { a.over = true })
			for i := range 120 { // its children print for two minutes
				time.Sleep(time.Second)
				a.change(func() { a.log = append(a.log, numbered(10+i, 11+i, "\n")...) })
			}
			time.Sleep(10 * time.Minute)
		})
		if err := compareLines(recs, a.log); err != nil {
			t.Error(err)
		}
		var ends []jsonRecord
		for _, rec := range recs {
			if rec.Event == record.EventEnd {
				ends = append(ends, rec)
			}
		}
		if len(ends) != 2 || *ends[1].Lines != 130 {
			t.Errorf("ends: %+v", ends)
		}
	})
}

// Ended jobs have no goroutines, and the rate of their checks is bounded.
func TestRecheck_Bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &agentOnly{log: []byte("a line\n")}
		shipAgentOnly(t, a, func(s *Shipper) {
			time.Sleep(time.Second)
			a.change(func() { a.over = true })
			time.Sleep(time.Minute)
			log, ok := s.out.Positions.ReadToEnd(s.currentKey("job"), a.job().Start)
			if !ok {
				t.Fatal("the job has no end")
			}
			for i := range 5000 {
				id := fmt.Sprintf("job-%d", i)
				s.out.Positions.Accept(s.out.Positions.Log(s.currentKey(id), ray.Job{}).Entry, log.State)
				s.scheduleRecheck(id, a.job().Start, 0)
			}
			a.change(func() { a.from = nil })
			time.Sleep(15 * time.Second)
			for range 10 {
				time.Sleep(10 * time.Second)
				a.change(func() {
					if n := len(a.from); n == 0 || n > 10*recheckRate+recheckBurst {
						t.Errorf("%d reads in ten seconds", n)
					}
					a.from = nil
				})
			}
			time.Sleep(time.Hour)
			s.rechecks.mu.Lock()
			defer s.rechecks.mu.Unlock()
			if n := len(s.rechecks.queue); n != 0 {
				t.Errorf("%d checks are scheduled after an hour", n)
			}
		})
	})
}

// What is printed after the end while raytap is down is found after its start, and
// a job that is deleted is checked immediately.
func TestRecheck_Restart(t *testing.T) {
	t.Parallel()
	for _, deleted := range []bool{false, true} {
		t.Run(fmt.Sprintf("deleted=%v", deleted), func(t *testing.T) {
			head := raytest.New(t)
			file := filepath.Join(t.TempDir(), "lines.jsonl")
			o := fastChecks(tail.ProtocolAuto)
			o.Recheck = []time.Duration{time.Hour}
			oo := writer.Options{Interval: 3 * time.Millisecond}
			r := newHarnessWithFile(t, head, "on", o, oo, file)
			job := head.Submit("job-1", raytest.JobOptions{})
			job.Print("early\n")
			job.End("SUCCEEDED", 0)
			r.waitEnd("job-1")
			if deleted {
				job.Print("late\n")
				job.Delete()
			} else {
				r.stop()
				job.Print("late\n")
				r = newHarnessWithFile(t, head, "on", fastChecks(tail.ProtocolAuto), oo, file)
			}
			r.until("the log has another end event", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
			r.checkLines("job-1", job.Log())
		})
	}
}

// Whatever records of a reopened log and its second end the sink
// holds when the process is killed, each record is written once.
func TestRecheck_KilledAroundReopenedEnd(t *testing.T) {
	t.Parallel()
	records := []string{"reopened", "line", "line", "end"}
	for missing := range len(records) + 1 {
		t.Run(fmt.Sprintf("%d records missing", missing), func(t *testing.T) {
			t.Parallel()
			head := raytest.New(t)
			file := filepath.Join(t.TempDir(), "lines.jsonl")
			never := writer.Options{Interval: time.Hour} // positions are saved at checkpoints only
			r := newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolHTTP), never, file)
			job := head.Submit("job-1", raytest.JobOptions{})
			job.Print("early\n")
			job.End("FAILED", 1)
			r.waitEnd("job-1")
			r.kill() // the end is pending, and written
			o := fastChecks(tail.ProtocolHTTP)
			cut := missing
			if missing > 1 { // the last save is that of the reopened log
				o.GracePeriod, cut = time.Hour, missing-1
			}
			r = newHarnessWithFile(t, head, "on", o, never, file)
			job.Print("late\nand its second line\n")
			if missing > 1 {
				r.until("the late lines are shipped", func() bool { return len(r.records("job-1")) == 8 })
			} else {
				r.until("the log has another end event", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
			}
			r.kill()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for range cut {
				b = b[:strings.LastIndex(strings.TrimSuffix(string(b), "\n"), "\n")+1]
			}
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second one starts from the files of the first
				r = newHarnessWithFile(t, head, "on", fastChecks(tail.ProtocolHTTP), never, file)
				r.until("the log has another end event", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
				r.until("the end was checked", func() bool { return r.metric("end_checks_total") > 0 })
				r.kill()
			}
			r.checkLines("job-1", job.Log())
			if got := r.eventsOf("job-1"); got != "start end reopened end" {
				t.Errorf("events: %s", got)
			}
		})
	}
}

// An older copy of the positions, from before a log was reopened, has it as ended:
// the records in the sink are newer.
func TestRecheck_OlderPositionsFile(t *testing.T) {
	p, err := checkpoint.Open("")
	if err != nil {
		t.Fatal(err)
	}
	k := checkpoint.Key{Cluster: "c", Session: "s", SubmissionID: "job"}
	l := p.Log(k, ray.Job{})
	next := l.State
	next.Pos.Lines, next.Begun, next.Done, next.AtEnd = 3, true, true, true
	p.Accept(l.Entry, next)
	find := func(rest string) {
		t.Helper()
		record := `{"time":"2026-11-24T12:00:01Z","ray_cluster":"c","session":"s","submission_id":"job","epoch":0,` + rest + `}`
		if err := p.Recovered([]byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	find(`"seq":3,"event":"reopened","message":"m"`)
	find(`"seq":3,"message":"m"`)
	if l = p.Log(k, ray.Job{}); l.Done || l.Written[0] != 4 {
		t.Errorf("done %v, next line %d", l.Done, l.Written[0])
	}
}

func TestRecheck_Schedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rechecks
		start := time.Now()
		for id, after := range map[string]time.Duration{"third": 3 * time.Minute, "first": time.Minute, "dropped": 2 * time.Minute} {
			r.add(recheck{id: id, due: start.Add(after)})
		}
		go func() {
			time.Sleep(90 * time.Second) // while next waits
			r.add(recheck{id: "second", due: start.Add(2 * time.Minute)})
			r.forget("dropped")
		}()
		for i, want := range []string{"first", "second", "third"} {
			c, err := r.next(t.Context())
			if err != nil || c.id != want {
				t.Fatalf("check %d is %q, want %q: %v", i, c.id, want, err)
			}
			if at := time.Since(start); at != time.Duration(i+1)*time.Minute {
				t.Errorf("check %q is made after %s", want, at)
			}
		}
		r.markGrown("a", start)
		if grown := r.takeGrown(); len(grown) != 1 || len(r.takeGrown()) != 0 {
			t.Errorf("grown logs are %v, want one, once", grown)
		}
		r.add(recheck{id: "a", due: start.Add(time.Hour)})
		r.clear()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		if c, err := r.next(ctx); err == nil {
			t.Errorf("check %q is made after clear", c.id)
		}
	})
}

// A check that fails is repeated soon: the next one of the series may be minutes away.
func TestRecheck_FailedIsRepeated(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	o := fastChecks(tail.ProtocolHTTP)
	o.Recheck = []time.Duration{50 * time.Millisecond, time.Hour}
	r := newHarness(t, head, "off", o, writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("early\n")
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	fault := head.Inject(raytest.Fault{Endpoint: raytest.EndpointLogFile, Job: "job-1"})
	job.Print("late\n")
	r.until("a check has failed", func() bool { return r.metric("end_checks_total", "result", "failed") > 0 })
	fault.Remove()
	r.until("the log has another end event", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
	r.checkLines("job-1", job.Log())
}
