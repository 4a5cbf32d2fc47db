package tail

import (
	"errors"
	"testing"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/slots"

	"raytap/lines"
	"raytap/ray"
)

// A log is lost only after several tries over time in which raytap ran. A process that was
// stopped for longer than lost_after has tried nothing meanwhile.
func TestLostWatch_StoppedProcess(t *testing.T) {
	cl := testCluster(t, Options{Cluster: "test"})
	tl := New(cl, slots.New(8, nil, func(map[string]int) {}), "s", ray.Job{SubmissionID: "job", Status: ray.JobFailed, DriverNodeID: "n"}, &checkpoint.Log{State: checkpoint.State{Pos: lines.Start()}})
	now := time.Now()
	tl.health.lastRead.Set(now)
	tl.job.terminalAt.Set(now)
	l := lostWatch{pause: 30 * time.Second}
	failed := errors.New("read failed")
	fail := func(after time.Duration) error {
		now = now.Add(after)
		return l.check(t.Context(), tl, failed, now)
	}
	if err := fail(time.Second); err != nil {
		t.Fatal(err)
	}
	for range 3 { // stopped for longer than lost_after, again and again
		if err := fail(20 * time.Minute); err != nil {
			t.Fatalf("lost after the first failed try after a stop: %v", err)
		}
	}
	tries := 0
	for err := error(nil); err == nil; tries++ {
		if err = fail(30 * time.Second); err != nil && !errors.Is(err, errLost) || tries > 30 {
			t.Fatalf("error %v after %d tries, want %v", err, tries, errLost)
		}
	}
	if tries < 10 {
		t.Errorf("lost after %d tries in %s of running", tries, time.Duration(tries)*30*time.Second)
	}
	l = lostWatch{pause: 30 * time.Second}
	tl.health.lastRead.Set(now)
	if err := fail(11 * time.Minute); err != nil {
		t.Errorf("lost after one try: %v", err)
	}
	// A successful read resets the count.
	for range 15 {
		tl.health.lastRead.Set(now)
		if err := fail(time.Minute); err != nil {
			t.Fatalf("a log that can be read is lost: %v", err)
		}
	}
}
