package shipper

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

func TestSlots_WithinBudget(t *testing.T) {
	t.Parallel()
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

// Ray holds the slot of a closed tail even if the list lacks its job, so it counts.
func TestSlots_HeldWhileListLacksJob(t *testing.T) {
	t.Parallel()
	head := raytest.New(t, raytest.SlotReleaseDelay(time.Hour))
	o := fastOptions(tail.ProtocolAuto)
	o.AbsentFor, o.MaxTails = time.Hour, 1
	r := newHarness(t, head, "off", o, writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	r.until("it is read by a tail", func() bool { return head.OpenTails() == 1 && len(r.records("job-1")) > 0 })
	r.until("the tail was cut", func() bool { return head.CutTails(raytest.CutReset, "") > 0 })
	r.until("its log is read over the transport file", func() bool { return head.Requests(raytest.EndpointLogFile) > 0 })
	list, heal := emptyHead(head)
	defer heal()
	r.waitLists(head, absentAnswers+2)
	if held := r.shipper.slotsInUse(); held != 1 || list.Hits() < absentAnswers {
		t.Errorf("%d slots in use, want 1; %d empty lists", held, list.Hits())
	}
	job.End("SUCCEEDED", 0)
}

func TestSlots_RefusedConnectionHoldsNone(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	o := fastOptions(tail.ProtocolWebSocket)
	o.MaxTails = 2
	r := newHarness(t, head, "off", o, writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("a line\n")
	r.until("a tail is open", func() bool { return head.OpenTails() == 1 })
	head.Down()
	r.until("some dials were refused", func() bool { return r.metric("read_ends_total", "reason", "connection") > 3 })
	// A dial holds a slot until it is refused.
	r.until("only the tail that was cut holds a slot", func() bool { return r.metric("stream_slots_in_use") == 1 })
	if err := head.Up(); err != nil {
		t.Fatal(err)
	}
	r.until("the job is tailed again", func() bool { return head.OpenTails() == 1 })
}

// A released slot is used at the next poll of a tail without one.
func TestSlots_FreeSlotIsUsed(t *testing.T) {
	for _, protocol := range []string{tail.ProtocolAuto, tail.ProtocolWebSocket} {
		synctest.Test(t, func(t *testing.T) {
			h := newBusyHead(20, &ray.Error{Op: "read log from node agent", Code: 403, Err: ray.ErrTransportNotAllowed})
			jobs := h.jobs
			h.jobs = nil
			shipTo(t, h, h, protocol, func(s *Shipper) {
				inUse := s.sessionSlots("s")
				for range s.opts.MaxTails {
					inUse.Acquire("another")
				}
				h.mu.Lock()
				h.jobs = jobs
				h.mu.Unlock()
				time.Sleep(3 * time.Minute)
				if inUse.Count() != s.opts.MaxTails {
					t.Error("a WebSocket was opened without a slot")
				}
				for range s.opts.MaxTails {
					inUse.Refuse("another")
				}
				time.Sleep(fileIdle + 5*time.Second)
				if n := inUse.Count(); n != s.opts.MaxTails {
					t.Errorf("%s: %d of %d slots are in use", protocol, n, s.opts.MaxTails)
				}
			})
		})
	}
}

func TestSlots_OfKilledProcessAreCounted(t *testing.T) {
	t.Parallel()
	head := raytest.New(t, raytest.SlotReleaseDelay(time.Hour))
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	o := fastOptions(tail.ProtocolAuto)
	o.MaxTails = 5
	for i := range 20 {
		head.Submit(fmt.Sprintf("silent-%d", i), raytest.JobOptions{})
	}
	for range 4 {
		r := newHarnessWithFile(t, head, "off", o, writer.Options{Interval: time.Hour}, file)
		r.until("all jobs are tailed", func() bool {
			for i := range 20 {
				if len(r.records(fmt.Sprintf("silent-%d", i))) < 3 {
					return false
				}
			}
			return true
		})
		r.kill()
		r.checkSlots(head, o.MaxTails)
	}
	if head.PeakTails() == 0 {
		t.Error("no tail was opened: the test proves nothing")
	}
}
