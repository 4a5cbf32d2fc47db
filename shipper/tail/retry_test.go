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

// The law: a log is lost only after several tries over time awake. A process that was
// stopped for longer than lost_after has tried nothing meanwhile.
func TestTimeStoppedIsNotTimeTried(t *testing.T) {
	cl := testCluster(t, Options{Cluster: "test"})
	st := New(cl, slots.New(8, nil, func(map[string]int) {}), "s", ray.Job{SubmissionID: "job", Status: ray.JobFailed, DriverNodeID: "n"}, &checkpoint.Log{State: checkpoint.State{Pos: lines.Start()}})
	now := time.Now()
	st.health.lastRead.Set(now)
	st.job.terminalAt.Set(now)
	l := lostWatch{pause: 30 * time.Second}
	failed := errors.New("it cannot be read")
	fail := func(after time.Duration) error {
		now = now.Add(after)
		return l.check(t.Context(), st, failed, now)
	}
	if err := fail(time.Second); err != nil {
		t.Fatal(err)
	}
	for range 3 { // stopped for longer than lost_after, again and again
		if err := fail(20 * time.Minute); err != nil {
			t.Fatalf("the first failed try after waking gave the log up: %v", err)
		}
	}
	tries := 0
	for err := error(nil); err == nil; tries++ {
		if err = fail(30 * time.Second); err != nil && !errors.Is(err, errLost) || tries > 30 {
			t.Fatalf("after %d tries: %v", tries, err)
		}
	}
	if tries < 10 {
		t.Errorf("the log is lost after %d tries in %s awake", tries, time.Duration(tries)*30*time.Second)
	}
	l = lostWatch{pause: 30 * time.Second}
	st.health.lastRead.Set(now)
	if err := fail(11 * time.Minute); err != nil {
		t.Errorf("one try gave the log up: %v", err)
	}
	// A read that succeeds starts it again.
	for range 15 {
		st.health.lastRead.Set(now)
		if err := fail(time.Minute); err != nil {
			t.Fatalf("a log that can be read is lost: %v", err)
		}
	}
}
