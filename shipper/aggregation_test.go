package shipper

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/shipper/aggregate"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray"
	"raytap/ray/raytest"
)

// aggregating returns o with all options that hold lines back, and short times.
func aggregating(o Options) Options {
	o.Aggregate = aggregate.Options{Multiline: true, Wait: 20 * time.Millisecond, Progress: 10 * time.Millisecond, MaxLines: 20}
	o.Record.LineTime = true
	return o
}

// aggregated returns the number of records with several lines, and of skipped lines.
func (r *harness) aggregated(id string) (joined, skipped int) {
	for _, rec := range r.records(id) {
		if rec.Event == "" && rec.Lines != nil {
			joined++
		}
		skipped += rec.Skipped
	}
	return joined, skipped
}

func TestAggregation_Restart(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t, raytest.SlotReleaseDelay(20*time.Millisecond))
		file := filepath.Join(t.TempDir(), "lines.jsonl")
		o, oo := aggregating(fastOptions(protocol)), writer.Options{Interval: 3 * time.Millisecond}
		r := newHarnessWithFile(t, head, agents, o, oo, file)
		r.until("a position is saved", func() bool { _, err := os.Stat(file + ".positions"); return err == nil })
		job := head.Submit("job-1", raytest.JobOptions{})
		pause := func() { <-time.After(time.Millisecond) }
		for i := range 6 {
			printMixed(job, 40*i, pause)
			for _, line := range strings.SplitAfter("\nERROR it failed\n"+plainTrace+"\n", "\n") {
				job.Print(line)
				pause()
			}
			for p := range 20 {
				job.Printf("\r%d%% of round %d", p, i)
			}
			if i%2 == 0 {
				r.kill()
			} else {
				r.stop()
			}
			job.Printf("\nprinted while raytap was down, round %d\n  and a line that goes on it\n", i)
			r = newHarnessWithFile(t, head, agents, o, oo, file)
		}
		log := job.Log()
		job.End("SUCCEEDED", 0)
		r.waitEnd("job-1")
		r.checkLines("job-1", log)
		joined, skipped := r.aggregated("job-1")
		if joined < 6 || (skipped == 0) != (protocol == tail.ProtocolWebSocket) {
			t.Errorf("%d joined records, %d skipped lines", joined, skipped)
		}
	})
}

func TestAggregation_RestartWithMessages(t *testing.T) {
	t.Parallel()
	eachFraming(t, func(t *testing.T, a *fakeAgent, protocol string) {
		file := filepath.Join(t.TempDir(), "lines.jsonl")
		o, oo := aggregating(fastOptions(protocol)), writer.Options{Interval: 3 * time.Millisecond}
		r := newMessageHarness(t, a, o, oo, file)
		r.until("a position is saved", func() bool { _, err := os.Stat(file + ".positions"); return err == nil })
		a.submit("job-1")
		for i := range 4 {
			a.printMixed("job-1", 100*i, 30, shortPause)
			for _, line := range strings.Split(plainTrace, "\n") {
				a.print("job-1", "%s\n", line)
				shortPause()
			}
			if i%2 == 0 {
				r.kill()
			} else {
				r.stop()
			}
			r = newMessageHarness(t, a, o, oo, file)
		}
		a.end("job-1", ray.JobSucceeded)
		r.waitEnd("job-1")
		r.checkLines("job-1", a.text("job-1"))
		if joined, _ := r.aggregated("job-1"); joined < 4 {
			t.Errorf("%d joined records", joined)
		}
	})
}

// The last line of a silent job is flushed, over each transport.
func TestAggregation_FlushedInSilence(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		r := newHarness(t, head, agents, aggregating(fastOptions(protocol)), writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{})
		job.Print("one\nERROR two\n" + plainTrace + "\n")
		r.until("all lines are shipped", func() bool {
			recs := r.records("job-1")
			last := recs[max(0, len(recs)-1):]
			return len(last) == 1 && last[0].Message == "ERROR two\n"+plainTrace && *last[0].Lines == 6
		})
		before := len(r.records("job-1"))
		job.Print("three\r")
		r.until("the progress line is shipped", func() bool { return len(r.records("job-1")) == before+1 })
	})
}

func TestAggregation_FlushedAtSessionEnd(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	o := aggregating(fastOptions(tail.ProtocolHTTP))
	o.Aggregate.Wait = time.Hour
	o.PollInterval = time.Hour // one read
	r := newHarness(t, head, "on", o, writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("one\n  and more\n")
	r.until("its first line is shipped", func() bool { return r.metric("read_bytes_total") > 0 })
	written := func() bool {
		return slices.ContainsFunc(r.records("job-1"), func(rec jsonRecord) bool { return rec.Message == "one\n  and more" })
	}
	if written() {
		t.Fatal("the line was not held back")
	}
	if err := head.Restart(raytest.RestartOptions{}); err != nil {
		t.Fatal(err)
	}
	r.waitEnd("job-1")
	if !written() {
		t.Errorf("records %+v", r.records("job-1"))
	}
}

// Lines of a truncated response are read again, and skipped lines among them
// are counted once.
func TestAggregation_SkippedLinesCountedOnce(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	o := fastOptions(tail.ProtocolHTTP)
	o.Limits.MaxMessageSize, o.Limits.DropOversized = 100, true
	for after := int64(40_000); after < 60_000; after += 2500 {
		head.Inject(raytest.Fault{Endpoint: raytest.EndpointNodeAgent, Job: "job-1", Action: raytest.CutClose, AfterBytes: after, Times: 1})
	}
	job := head.Submit("job-1", raytest.JobOptions{})
	for range 200 {
		job.Print(strings.Repeat("long ", 100) + "\nshort\n")
	}
	r := newHarness(t, head, "on", o, writer.Options{})
	log := job.Log()
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	r.checkLines("job-1", log)
	if _, skipped := r.aggregated("job-1"); skipped != 200 {
		t.Errorf("%d lines were skipped", skipped)
	}
}

// Lines that are held back are read again over transports that read from the position
// each time. They count once for the limits.
func TestAggregation_Limit(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	o := aggregating(fastOptions(tail.ProtocolHTTP))
	o.Aggregate.Progress = time.Hour // a progress line is held back as long
	r := newHarness(t, head, "off", o, writer.Options{})
	job := head.Submit("job-0", raytest.JobOptions{})
	r.until("the number of lines that Ray prints first is known", func() bool { return len(r.records("job-0")) > 1 })
	job.End("SUCCEEDED", 0)
	first := *r.waitEnd("job-0").Lines
	r.stop()

	o.Limits.MaxLines = first + 4
	r = newHarness(t, head, "off", o, writer.Options{})
	job = head.Submit("job-1", raytest.JobOptions{})
	job.Print("1%\r2%\r3%\r")
	before := head.Requests(raytest.EndpointLogFile)
	r.until("it was read several times", func() bool { return head.Requests(raytest.EndpointLogFile) > before+5 })
	job.Print("4%\n")
	log := job.Log()
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	r.checkLines("job-1", log)
}
