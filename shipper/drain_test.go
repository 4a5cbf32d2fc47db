package shipper

import (
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/record"
	"raytap/shipper/tail"
	"raytap/shipper/writer"
)

// returned waits until the shipper has ended by itself.
func (r *harness) returned() {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(time.Minute):
		r.t.Fatal("the shipper has not returned")
	}
}

// slowOptions have the pauses of a quiet cluster, which a drain must not wait for.
func slowOptions() Options {
	o := fastOptions(tail.ProtocolAuto)
	o.Interval, o.PollInterval, o.GracePeriod, o.DrainSilence = 10*time.Minute, 10*time.Minute, 10*time.Minute, 300*time.Millisecond
	return o
}

// What a cluster that is being deleted still answers is read at once: the end of a job that
// is over, a job that raytap has not seen yet, and what a running job prints.
func TestDrain_ReadsTheRest(t *testing.T) {
	t.Parallel()
	for _, agents := range []string{"on", "off"} {
		t.Run("node agents "+agents, func(t *testing.T) {
			t.Parallel()
			head := raytest.New(t)
			r := newHarness(t, head, agents, slowOptions(), writer.Options{})
			unseen := head.Submit("unseen", raytest.JobOptions{JobID: "01000000", EmptyLog: true})
			unseen.Print("first\n")
			r.shipper.Drain(time.Minute)
			r.until("the job is found", func() bool { return r.lines("unseen") == 1 })
			unseen.Print("second\nlast")
			unseen.End("SUCCEEDED", 0)
			end := r.waitEnd("unseen")
			if !*end.Complete || r.lines("unseen") != 3 {
				t.Errorf("end %+v, %d lines", end, r.lines("unseen"))
			}
			r.returned()
		})
	}
}

// What could not be read is reported: once nothing answers any more, and at once when the head is
// known not to exist any more.
func TestDrain_SaysWhatIsLost(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]func(r *harness){
		"nothing answers": func(r *harness) { r.head.Down() },
		"the head is gone": func(r *harness) {
			r.head.Down()
			r.shipper.Gone()
		},
		"the time is over": func(r *harness) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			head := raytest.New(t)
			o := fastOptions(tail.ProtocolAuto)
			o.DrainSilence = 300 * time.Millisecond
			r := newHarness(t, head, "on", o, writer.Options{})
			job := head.Submit("job-1", raytest.JobOptions{JobID: "01000000", EmptyLog: true})
			job.Print("one\n")
			r.until("its first line is shipped", func() bool { return r.lines("job-1") == 1 })
			r.shipper.Drain(time.Second)
			job.Print("two\n")
			r.until("its second line is shipped", func() bool { return r.lines("job-1") == 2 })
			gone(r)
			end := r.waitEnd("job-1")
			if *end.Complete || !strings.Contains(end.Message, "cluster was deleted") || end.Status != "RUNNING" {
				t.Errorf("end %+v", end)
			}
			if n := len(r.events("job-1", record.EventGap)); n != 1 {
				t.Errorf("%d gap events", n)
			}
			r.returned()
		})
	}
}

// A drain without a job ends once the cluster has said so.
func TestDrain_NothingToRead(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	r := newHarness(t, head, "on", slowOptions(), writer.Options{})
	r.shipper.Drain(time.Minute)
	r.returned()
}
