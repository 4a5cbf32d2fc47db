package shipper

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray/raytest"
	"raytap/shipper/record"
)

func TestDiscovery_JobEndedBeforeFirstList(t *testing.T) {
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		o := fastOptions(protocol)
		o.Interval = 300 * time.Millisecond
		r := newHarness(t, head, agents, o, writer.Options{})
		job := head.Submit("short", raytest.JobOptions{})
		job.Print("over before the first list\n")
		log := job.Log()
		job.End("SUCCEEDED", 0)
		r.waitEnd("short")
		r.checkLines("short", log)
	})
}

func TestBackfill_Modes(t *testing.T) {
	for backfill, want := range map[string][]string{
		BackfillRunning: {"running", "later"},
		BackfillAll:     {"finished", "running", "later"},
		BackfillNone:    {"later"},
	} {
		t.Run(backfill, func(t *testing.T) {
			t.Parallel()
			head := raytest.New(t)
			jobs := map[string]*raytest.Job{}
			for _, id := range []string{"finished", "running"} {
				jobs[id] = head.Submit(id, raytest.JobOptions{})
				jobs[id].Print("line of " + id + "\n")
			}
			jobs["finished"].End("SUCCEEDED", 0)
			o := fastOptions(tail.ProtocolHTTP)
			o.Backfill = backfill
			r := newHarness(t, head, "on", o, writer.Options{})
			jobs["later"] = head.Submit("later", raytest.JobOptions{})
			jobs["running"].End("SUCCEEDED", 0)
			jobs["later"].End("SUCCEEDED", 0)
			for _, id := range want {
				r.waitEnd(id)
				r.checkLines(id, jobs[id].Log())
			}
			shipped := 0
			for id := range jobs {
				if len(r.records(id)) > 0 {
					shipped++
				}
			}
			if shipped != len(want) {
				t.Errorf("%d jobs were shipped, want %d", shipped, len(want))
			}
		})
	}
}

func TestSlots_WithinBudget(t *testing.T) {
	head := raytest.New(t, raytest.SlotReleaseDelay(time.Hour))
	o := fastOptions(tail.ProtocolAuto)
	o.MaxTails = 5
	r := newHarness(t, head, "off", o, writer.Options{})
	var jobs []*raytest.Job
	for i := range 30 {
		jobs = append(jobs, head.Submit(fmt.Sprintf("silent-%d", i), raytest.JobOptions{}))
	}
	r.until("the first lines of each job are shipped", func() bool {
		for _, j := range jobs {
			if len(r.records(j.ID)) < 3 {
				return false
			}
		}
		return true
	})
	for range 4 { // closed tails of silent jobs keep their slots
		head.CutTails(raytest.CutReset, "")
		<-time.After(30 * time.Millisecond)
	}
	r.checkSlots(head, o.MaxTails)
	if peak := head.PeakTails(); peak == 0 || peak > o.MaxTails {
		t.Errorf("%d tails were open at the same time, the budget is %d", peak, o.MaxTails)
	}
	for _, j := range jobs {
		j.End("SUCCEEDED", 0)
	}
	for _, j := range jobs {
		r.waitEnd(j.ID)
		r.checkLines(j.ID, j.Log())
	}
	r.until("all slots are released", func() bool { return r.metric("stream_slots_in_use") == 0 })
}

func TestTail_ReplacedLogIsNewEpoch(t *testing.T) {
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

func TestResubmit_SameLog(t *testing.T) {
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		r := newHarness(t, head, agents, fastOptions(protocol), writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{})
		job.Print("first run\nno newline at its end")
		job.End("FAILED", 1)
		r.waitEnd("job-1")
		again := head.Submit("job-1", raytest.JobOptions{})
		again.Print("second run\n")
		again.End("SUCCEEDED", 0)
		r.until("both runs have an end event", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
		var got []string
		for _, rec := range r.records("job-1") {
			if rec.Event == "" && !strings.Contains(rec.Message, "Runtime env") && !strings.Contains(rec.Message, "Running entrypoint") {
				got = append(got, fmt.Sprintf("%d:%s", rec.Seq, rec.Message))
			}
		}
		for i, end := range r.events("job-1", record.EventEnd) {
			if want := []uint64{4, 3}[i]; *end.Lines != want || !*end.Complete || *end.ContentBytes == 0 {
				t.Errorf("end event of run %d: %d lines, want %d; %+v", i, *end.Lines, want, end)
			}
		}
		if want := "2:first run,3:no newline at its end,6:second run"; strings.Join(got, ",") != want {
			t.Errorf("lines %q, want %q", got, want)
		}
		if n := len(r.events("job-1", record.EventEpoch)); n != 0 {
			t.Errorf("%d epochs in a log that was only appended to", n)
		}
	})
}

func TestLimits_Stop(t *testing.T) {
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		o := fastOptions(protocol)
		o.Limits.MaxLines = 10
		r := newHarness(t, head, agents, o, writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{EmptyLog: true})
		for i := range 30 {
			job.Printf("line %d\n", i)
		}
		r.until("the limit event is written", func() bool { return len(r.events("job-1", record.EventLimit)) > 0 })
		job.End("SUCCEEDED", 0)
		r.until("the tail has ended", func() bool { return r.shipper.tail("job-1") == nil })
		recs := r.records("job-1")
		if n := len(recs); n != 12 || recs[10].Message != "line 9" || recs[11].Limit != "max_lines" || recs[11].Seq != 10 {
			t.Errorf("%d records, the last ones %+v", n, recs[max(0, n-2):])
		}
	})
}

func TestLimits_Pause(t *testing.T) {
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		o := fastOptions(protocol)
		o.Limits = tail.Limits{MaxLines: 7, Interval: 30 * time.Millisecond, Pause: true}
		r := newHarness(t, head, agents, o, writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{EmptyLog: true})
		for i := range 40 {
			job.Printf("line %d\n", i)
		}
		job.End("SUCCEEDED", 0)
		r.waitEnd("job-1")
		r.checkLines("job-1", job.Log())
		if len(r.events("job-1", record.EventLimit)) < 4 {
			t.Error("the limit was not exceeded: the test proves nothing")
		}
	})
}

func TestTail_DeadNode(t *testing.T) {
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

func TestSession_HeadRestart(t *testing.T) {
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		r := newHarness(t, head, agents, fastOptions(protocol), writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{})
		job.Print("of the first session\n")
		r.until("its first line is shipped", func() bool { return len(r.records("job-1")) >= 4 })
		first := head.Session()
		if err := head.Restart(raytest.RestartOptions{}); err != nil {
			t.Fatal(err)
		}
		end := r.waitEnd("job-1")
		if *end.Complete || end.Session != first {
			t.Errorf("end event %+v", end)
		}
		again := head.Submit("job-1", raytest.JobOptions{})
		again.Print("of the second session\n")
		again.End("SUCCEEDED", 0)
		r.until("the new session's job has ended", func() bool {
			ends := r.events("job-1", record.EventEnd)
			return len(ends) == 2 && ends[1].Session == head.Session() && *ends[1].Complete
		})
	})
}

func TestTail_JobWithoutLog(t *testing.T) {
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

func TestMemory_SinkBlocked(t *testing.T) {
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		o := fastOptions(protocol)
		r := newHarness(t, head, agents, o, writer.Options{Memory: 1 << 20})
		r.sink.setBlocked(true)
		var jobs []*raytest.Job
		for i := range 4 {
			j := head.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{})
			jobs = append(jobs, j)
			for range 25 {
				j.Print(strings.Repeat("0123456789", 2000) + "\n")
			}
		}
		r.until("memory is in use", func() bool { return r.metric("memory_bytes") > 1<<19 })
		if used := r.metric("memory_bytes"); used > 1<<20+4*6*float64(256<<10) {
			t.Errorf("%v bytes of memory are in use", used)
		}
		r.sink.setBlocked(false)
		for _, j := range jobs {
			log := j.Log()
			j.End("SUCCEEDED", 0)
			r.waitEnd(j.ID)
			r.checkLines(j.ID, log)
		}
	})
}

func TestMemory_PartialLinesHoldAll(t *testing.T) {
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		o := fastOptions(protocol)
		r := newHarness(t, head, agents, o, writer.Options{Memory: 600 << 10})
		var jobs []*raytest.Job
		for i := range 8 {
			j := head.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{})
			jobs = append(jobs, j)
			j.Print(strings.Repeat("part of a line ", 9_000))
		}
		r.until("all jobs are tailed", func() bool {
			for _, j := range jobs {
				if len(r.records(j.ID)) < 3 {
					return false
				}
			}
			return true
		})
		for _, j := range jobs {
			j.Print("\n")
			j.End("SUCCEEDED", 0)
		}
		for _, j := range jobs {
			r.waitEnd(j.ID)
			r.checkLines(j.ID, j.Log())
		}
	})
}
