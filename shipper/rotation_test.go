package shipper

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/record"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

// wantOnce fails unless the sink has each line of what was printed once and in order, in one
// epoch, without a gap.
func wantOnce(t *testing.T, r *harness, id string, job *raytest.Job) {
	t.Helper()
	var got []string
	for i, rec := range r.records(id) {
		switch {
		case rec.Event == record.EventGap || rec.Event == record.EventEpoch || rec.Epoch != 0:
			t.Errorf("record %d: epoch %d, event %q: %s", i, rec.Epoch, rec.Event, rec.Message)
		case rec.Event == "":
			if rec.Seq != uint64(len(got)) {
				t.Fatalf("line %d has seq %d", len(got), rec.Seq)
			}
			got = append(got, rec.Message)
		}
	}
	want := strings.FieldsFunc(string(job.Output()), func(c rune) bool { return c == '\n' || c == '\r' })
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%d lines, want %d; the first difference is at line %d: %q, want %q", len(got), len(want), i, got[min(i, len(got)-1)], want[min(i, len(want)-1)])
		}
	}
}

// A driver log that is rotated four times at 200 lines a second, by "cp X X.1; : > X", by
// rename, and by mv under a job that goes on in the old file for a while.
func TestRotation_NothingIsLost(t *testing.T) {
	t.Parallel()
	for name, rotate := range map[string]func(*raytest.Job, int){
		"copytruncate":                   func(j *raytest.Job, _ int) { j.CopyTruncateLog(1) },
		"copytruncate with older copies": func(j *raytest.Job, _ int) { j.CopyTruncateLog(5) },
		"rename":                         func(j *raytest.Job, _ int) { j.RotateLog(5) },
		"mv": func(j *raytest.Job, i int) {
			if i%2 == 0 {
				j.MoveLog(5)
			} else {
				j.ReopenLog()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			head := raytest.New(t)
			r := newHarness(t, head, "on", fastOptions(tail.ProtocolAuto), writer.Options{})
			job := head.Submit("job-1", raytest.JobOptions{JobID: "01000000"})
			// A multiple of five lines and a piece of one between two rotations.
			n, halves, last := 0, 0, 0 // last: lines up to the one that the last rotation has cut, and with it
			tick := time.NewTicker(25 * time.Millisecond)
			defer tick.Stop()
			for i := range 8 {
				for range 10 {
					<-tick.C
					for range 5 {
						job.Printf("line %06d\n", n)
						n++
					}
				}
				if i%2 == 1 || name == "mv" {
					// With one older file, what two rotations between two looks delete is lost.
					r.until("the last rotation was followed", func() bool { return r.lines("job-1") >= last })
					job.Print("half a li")
					rotate(job, i)
					job.Printf("ne %06d\n", n)
					halves++
					last = n + halves
				}
			}
			job.End("SUCCEEDED", 0)
			end := r.waitEnd("job-1")
			wantOnce(t, r, "job-1", job)
			if content := uint64(len(strings.ReplaceAll(string(job.Output()), "\n", ""))); !*end.Complete || *end.ContentBytes != content {
				t.Errorf("end event %+v: complete %v, %d content bytes, want %d", end, *end.Complete, *end.ContentBytes, content)
			}
			if n := r.metric("rotations_followed_total"); n < 3 {
				t.Errorf("%v rotations followed", n)
			}
			if n := r.metric("generations_lost_total"); n != 0 {
				t.Errorf("%v generations lost", n)
			}
		})
	}
}

// Rotations while raytap is down are followed, too, from whichever position it stopped at.
func TestRotation_WhileRaytapIsDown(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo := writer.Options{Interval: 3 * time.Millisecond}
	r := newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolAuto), oo, file)
	r.until("a position is saved", func() bool { _, err := os.Stat(file + ".positions"); return err == nil })
	job := head.Submit("job-1", raytest.JobOptions{JobID: "01000000"})
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 8 {
		for i := range 200 {
			job.Printf("round %d line %04d %s\n", round, i, strings.Repeat("x", rng.IntN(200)))
		}
		if round%2 == 0 {
			r.until("lines are shipped", func() bool { return len(r.records("job-1")) > 100*round })
		}
		r.kill()
		job.Print("a piece of")
		for range rng.IntN(3) {
			if round%3 == 0 {
				job.CopyTruncateLog(16)
			} else {
				job.RotateLog(16)
			}
			job.Print(" a line\nand a whole one\n")
		}
		job.Print(" a line\n")
		r = newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolAuto), oo, file)
	}
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	wantOnce(t, r, "job-1", job)
}

// A log that was rotated before it was first read is read from its oldest file on.
func TestRotation_BeforeTheFirstRead(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	job := head.Submit("job-1", raytest.JobOptions{JobID: "01000000"})
	for i := range 3 {
		job.Printf("file %d\n", i)
		job.RotateLog(5)
	}
	job.Print("the last\n")
	r := newHarness(t, head, "on", fastOptions(tail.ProtocolAuto), writer.Options{})
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	wantOnce(t, r, "job-1", job)
}

// Only what was deleted is a gap, and the log goes on in the next epoch with the oldest file
// that is left.
func TestRotation_DeletedFilesAreAGap(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo := writer.Options{Interval: 3 * time.Millisecond}
	r := newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolAuto), oo, file)
	r.until("a position is saved", func() bool { _, err := os.Stat(file + ".positions"); return err == nil })
	job := head.Submit("job-1", raytest.JobOptions{JobID: "01000000"})
	job.Print("read\n")
	r.until("the first line is shipped", func() bool { return len(r.records("job-1")) >= 4 })
	r.stop()
	for i := range 5 {
		job.Printf("file %d\n", i)
		job.RotateLog(2)
	}
	job.Print("the last\n")
	r = newHarnessWithFile(t, head, "on", fastOptions(tail.ProtocolAuto), oo, file)
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	var got []string
	for _, rec := range r.records("job-1") {
		if rec.Epoch == 1 && rec.Event == "" {
			got = append(got, fmt.Sprint(rec.Seq, " ", rec.Message))
		}
	}
	if want := "0 file 3,1 file 4,2 the last"; strings.Join(got, ",") != want {
		t.Errorf("epoch 1 has %q, want %q", got, want)
	}
	if n := len(r.events("job-1", record.EventGap)); n != 1 || r.metric("generations_lost_total") != 1 {
		t.Errorf("%d gap events, %v generations lost", n, r.metric("generations_lost_total"))
	}
}

// The WebSocket and the file API show only the current file: a log that was rotated while
// they were in use is read on over the node agent.
func TestRotation_AgentIsAskedFirst(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "on", fastOptions(tail.ProtocolAuto), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{JobID: "01000000"})
	job.Print("first\n")
	r.until("the first line is shipped", func() bool { return len(r.records("job-1")) >= 4 })
	head.Nodes()[0].AgentDown()
	job.Print("not seen by anyone\n")
	job.CopyTruncateLog(3)
	job.Print("second\n")
	time.Sleep(300 * time.Millisecond)
	if err := head.Nodes()[0].AgentUp(); err != nil {
		t.Fatal(err)
	}
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	wantOnce(t, r, "job-1", job)
}

// What a job's children print after its end is shipped, also if the log is rotated before it is
// checked.
func TestRotation_AfterTheEnd(t *testing.T) {
	t.Parallel()
	for name, rotate := range map[string]func(*raytest.Job){
		"copytruncate": func(j *raytest.Job) { j.CopyTruncateLog(5) },
		"rename":       func(j *raytest.Job) { j.RotateLog(5) },
		"mv":           func(j *raytest.Job) { j.MoveLog(5) },
	} {
		for _, restart := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				head := raytest.New(t)
				o := fastChecks(tail.ProtocolAuto)
				file := filepath.Join(t.TempDir(), "lines.jsonl")
				r := newHarnessWithFile(t, head, "on", o, writer.Options{Interval: 3 * time.Millisecond}, file)
				job := head.Submit("job-1", raytest.JobOptions{JobID: "01000000"})
				job.Print("early\n")
				job.End("SUCCEEDED", 0)
				r.waitEnd("job-1")
				before := r.lines("job-1")
				if restart {
					r.stop()
				}
				job.Print("late\n")
				rotate(job)
				if restart {
					r = newHarnessWithFile(t, head, "on", o, writer.Options{Interval: 3 * time.Millisecond}, file)
				}
				r.until("the late line is shipped", func() bool { return r.lines("job-1") == before+1 })
				job.Print("and later\n")
				r.until("the log has another end", func() bool { return r.lines("job-1") == before+2 && len(r.events("job-1", record.EventEnd)) >= 2 })
				wantOnce(t, r, "job-1", job)
				if n := r.metric("gaps_total"); n != 0 {
					t.Errorf("%v gaps", n)
				}
			})
		}
	}
}

// A log that was rotated before its first read, while its node agent fails for a moment, is
// read from its oldest file on: other transports show only the current one.
func TestRotation_AgentFailsAtFirst(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]struct {
		wait  time.Duration // for the agent
		epoch uint64
	}{
		"it answers soon": {time.Minute, 0},
		// The current file is shipped first, and again, as a part of the whole, when the agent
		// is back.
		"it answers late": {50 * time.Millisecond, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			head := raytest.New(t)
			job := head.Submit("job-1", raytest.JobOptions{JobID: "01000000"})
			job.Print("of the first file\n")
			job.RotateLog(5)
			job.Print("of the second file\n")
			var faults []*raytest.Injected
			for _, endpoint := range []string{raytest.EndpointNodeAgent, raytest.EndpointAgentStat} {
				faults = append(faults, head.Inject(raytest.Fault{Endpoint: endpoint, Action: raytest.Respond, Status: 503}))
			}
			options := fastOptions(tail.ProtocolAuto)
			options.LostAfter = o.wait
			file, oo := filepath.Join(t.TempDir(), "lines.jsonl"), writer.Options{Interval: 3 * time.Millisecond}
			r := newHarnessWithFile(t, head, "on", options, oo, file)
			r.until("its read is tried", func() bool { return len(r.records("job-1")) > 0 })
			if o.epoch > 0 {
				r.until("the current file is shipped", func() bool { return r.lines("job-1") == 1 })
				r.stop()
			}
			for _, f := range faults {
				f.Remove()
			}
			if o.epoch > 0 { // the next process tries the agent at once, this one would after a while
				r = newHarnessWithFile(t, head, "on", options, oo, file)
			}
			r.until("the whole log is shipped", func() bool {
				return strings.Contains(r.messagesOf("job-1", o.epoch), "of the first file|of the second file|")
			})
			if n := len(r.events("job-1", record.EventGap)); n != 0 {
				t.Errorf("%d gap events", n)
			}
			job.End("SUCCEEDED", 0)
			if end := r.waitEnd("job-1"); !*end.Complete || end.Epoch != o.epoch {
				t.Errorf("end %+v", end)
			}
		})
	}
}

// messagesOf returns the lines of an epoch, each followed by "|".
func (r *harness) messagesOf(id string, epoch uint64) string {
	var b strings.Builder
	for _, rec := range r.events(id, "") {
		if rec.Epoch == epoch {
			b.WriteString(rec.Message + "|")
		}
	}
	return b.String()
}
