package shipper

import (
	"path/filepath"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

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

func TestBackfill_DecidedOnce(t *testing.T) {
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
