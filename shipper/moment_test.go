package shipper

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/lines"
	"raytap/ray"
)

// The law: durations are measured by our clock. That Ray's is two minutes behind, or
// ahead, takes no time from a job's children.
func TestAnEndByAnotherClockSkipsNoLinger(t *testing.T) {
	for _, off := range []time.Duration{-2 * time.Minute, 2 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			a := &agentAlone{log: numbered(0, 10, "\n")}
			recs := shipAlone(t, a, func(*Shipper) {
				time.Sleep(time.Second)
				a.change(func() { a.over, a.end = true, time.Now().Add(off) })
				time.Sleep(8 * time.Second) // it is listed, and has lingered for less than 5 s
				a.change(func() { a.log = append(a.log, "of a child\n"...) })
				time.Sleep(time.Minute)
			})
			if err := exactly(recs, a.log); err != nil {
				t.Error(err)
			}
			var events []string
			for _, r := range recs {
				if r.Event != "" {
					events = append(events, r.Event)
				}
			}
			if got := strings.Join(events, " "); got != "start end" {
				t.Errorf("Ray's clock is off by %s: events %s", off, got)
			}
		})
	}
}

// The law: a step of the wall clock changes no duration.
func TestAMomentKeepsTheMonotonicClock(t *testing.T) {
	var m moment
	if m.isSet() || !m.get().IsZero() {
		t.Error("the zero value is a time")
	}
	now := time.Now()
	m.setFirst(now)
	m.setFirst(now.Add(time.Hour))
	if !strings.Contains(m.get().String(), " m=+") || !m.get().Equal(now) {
		t.Errorf("%s was set, %s is kept", now, m.get())
	}
	if m.clear(); m.isSet() {
		t.Error("it is cleared and set")
	}
}

// The law: a log is lost only after several tries over time awake. A process that was
// stopped for longer than lost_after has tried nothing meanwhile.
func TestTimeStoppedIsNotTimeTried(t *testing.T) {
	s := New(&agentAlone{}, &agentAlone{}, NewOutput(&memory{}, OutputOptions{}), Options{Cluster: "test"})
	st := newTail(s.tails, s.sessionSlots("s"), "s", ray.Job{SubmissionID: "job", Status: ray.JobFailed, DriverNodeID: "n"}, &logState{snapshot: snapshot{pos: lines.Start()}})
	now := time.Now()
	st.health.lastRead.set(now)
	st.job.terminalAt.set(now)
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
	st.health.lastRead.set(now)
	if err := fail(11 * time.Minute); err != nil {
		t.Errorf("one try gave the log up: %v", err)
	}
	// A read that succeeds starts it again.
	for range 15 {
		st.health.lastRead.set(now)
		if err := fail(time.Minute); err != nil {
			t.Fatalf("a log that can be read is lost: %v", err)
		}
	}
}
