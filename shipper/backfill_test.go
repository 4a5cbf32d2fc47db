package shipper

import (
	"path/filepath"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/shipper/clock"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

func TestBackfill_Modes(t *testing.T) {
	t.Parallel()
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

// The first list decides the backfill. Jobs that it lacked and
// that are older than it are part of that decision.
func TestBackfill_IncompleteFirstList(t *testing.T) {
	t.Parallel()
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

func TestBackfill_DecidedOnce(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo := writer.Options{Interval: 3 * time.Millisecond}
	old := head.Submit("old", raytest.JobOptions{})
	old.End("SUCCEEDED", 0)
	r := newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolAuto), oo, file)
	r.stop()
	missed := head.Submit("missed", raytest.JobOptions{})
	missed.Print("started and ended while raytap was down\n")
	log := missed.Log()
	missed.End("SUCCEEDED", 0)
	r = newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolAuto), oo, file)
	r.waitEnd("missed")
	r.checkLines("missed", log)
	if n := len(r.records("old")); n != 0 {
		t.Errorf("%d records of a job that the backfill skipped", n)
	}
}

func TestBackfill_ExcludedJobs(t *testing.T) {
	now := time.Now()
	hourAgo := now.Add(-time.Hour)
	ended := ray.Job{Status: ray.JobSucceeded, Start: hourAgo, End: hourAgo}
	runs := ray.Job{Status: ray.JobRunning, Start: hourAgo}
	recent := ray.Job{Status: ray.JobSucceeded, Start: now, End: now}
	unknown := discovery{}
	justSeen := discovery{seen: true, firstLists: clock.Absence{Since: now, Answers: 1}}
	longSeen := discovery{seen: true, firstLists: clock.Absence{Since: hourAgo, Answers: 100}}
	seenBefore := discovery{seen: true} // by an earlier process
	for name, row := range map[string]struct {
		backfill string
		known    discovery
		job      ray.Job
		want     bool
	}{
		"all, first list":                      {BackfillAll, unknown, ended, false},
		"none, first list":                     {BackfillNone, unknown, runs, true},
		"running, first list, ended":           {BackfillRunning, unknown, ended, true},
		"running, first list, runs":            {BackfillRunning, unknown, runs, false},
		"running, second list, ended":          {BackfillRunning, justSeen, ended, true},
		"running, second list, ended just now": {BackfillRunning, justSeen, recent, false},
		"running, second list, runs":           {BackfillRunning, justSeen, runs, false},
		"running, second list, no end time":    {BackfillRunning, justSeen, ray.Job{Status: ray.JobFailed}, false},
		"none, second list, started before":    {BackfillNone, justSeen, runs, true},
		"none, second list, started just now":  {BackfillNone, justSeen, recent, false},
		"running, later list, ended":           {BackfillRunning, longSeen, ended, false},
		"running, list after a restart, ended": {BackfillRunning, seenBefore, ended, false},
		"none, list after a restart, runs":     {BackfillNone, seenBefore, runs, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Shipper{opts: Options{Backfill: row.backfill, Options: tail.Options{AbsentFor: time.Minute}}, known: row.known}
			if got := s.excludedByBackfill(row.job); got != row.want {
				t.Errorf("excludedByBackfill is %v, want %v", got, row.want)
			}
		})
	}
}
