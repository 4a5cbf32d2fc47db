package shipper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/lines/linestest"
	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/shipper/checkpoint"
	"raytap/shipper/record"
	"raytap/shipper/sink"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

// kill stops a harness like SIGKILL: what it would have saved at its end is
// not saved.
func (r *harness) kill() {
	r.t.Helper()
	b, err := os.ReadFile(r.file + ".positions")
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	r.stop()
	if err == nil {
		err = os.WriteFile(r.file+".positions", b, 0o600)
	} else {
		err = os.Remove(r.file + ".positions")
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestRestart_EveryLineOnce(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t, raytest.SlotReleaseDelay(20*time.Millisecond))
		file := filepath.Join(t.TempDir(), "lines.jsonl")
		oo := writer.Options{Interval: 3 * time.Millisecond}
		r := newHarnessWithFile(t, head, agents, fastOptions(protocol), oo, file)
		r.until("a position is saved", func() bool { _, err := os.Stat(file + ".positions"); return err == nil })
		job := head.Submit("job-1", raytest.JobOptions{})
		for i := range 6 {
			printMixed(job, 40*i, func() { <-time.After(time.Millisecond) })
			if i%2 == 0 {
				r.kill()
			} else {
				r.stop()
			}
			job.Printf("printed while raytap was down, round %d\n", i)
			r = newHarnessWithFile(t, head, agents, fastOptions(protocol), oo, file)
		}
		log := job.Log()
		job.End("SUCCEEDED", 0)
		end := r.waitEnd("job-1")
		r.checkLines("job-1", log)
		if !*end.Complete || len(r.events("job-1", record.EventStart)) != 1 {
			t.Errorf("end event %+v, %d start events", end, len(r.events("job-1", record.EventStart)))
		}
		r.stop()
		r = newHarnessWithFile(t, head, agents, fastOptions(protocol), oo, file)
		<-time.After(50 * time.Millisecond)
		if n := len(r.events("job-1", record.EventEnd)); n != 1 {
			t.Errorf("%d end events after another restart", n)
		}
	})
}

func TestRestart_PendingEventWrittenOnce(t *testing.T) {
	t.Parallel()
	for _, written := range []bool{false, true} {
		t.Run(fmt.Sprintf("event written=%v", written), func(t *testing.T) {
			head := raytest.New(t)
			file := filepath.Join(t.TempDir(), "lines.jsonl")
			o := fastOptions(tail.ProtocolHTTP)
			r := newHarnessWithFile(t, head, "on", o, writer.Options{Interval: time.Hour}, file)
			job := head.Submit("job-1", raytest.JobOptions{})
			job.Print("a line\nno newline at the end")
			log := job.Log()
			job.End("FAILED", 2)
			r.waitEnd("job-1")
			r.kill() // the last save was before the event was written
			if !written {
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				cut := strings.LastIndex(strings.TrimSuffix(string(b), "\n"), "\n") + 1
				if err := os.Truncate(file, int64(cut+20)); err != nil { // and a part of the last record
					t.Fatal(err)
				}
			}
			job.Print("\nprinted after the end\n")
			r = newHarnessWithFile(t, head, "on", o, writer.Options{Interval: time.Hour}, file)
			r.waitEnd("job-1")
			<-time.After(50 * time.Millisecond)
			r.checkLines("job-1", log)
			if ends := r.events("job-1", record.EventEnd); len(ends) != 1 || *ends[0].ExitCode != 2 {
				t.Errorf("end events %+v", ends)
			}
		})
	}
}

func TestRestart_JobDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo := writer.Options{Interval: 3 * time.Millisecond}
	for _, agents := range []string{"on", "off"} {
		id := "job-" + agents
		r := newHarnessWithFile(t, head, agents, fastOptions(tail.ProtocolHTTP), oo, file)
		job := head.Submit(id, raytest.JobOptions{})
		job.Print("seen\n")
		r.until("its first line is shipped", func() bool { return len(r.records(id)) >= 4 })
		r.stop()
		job.Print("not seen\n")
		log := job.Log()
		job.End("SUCCEEDED", 0)
		job.Delete()
		r = newHarnessWithFile(t, head, agents, fastOptions(tail.ProtocolHTTP), oo, file)
		end := r.waitEnd(id)
		r.checkLines(id, log)
		if !*end.Complete {
			t.Errorf("end event %+v", end)
		}
		r.stop()
	}
}

func TestRestart_SessionEndedMeanwhile(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo := writer.Options{Interval: 3 * time.Millisecond}
	r := newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolAuto), oo, file)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("of the first session\n")
	r.until("its first line is shipped", func() bool { return len(r.records("job-1")) >= 4 })
	r.stop()
	first := head.Session()
	if err := head.Restart(raytest.RestartOptions{}); err != nil {
		t.Fatal(err)
	}
	finished := head.Submit("job-1", raytest.JobOptions{})
	finished.Print("of the second session\n")
	finished.End("SUCCEEDED", 0)
	r = newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolAuto), oo, file)
	r.until("both sessions' jobs have ended", func() bool { return len(r.events("job-1", record.EventEnd)) == 2 })
	for _, end := range r.events("job-1", record.EventEnd) {
		if *end.Complete != (end.Session != first) {
			t.Errorf("end event %+v", end)
		}
	}
	if gaps := r.events("job-1", record.EventGap); len(gaps) != 1 || gaps[0].Session != first {
		t.Errorf("gap events %+v", gaps)
	}
}

// Recovered lines count until the position has passed them, however often the
// process is killed before that: here the log cannot be read meanwhile.
func TestRestart_RecoveredLinesSurviveNextKill(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	o := fastOptions(tail.ProtocolHTTP)
	r := newHarnessWithFile(t, head, "on", o, writer.Options{}, file)
	r.stop()
	r = newHarnessWithFile(t, head, "on", o, writer.Options{Interval: time.Hour}, file)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print(strings.Repeat("a line\n", 50))
	r.until("its lines are in the file", func() bool { return len(r.records("job-1")) == 53 })
	r.kill() // no position of job-1 was ever saved

	var faults []*raytest.Injected
	for _, e := range []string{raytest.EndpointNodeAgent, raytest.EndpointLogFile} {
		faults = append(faults, head.Inject(raytest.Fault{Endpoint: e, Job: "job-1"}))
	}
	other := head.Submit("job-2", raytest.JobOptions{})
	for range 2 {
		r = newHarnessWithFile(t, head, "on", o, writer.Options{Interval: 3 * time.Millisecond}, file)
		other.Print("moves the watermark on\n")
		want := len(linestest.Lines(other.Log())) + 1
		r.until("job-2 is shipped", func() bool { return len(r.records("job-2")) == want })
		saved := r.metric("positions_last_saved_timestamp_seconds")
		other.Print("and once more\n")
		r.until("positions are saved", func() bool { return r.metric("positions_last_saved_timestamp_seconds") > saved })
		r.until("reading job-1 has failed", func() bool { return faults[0].Hits() > 0 })
		r.kill()
	}
	for _, f := range faults {
		f.Remove()
	}
	r = newHarnessWithFile(t, head, "on", o, writer.Options{Interval: 3 * time.Millisecond}, file)
	job.Print("the last line\n")
	log := job.Log()
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	r.checkLines("job-1", log)
	if n := len(r.events("job-1", record.EventStart)); n != 1 {
		t.Errorf("%d start events", n)
	}
	r.stop()
	b, err := os.ReadFile(file + ".positions")
	if err != nil || strings.Contains(string(b), `"recovered"`) {
		t.Errorf("recovered lines are still in the positions file: %v\n%s", err, b)
	}
}

// What is known of a run before its first line is saved survives a restart:
// its node is needed to read its log after the job was deleted.
func TestRestart_NodeSavedWithStart(t *testing.T) {
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
