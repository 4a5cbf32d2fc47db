package shipper

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/record"
)

func TestANewNameForTheSameRayTakesItsPositionsOver(t *testing.T) {
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	o, oo := quick(ProtocolHTTP), OutputOptions{Interval: 3 * time.Millisecond}
	r := newRigOn(t, head, "on", o, oo, file)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("under the old name\n")
	r.until("it was read", func() bool { return len(r.records("job-1")) >= 4 })
	r.stop()
	o.Cluster = "renamed"
	r = newRigOn(t, head, "on", o, oo, file)
	job.Print("under the new one\n")
	log := job.Log()
	job.End("SUCCEEDED", 0)
	r.ended("job-1")
	r.exact("job-1", log)
	if n := len(r.events("job-1", record.EventStart)); n != 1 {
		t.Errorf("%d start events", n)
	}
}

func TestOneRayIsShippedUnderOneNameOnly(t *testing.T) {
	p, err := OpenPositions("")
	if err != nil {
		t.Fatal(err)
	}
	p.configure([]string{"a", "b"}, time.Now())
	if err := p.claim("a", "session"); err != nil {
		t.Fatal(err)
	}
	if err := p.claim("b", "session"); err == nil || !strings.Contains(err.Error(), `"a" ships already`) {
		t.Errorf("a second name was let in: %v", err)
	}
	if err := p.claim("b", "another session"); err != nil {
		t.Error(err)
	}
	p.setCluster("a", clusterState{session: "session", seen: true})
	p.unclaim("a")
	if err := p.claim("c", "session"); err == nil {
		t.Error("a name took over what one that is configured has")
	}
	p.configure([]string{"b", "c"}, time.Now())
	if err := p.claim("c", "session"); err != nil || !p.cluster("c").seen || p.cluster("a").seen {
		t.Errorf("what a removed cluster has left was not taken over: %v", err)
	}
}

func TestAJobThatTheBackfillLeftOutIsForgottenWhenDiscoveryForgetsIt(t *testing.T) {
	p, err := OpenPositions(filepath.Join(t.TempDir(), "positions.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	left := map[string]time.Time{"old": time.UnixMilli(5)}
	p.setCluster("c", clusterState{session: "s", seen: true, left: left})
	if err := p.Save(t.Context(), p.Mark()); err != nil {
		t.Fatal(err)
	}
	delete(left, "old")
	if len(p.cluster("c").left) != 1 {
		t.Error("the positions share discovery's map")
	}
	p.setCluster("c", clusterState{session: "s", seen: true, left: left})
	if !p.changed() || len(p.cluster("c").left) != 0 {
		t.Errorf("not saved again: %v", p.cluster("c").left)
	}
}
