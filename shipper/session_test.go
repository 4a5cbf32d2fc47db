package shipper

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/record"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

func TestSession_HeadRestart(t *testing.T) {
	t.Parallel()
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

// One response that names another session ends nothing.
func TestSession_OneResponseOfAnotherIsIgnored(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "on", fastOptions(tail.ProtocolHTTP), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("before\n")
	r.until("its first line is shipped", func() bool { return strings.Contains(r.messages("job-1"), "before") })
	flip := head.Inject(raytest.Fault{Endpoint: raytest.EndpointVersion, Status: http.StatusOK, Times: sessionAnswers - 1,
		Body: `{"version":"4","ray_version":"2.60.0","session_name":"session_of_another_head"}`})
	other := head.Submit("job-2", raytest.JobOptions{}) // makes discovery request the session
	r.until("both responses were sent", func() bool { return flip.Hits() == sessionAnswers-1 })
	other.End("SUCCEEDED", 0)
	r.waitEnd("job-2")
	job.Print("after\n")
	log := job.Log()
	job.End("SUCCEEDED", 0)
	if end := r.waitEnd("job-1"); !*end.Complete || end.Session != head.Session() {
		t.Errorf("end event %+v", end)
	}
	r.checkLines("job-1", log)
}

// Nothing is shipped until the session is known. Ray before 2.40 has
// no session in its version, and its node list is empty for about 2 s after a
// start (2.9.3 and 2.30.0).
func TestSession_NothingShippedBeforeItIsKnown(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"2.9.3", "2.30.0"} {
		t.Run(version, func(t *testing.T) {
			head := raytest.New(t, raytest.RayVersion(version))
			young := func() *raytest.Injected {
				return head.Inject(raytest.Fault{Endpoint: raytest.EndpointNodesSummary, Status: http.StatusOK,
					Body: `{"result": true, "msg": "Node summary fetched.", "data": {"summary": [], "nodeLogicalResources": {}}}`})
			}
			file := filepath.Join(t.TempDir(), "lines.jsonl")
			o, oo := fastOptions(tail.ProtocolHTTP), writer.Options{Interval: 3 * time.Millisecond}
			r := newHarnessWithFile(t, head, "on", o, oo, file)
			r.stop()
			for life := range 2 {
				if life > 0 {
					if err := head.Restart(raytest.RestartOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				fault := young()
				id := fmt.Sprintf("job-%d", life)
				job := head.Submit(id, raytest.JobOptions{})
				job.Print("printed before the session is known\n")
				log := job.Log()
				if life == 0 {
					r = startHarness(t, head, "on", o, oo, file)
				}
				hits := fault.Hits()
				r.until("requests for the session have failed", func() bool { return fault.Hits() >= hits+sessionAnswers+1 })
				if n := len(r.records(id)); n != 0 {
					t.Errorf("%d records without a session", n)
				}
				fault.Remove()
				job.End("SUCCEEDED", 0)
				r.waitEnd(id)
				r.checkLines(id, log)
				if i := slices.IndexFunc(r.records(id), func(rec jsonRecord) bool { return rec.Session != head.Session() }); i >= 0 {
					t.Errorf("a record has session %q", r.records(id)[i].Session)
				}
				if n := strings.Count(r.logText(), "The head was restarted"); n != life {
					t.Errorf("a head restart was logged %d times, want %d", n, life)
				}
			}
		})
	}
}
