package checkpoint

import (
	"testing"
	"time"
)

func TestWhatTheBackfillLeftOutIsRememberedAsItWas(t *testing.T) {
	p, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]time.Time{"a": time.Unix(1, 0), "b": time.Unix(2, 0)}
	p.SetCluster("test", ClusterState{Session: "s", Seen: true, BackfillSkipped: left})
	p.dirty = false
	delete(left, "a") // while a save may be under way
	if n := len(p.Cluster("test").BackfillSkipped); n != 2 {
		t.Errorf("%d jobs are left out, want 2: the caller's map is not the positions'", n)
	}
	p.SetCluster("test", ClusterState{Session: "s", Seen: true, BackfillSkipped: left})
	if !p.Changed() || len(p.Cluster("test").BackfillSkipped) != 1 {
		t.Error("that a job is left out no longer would not be saved")
	}
}
