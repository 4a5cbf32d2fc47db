package shipper

import (
	"errors"
	"fmt"
	"os"
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
	"raytap/shipper/sink"
)

// A run that replaced another one while raytap was down is shipped, also if
// raytap is killed between the end event of the old and the start event of the new run.
func TestResubmit_KilledBetweenRuns(t *testing.T) {
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

func (r *harness) messages(id string) string {
	var b strings.Builder
	for _, rec := range r.records(id) {
		b.WriteString(rec.Message + "\n")
	}
	return b.String()
}

// What is known of a run before its first line is saved survives a restart:
// its node is needed to read its log after the job was deleted.
func TestPositionsFile_NodeSavedWithStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	start := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	k := checkpoint.Key{Cluster: "c", Session: "s", SubmissionID: "a"}
	reopen := func(p *checkpoint.Store) *checkpoint.Store {
		t.Helper()
		if err := errors.Join(p.Save(t.Context(), sink.Watermark{}), p.Close()); err != nil {
			t.Fatal(err)
		}
		p, err := checkpoint.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p, err := checkpoint.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	p.Log(k, ray.Job{SubmissionID: "a", Start: start, Status: ray.JobRunning, DriverNodeID: "n1"})
	p = reopen(p)
	if l := p.Log(k, ray.Job{}); l.Begun || l.Run.DriverNodeID != "n1" || !l.Run.Start.Equal(start) {
		t.Errorf("begun %v, run %+v", l.Begun, l.Run)
	}
	// The sink has the start event of a later run, on another node.
	later := start.Add(time.Second)
	record := fmt.Sprintf(`{"time":%q,"ray_cluster":"c","session":"s","submission_id":"a","epoch":1,"seq":0,"event":"start","message":"m","node_id":"n2","start_time":%q}`,
		later.Format(time.RFC3339Nano), later.Format(time.RFC3339Nano))
	if err := p.Recovered([]byte(record)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second one finds the same
		p = reopen(p)
		l := p.Log(k, ray.Job{})
		if !l.Begun || l.Done || l.Run.DriverNodeID != "n2" || l.Node != "n2" || !l.Run.Start.Equal(later) || l.Epoch != 1 || l.Run.SubmissionID != "a" {
			t.Errorf("begun %v, done %v, node %s, epoch %d, run %+v", l.Begun, l.Done, l.Node, l.Epoch, l.Run)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// A job that was deleted before its node was known may have printed.
func TestTail_DeletedBeforeNodeKnown(t *testing.T) {
	head := raytest.New(t)
	r := newHarness(t, head, "on", fastOptions(tail.ProtocolHTTP), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{Pending: true})
	r.until("the job is tailed", func() bool { return r.metric("tails") == 1 })
	job.Delete()
	if end := r.waitEnd("job-1"); *end.Complete || len(r.events("job-1", record.EventGap)) != 1 {
		t.Errorf("end event %+v, %d gaps", end, len(r.events("job-1", record.EventGap)))
	}
}
