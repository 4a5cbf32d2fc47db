package shipper

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/record"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

// emptyHead makes a head respond as one that has not read its jobs yet: no jobs,
// and 404 for each. It returns the fault of the list.
func emptyHead(head *raytest.Head) (list *raytest.Injected, heal func()) {
	list = head.Inject(raytest.Fault{Endpoint: raytest.EndpointJobs, Status: http.StatusOK, Body: "[]"})
	one := head.Inject(raytest.Fault{Endpoint: raytest.EndpointJob, Status: http.StatusNotFound, Body: "Job does not exist"})
	return list, func() { list.Remove(); one.Remove() }
}

// waitLists waits until discovery has handled n more job lists.
func (r *harness) waitLists(head *raytest.Head, n int) {
	r.t.Helper()
	// The request after the nth shows that the nth list was handled.
	want := head.Requests(raytest.EndpointJobs) + n + 1
	r.until("discovery has requested more job lists", func() bool { return head.Requests(raytest.EndpointJobs) >= want })
}

// An absence is believed only if it lasts. What the backfill
// skipped stays skipped for the session, also across restarts of raytap and
// absences that are believed. A new run of the same id is shipped.
func TestDiscovery_IncompleteListUndoesNoDecision(t *testing.T) {
	t.Parallel()
	for name, absentFor := range map[string]time.Duration{"not believed": time.Hour, "believed": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			head := raytest.New(t)
			file := filepath.Join(t.TempDir(), "lines.jsonl")
			oo := writer.Options{Interval: 3 * time.Millisecond}
			o := fastOptions(tail.ProtocolHTTP)
			o.AbsentFor = absentFor
			for i := range 14 {
				job := head.Submit(fmt.Sprintf("old-%d", i), raytest.JobOptions{})
				job.Print("printed before raytap saw the cluster\n")
				job.End("SUCCEEDED", 0)
			}
			r := newHarnessWithFile(t, head, "on", o, oo, file)
			for _, restart := range []bool{false, true} {
				list, heal := emptyHead(head)
				r.waitLists(head, absentAnswers+1)
				if restart {
					r.stop()
					r = newHarnessWithFile(t, head, "on", o, oo, file)
					r.waitLists(head, absentAnswers+1)
				}
				heal()
				if list.Hits() < absentAnswers {
					t.Fatalf("only %d empty lists were sent: the test proves nothing", list.Hits())
				}
				r.waitLists(head, 2)
			}
			again := head.Submit("old-3", raytest.JobOptions{Start: time.Now().Add(time.Second)})
			again.Print("of the second run\n")
			again.End("SUCCEEDED", 0)
			r.waitEnd("old-3")
			for i := range 14 {
				id := fmt.Sprintf("old-%d", i)
				if n := len(r.records(id)); n != 0 && id != "old-3" {
					t.Errorf("%s: %d records of a job that the backfill skipped", id, n)
				}
			}
			if !strings.Contains(r.messages("old-3"), "of the second run") {
				t.Error("the second run was not shipped")
			}
		})
	}
}

// A job that a few responses lack is not over.
func TestDiscovery_JobMissingFromFewResponses(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	o := fastOptions(tail.ProtocolHTTP)
	o.AbsentFor, o.GracePeriod = time.Hour, time.Millisecond
	r := newHarness(t, head, "on", o, writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("before\n")
	r.until("its first line is shipped", func() bool { return strings.Contains(r.messages("job-1"), "before") })
	list, heal := emptyHead(head)
	r.waitLists(head, absentAnswers+2)
	read := head.Requests(raytest.EndpointNodeAgent)
	r.until("its log was read again", func() bool { return head.Requests(raytest.EndpointNodeAgent) >= read+3 })
	heal()
	if list.Hits() < absentAnswers {
		t.Fatalf("only %d empty lists were sent: the test proves nothing", list.Hits())
	}
	job.Print("after\n")
	log := job.Log()
	job.End("SUCCEEDED", 0)
	if end := r.waitEnd("job-1"); end.Status != "SUCCEEDED" || !*end.Complete {
		t.Errorf("end event %+v", end)
	}
	r.checkLines("job-1", log)
}

// A few lists that lack a job do not expire its position.
func TestDiscovery_IncompleteListKeepsPositions(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	o := fastOptions(tail.ProtocolHTTP)
	o.AbsentFor = time.Hour
	r := newHarness(t, head, "on", o, writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	_, heal := emptyHead(head)
	defer heal()
	r.waitLists(head, absentAnswers+1)
	if known := storeContent(t, r.out.Positions); !strings.Contains(known, "job-1") || strings.Contains(known, `"unlisted_since"`) {
		t.Errorf("the job is marked as unlisted: %s", known)
	}
}

func TestDiscovery_JobEndedBeforeFirstList(t *testing.T) {
	t.Parallel()
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

// If one response lacks the start time, the first one or a later one, the run is not
// another one.
func TestDiscovery_MissingStartTime(t *testing.T) {
	t.Parallel()
	for _, atFirst := range []bool{false, true} {
		head := raytest.New(t)
		file := filepath.Join(t.TempDir(), "lines.jsonl")
		job := head.Submit("job-1", raytest.JobOptions{})
		job.OmitStartTime(atFirst)
		oo := writer.Options{Interval: 3 * time.Millisecond}
		r := newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolHTTP), oo, file)
		job.Print("one\n")
		r.until("its first line is shipped", func() bool { return strings.Contains(r.messages("job-1"), "one") })
		for _, start := range []bool{atFirst, !atFirst, true} {
			job.OmitStartTime(!start)
			before := head.Requests(raytest.EndpointJobs)
			r.until("more job lists were requested", func() bool { return head.Requests(raytest.EndpointJobs) > before+3 })
		}
		r.stop()
		r = newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolHTTP), oo, file)
		job.Print("two\n")
		r.until("it is read on", func() bool { return strings.Contains(r.messages("job-1"), "two") })
		job.End("SUCCEEDED", 0)
		r.waitEnd("job-1")
		if got := r.eventsOf("job-1"); got != "start end" {
			t.Errorf("missing from the first list %v: events %q", atFirst, got)
		}
		r.checkLines("job-1", job.Log())

		// A new submission is still noticed.
		again := head.Submit("job-1", raytest.JobOptions{Start: job.StartTime().Add(time.Hour)})
		again.End("SUCCEEDED", 0)
		r.until("the second run has ended", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
		r.stop()
	}
}
