package shipper

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray/raytest"
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

// Ray holds the slot of a closed tail even if the list lacks its job, so it counts.
func TestSlots_HeldWhileListLacksJob(t *testing.T) {
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

// A few lists that lack a job do not expire its position.
func TestPositionsFile_IncompleteListKeepsPositions(t *testing.T) {
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

// The first list decides the backfill. Jobs that it lacked and
// that are older than it are part of that decision.
func TestBackfill_IncompleteFirstList(t *testing.T) {
	head := raytest.New(t)
	hourAgo := time.Now().Add(-time.Hour)
	old := head.Submit("old", raytest.JobOptions{Start: hourAgo})
	old.Print("printed an hour ago\n")
	old.EndAt(hourAgo.Add(time.Minute), "SUCCEEDED", 0)
	running := head.Submit("running", raytest.JobOptions{Start: hourAgo})
	list, heal := emptyHead(head)
	o := fastOptions(tail.ProtocolHTTP)
	o.AbsentFor = time.Hour
	r := newHarness(t, head, "on", o, writer.Options{})
	short := head.Submit("short", raytest.JobOptions{})
	short.End("SUCCEEDED", 0)
	r.waitLists(head, 1)
	heal()
	if list.Hits() == 0 {
		t.Fatal("no empty list was sent: the test proves nothing")
	}
	running.End("SUCCEEDED", 0)
	r.waitEnd("short") // it started after raytap first saw the cluster
	r.waitLists(head, 2)
	if n := len(r.records("old")); n != 0 {
		t.Errorf("%d records of a job that ended before raytap saw the cluster", n)
	}
}

// One response that names another session ends nothing.
func TestSession_OneResponseOfAnotherIsIgnored(t *testing.T) {
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
