package shipper

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/record"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

func TestLimits_Stop(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		o := fastOptions(protocol)
		o.Limits.MaxLines = 10
		r := newHarness(t, head, agents, o, writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{EmptyLog: true})
		for i := range 30 {
			job.Printf("line %d\n", i)
		}
		r.until("the limit event is written", func() bool { return len(r.events("job-1", record.EventLimit)) > 0 })
		job.End("SUCCEEDED", 0)
		r.until("the tail has ended", func() bool { return r.shipper.tail("job-1") == nil })
		recs := r.records("job-1")
		if n := len(recs); n != 12 || recs[10].Message != "line 9" || recs[11].Limit != "max_lines" || recs[11].Seq != 10 {
			t.Errorf("%d records, the last ones %+v", n, recs[max(0, n-2):])
		}
	})
}

func TestLimits_Pause(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		o := fastOptions(protocol)
		o.Limits = tail.Limits{MaxLines: 7, Interval: 30 * time.Millisecond, Pause: true}
		r := newHarness(t, head, agents, o, writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{EmptyLog: true})
		for i := range 40 {
			job.Printf("line %d\n", i)
		}
		job.End("SUCCEEDED", 0)
		r.waitEnd("job-1")
		r.checkLines("job-1", job.Log())
		if len(r.events("job-1", record.EventLimit)) < 4 {
			t.Error("the limit was not exceeded: the test proves nothing")
		}
	})
}

func TestLimits_MemorySinkBlocked(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		o := fastOptions(protocol)
		r := newHarness(t, head, agents, o, writer.Options{Memory: 1 << 20})
		r.sink.setBlocked(true)
		var jobs []*raytest.Job
		for i := range 4 {
			j := head.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{})
			jobs = append(jobs, j)
			for range 25 {
				j.Print(strings.Repeat("0123456789", 2000) + "\n")
			}
		}
		r.until("memory is in use", func() bool { return r.metric("memory_bytes") > 1<<19 })
		if used := r.metric("memory_bytes"); used > 1<<20+4*6*float64(256<<10) {
			t.Errorf("%v bytes of memory are in use", used)
		}
		r.sink.setBlocked(false)
		for _, j := range jobs {
			log := j.Log()
			j.End("SUCCEEDED", 0)
			r.waitEnd(j.ID)
			r.checkLines(j.ID, log)
		}
	})
}

func TestLimits_MemoryPartialLinesHoldAll(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		o := fastOptions(protocol)
		r := newHarness(t, head, agents, o, writer.Options{Memory: 600 << 10})
		var jobs []*raytest.Job
		for i := range 8 {
			j := head.Submit(fmt.Sprintf("job-%d", i), raytest.JobOptions{})
			jobs = append(jobs, j)
			j.Print(strings.Repeat("part of a line ", 9_000))
		}
		r.until("all jobs are tailed", func() bool {
			for _, j := range jobs {
				if len(r.records(j.ID)) < 3 {
					return false
				}
			}
			return true
		})
		for _, j := range jobs {
			j.Print("\n")
			j.End("SUCCEEDED", 0)
		}
		for _, j := range jobs {
			r.waitEnd(j.ID)
			r.checkLines(j.ID, j.Log())
		}
	})
}
