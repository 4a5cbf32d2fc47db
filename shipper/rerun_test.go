package shipper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
)

// A run that took another one's place while raytap was down is shipped, also if
// raytap dies between the end event of the one and the start event of the other.
func TestADeathBetweenTwoRunsLosesNeither(t *testing.T) {
	for written := range 3 {
		t.Run(fmt.Sprintf("%d events written", written), func(t *testing.T) {
			head := raytest.New(t)
			file := filepath.Join(t.TempDir(), "lines.jsonl")
			never := OutputOptions{Interval: time.Hour} // but for checkpoints
			r := newRigOn(t, head, "on", quick(ProtocolHTTP), OutputOptions{Interval: 3 * time.Millisecond}, file)
			job := head.Submit("job-1", raytest.JobOptions{})
			job.Print("of the first run\n")
			r.until("it was read", func() bool { return len(r.records("job-1")) >= 4 })
			r.stop()
			job = head.Submit("job-1", raytest.JobOptions{Start: job.StartTime().Add(time.Second)})
			job.Print("of the second run\n")
			r = newRigOn(t, head, "on", quick(ProtocolHTTP), never, file)
			r.until("the second run is read", func() bool { return len(r.records("job-1")) >= 8 })
			r.kill() // the last save is that of the first run's end, as owed
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
			r = newRigOn(t, head, "on", quick(ProtocolHTTP), never, file)
			job.Print("more of it\n")
			r.until("it is read on", func() bool { return strings.Contains(r.messages("job-1"), "more of it") })
			r.stop() // what is saved now is true, too
			r = newRigOn(t, head, "on", quick(ProtocolHTTP), never, file)
			job.Print("and the rest\n")
			log := job.Log()
			job.End("SUCCEEDED", 0)
			r.until("both runs have ended", func() bool { return len(r.events("job-1", EventEnd)) == 2 })
			r.exact("job-1", log)
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

// A run that only the sink knows of, because raytap died before it saved
// anything of it, gets its end event when another run has taken its place.
func TestARunThatWasNeverSavedGetsItsEnd(t *testing.T) {
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	o := quick(ProtocolHTTP)
	r := newRigOn(t, head, "on", o, OutputOptions{Interval: 3 * time.Millisecond}, file)
	r.stop()
	never := OutputOptions{Interval: time.Hour}
	r = newRigOn(t, head, "on", o, never, file)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("of the first run\n")
	r.until("it was read", func() bool { return len(r.records("job-1")) >= 4 })
	r.kill()
	job = head.Submit("job-1", raytest.JobOptions{Start: job.StartTime().Add(time.Second)})
	r = newRigOn(t, head, "on", o, never, file)
	log := job.Log()
	job.End("SUCCEEDED", 0)
	r.until("both runs have ended", func() bool { return len(r.events("job-1", EventEnd)) == 2 })
	r.exact("job-1", log)
	if first := r.events("job-1", EventEnd)[0]; *first.Complete || *first.Lines != 3 {
		t.Errorf("the first run's end says %d lines, complete %v; want 3, false", *first.Lines, *first.Complete)
	}
}

func (r *rig) messages(id string) string {
	var b strings.Builder
	for _, rec := range r.records(id) {
		b.WriteString(rec.Message + "\n")
	}
	return b.String()
}
