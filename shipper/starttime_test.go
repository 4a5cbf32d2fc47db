package shipper

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray/raytest"
	"raytap/shipper/record"
)

// If one response lacks the start time, the first one or a later one, the run is not
// another one.
func TestDiscovery_MissingStartTime(t *testing.T) {
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

// The end of a run whose id has another start time reports what is known, and not
// that it was submitted again.
func TestTail_EndMessageOfReplacedRun(t *testing.T) {
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
