package shipper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/record"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

// A log that can still be read is read to its end, also if its id was
// submitted again on another node before the next job list.
func TestResubmit_OldLogReadToEnd(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		if protocol == tail.ProtocolWebSocket {
			t.Skip("a tail cannot select the node, it is of the new run")
		}
		for _, pending := range []bool{false, true} {
			for _, down := range []bool{false, true} {
				head := raytest.New(t)
				node, err := head.AddNode("127.0.0.2")
				if err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(t.TempDir(), "lines.jsonl")
				oo := writer.Options{Interval: 3 * time.Millisecond}
				o := fastOptions(protocol)
				o.Interval = 100 * time.Millisecond
				r := newHarnessWithFile(t, head, agents, o, oo, file)
				job := head.Submit("job-1", raytest.JobOptions{})
				job.Print("of the first run\n")
				r.until("its first line is shipped", func() bool { return len(r.records("job-1")) >= 4 })
				if down {
					r.stop()
				}
				job.Print("the last words of it")
				first := job.Log()
				job.End("SUCCEEDED", 0)
				again := head.Submit("job-1", raytest.JobOptions{Node: node, Pending: pending, Start: job.StartTime().Add(time.Second)})
				if !pending {
					again.Print("of the second run\n")
				}
				if down {
					r = newHarnessWithFile(t, head, agents, o, oo, file)
				}
				r.waitEnd("job-1")
				if pending {
					again.Run()
					again.Print("of the second run\n")
				}
				again.End("SUCCEEDED", 0)
				r.until("both runs have ended", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
				name := fmt.Sprintf("pending %v, down %v", pending, down)
				for epoch, log := range [][]byte{first, again.Log()} {
					var recs []jsonRecord
					for _, rec := range r.records("job-1") {
						if rec.Epoch == uint64(epoch) {
							rec.Epoch = 0
							recs = append(recs, rec)
						}
					}
					if err := compareLines(recs, log); err != nil {
						t.Errorf("%s: epoch %d: %v", name, epoch, err)
					}
				}
				if got := r.eventsOf("job-1"); got != "start end start end" {
					t.Errorf("%s: events %s", name, got)
				}
				for i, end := range r.events("job-1", record.EventEnd) {
					if !*end.Complete || end.Status == "RUNNING" || *end.Lines != uint64(4-i) {
						t.Errorf("%s: end event %+v, complete %v, %d lines", name, end, *end.Complete, *end.Lines)
					}
				}
				r.stop()
			}
		}
	})
}

// A node that does not respond delays the new run for a bounded time.
func TestResubmit_UnreadableOldLogDelaysBriefly(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	node, err := head.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	o := fastOptions(tail.ProtocolHTTP)
	o.LostAfter = 200 * time.Millisecond
	r := newHarness(t, head, "on", o, writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{Node: node})
	r.until("its first line is shipped", func() bool { return len(r.records("job-1")) >= 3 })
	node.AgentDown()
	job.Print("lost\n")
	job.End("FAILED", 1)
	again := head.Submit("job-1", raytest.JobOptions{Start: job.StartTime().Add(time.Second)})
	again.End("SUCCEEDED", 0)
	r.until("both runs have ended", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
	if ends := r.events("job-1", record.EventEnd); *ends[0].Complete || !*ends[1].Complete || !strings.HasPrefix(r.eventsOf("job-1"), "start gap end start") {
		t.Errorf("events %s", r.eventsOf("job-1"))
	}
}

// A tail selects a log by its id only. If another run has the id on another node, a
// replay is of the log of the new run and proves nothing about the old one, which must
// not be reported as lost.
func TestResubmit_OldLogNotReadByTail(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	node, err := head.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	o := fastOptions(tail.ProtocolWebSocket)
	o.LostAfter = time.Second
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo := writer.Options{Interval: 3 * time.Millisecond}
	r := newHarnessWithFile(t, head, "off", o, oo, file)
	job := head.Submit("job-1", raytest.JobOptions{})
	for range 200 { // longer than the log of the new run
		job.Print("of the first run\n")
	}
	r.until("its first line is shipped", func() bool { return len(r.records("job-1")) >= 203 })
	r.stop() // so that only a replay can verify the position
	job.End("SUCCEEDED", 0)
	again := head.Submit("job-1", raytest.JobOptions{Node: node, Start: job.StartTime().Add(time.Second)})
	again.Print("of the second run\n")
	again.End("SUCCEEDED", 0)
	r = newHarnessWithFile(t, head, "off", o, oo, file)
	r.until("both runs have ended", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
	if gaps := r.events("job-1", record.EventGap); len(gaps) != 0 {
		t.Errorf("the old log is reported as lost: %+v", gaps)
	}
}

func TestResubmit_SameLog(t *testing.T) {
	t.Parallel()
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

// A run that replaced another one while raytap was down is shipped, also if
// raytap is killed between the end event of the old and the start event of the new run.
func TestResubmit_KilledBetweenRuns(t *testing.T) {
	t.Parallel()
	for written := range 3 {
		t.Run(fmt.Sprintf("%d events written", written), func(t *testing.T) {
			head := raytest.New(t)
			file := filepath.Join(t.TempDir(), "lines.jsonl")
			never := writer.Options{Interval: time.Hour} // positions are saved at checkpoints only
			r := newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolHTTP), writer.Options{Interval: 3 * time.Millisecond}, file)
			job := head.Submit("job-1", raytest.JobOptions{})
			job.Print("of the first run\n")
			r.until("its first line is shipped", func() bool { return len(r.records("job-1")) >= 4 })
			r.stop()
			job = head.Submit("job-1", raytest.JobOptions{Start: job.StartTime().Add(time.Second)})
			job.Print("of the second run\n")
			r = newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolHTTP), never, file)
			r.until("the first line of the second run is shipped", func() bool { return len(r.records("job-1")) >= 8 })
			r.kill() // the last save has the end of the first run as pending
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			at := strings.Index(string(b), `"event":"end"`)
			if at < 0 {
				t.Fatal("the first run has no end event")
			}
			at = strings.LastIndex(string(b)[:at], "\n") + 1
			for range written {
				at += strings.Index(string(b)[at:], "\n") + 1
			}
			if err := os.Truncate(file, int64(at)); err != nil {
				t.Fatal(err)
			}
			r = newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolHTTP), never, file)
			job.Print("more of it\n")
			r.until("it is read on", func() bool { return strings.Contains(r.messages("job-1"), "more of it") })
			r.stop() // positions are saved at the stop
			r = newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolHTTP), never, file)
			job.Print("and the rest\n")
			log := job.Log()
			job.End("SUCCEEDED", 0)
			r.until("both runs have ended", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
			r.checkLines("job-1", log)
			order := ""
			for _, rec := range r.records("job-1") {
				order += rec.Event + " "
			}
			if got := strings.Join(strings.Fields(order), " "); got != "start end start end" {
				t.Errorf("events: %s", got)
			}
		})
	}
}

// A run that only the sink has records of, because raytap was killed before it saved
// any position of it, gets its end event when another run has replaced it.
func TestResubmit_RunNeverSaved(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	o := fastOptions(tail.ProtocolHTTP)
	r := newHarnessWithFile(t, head, "on", o, writer.Options{Interval: 3 * time.Millisecond}, file)
	r.stop()
	never := writer.Options{Interval: time.Hour}
	r = newHarnessWithFile(t, head, "on", o, never, file)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("of the first run\n")
	r.until("its first line is shipped", func() bool { return len(r.records("job-1")) >= 4 })
	r.kill()
	job = head.Submit("job-1", raytest.JobOptions{Start: job.StartTime().Add(time.Second)})
	r = newHarnessWithFile(t, head, "on", o, never, file)
	log := job.Log()
	job.End("SUCCEEDED", 0)
	r.until("both runs have ended", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
	r.checkLines("job-1", log)
	if first := r.events("job-1", record.EventEnd)[0]; *first.Complete || *first.Lines != 3 {
		t.Errorf("the end of the first run has %d lines, complete %v; want 3, false", *first.Lines, *first.Complete)
	}
}
