package shipper

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/shipper/record"
)

// Record times increase strictly, at most a second ahead of our clock. Beyond that
// they go back once, with an event. No restart brings the time ahead back.
func TestClock_WasAhead(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo := writer.Options{Interval: time.Hour}
	r := newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolAuto), oo, file)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("first\n")
	r.until("all lines are shipped", func() bool { return len(r.events("job-1", "")) == headLines+1 })
	r.stop()
	p, err := checkpoint.Open(file + ".positions")
	if err != nil {
		t.Fatal(err)
	}
	ahead := time.Now().Add(time.Hour)
	key := checkpoint.Key{Cluster: "test", Session: p.Cluster("test").Session, SubmissionID: "job-1"}
	l := p.Log(key, ray.Job{})
	l.LastTime = ahead.UnixNano()
	p.Accept(l.Entry, l.State)
	if err := p.Save(t.Context(), p.Watermark()); err != nil {
		t.Fatal(err)
	}
	p.Close()
	for _, line := range []string{"second", "third"} {
		r = newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolAuto), oo, file)
		job.Print(line + "\n")
		r.until(line+" is there", func() bool {
			recs := r.records("job-1")
			return recs[len(recs)-1].Message == line
		})
		r.kill() // the next process knows only what the sink holds
	}
	recs := r.records("job-1")
	if n := len(r.events("job-1", record.EventClock)); n != 1 {
		t.Errorf("%d clock events, want 1", n)
	}
	last := ""
	for i, rec := range recs {
		if rec.Time <= last {
			t.Errorf("record %d: time %s after %s", i, rec.Time, last)
		}
		if at, err := time.Parse(time.RFC3339Nano, rec.Time); err != nil || time.Until(at) > maxAhead {
			t.Errorf("record %d has the time %s, %v", i, rec.Time, err)
		}
		last = rec.Time
		if rec.Event == record.EventClock && (rec.Seq != headLines+1 || !strings.Contains(rec.Message, "ahead by")) {
			t.Errorf("clock event %+v", rec)
		}
	}
}
