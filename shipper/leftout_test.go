package shipper

import (
	"testing"
	"time"
)

func TestWhatTheBackfillLeftOutIsRememberedAsItWas(t *testing.T) {
	p, err := OpenPositions("")
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]time.Time{"a": time.Unix(1, 0), "b": time.Unix(2, 0)}
	p.setCluster("test", clusterState{session: "s", seen: true, left: left})
	p.dirty = false
	delete(left, "a") // while a save may be under way
	if n := len(p.cluster("test").left); n != 2 {
		t.Errorf("%d jobs are left out, want 2: the caller's map is not the positions'", n)
	}
	p.setCluster("test", clusterState{session: "s", seen: true, left: left})
	if !p.changed() || len(p.cluster("test").left) != 1 {
		t.Error("that a job is left out no longer would not be saved")
	}
}
