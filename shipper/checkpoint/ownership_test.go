package checkpoint

import (
	"strings"
	"testing"
	"time"

	"raytap/ray"
)

func TestOwnership_OneNamePerRay(t *testing.T) {
	p, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	p.Configure([]string{"a", "b"}, time.Now())
	if err := p.Claim("a", "session"); err != nil {
		t.Fatal(err)
	}
	if err := p.Claim("b", "session"); err == nil || !strings.Contains(err.Error(), `the same Ray as cluster "a"`) {
		t.Errorf("a second name was accepted: %v", err)
	}
	if err := p.Claim("b", "another session"); err != nil {
		t.Error(err)
	}
	p.SetCluster("a", ClusterState{Session: "session", Seen: true})
	p.Release("a")
	if err := p.Claim("c", "session"); err == nil {
		t.Error("a new name took over the positions of a configured one")
	}
	p.Configure([]string{"b", "c"}, time.Now())
	if err := p.Claim("c", "session"); err != nil || !p.Cluster("c").Seen || p.Cluster("a").Seen {
		t.Errorf("positions of a removed cluster were not taken over: %v", err)
	}
}

func TestOwnership_UnknownSessionIsNotOne(t *testing.T) {
	p, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := p.Claim(name, ray.UnknownSession); err != nil {
			t.Error(err)
		}
	}
}

// Clusters with a log that is not read to its end, of a driver or of a node.
func TestUnfinishedClusters(t *testing.T) {
	p, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	acceptLines(p, Key{Cluster: "drivers", Session: "1", SubmissionID: "a"}, 1)
	done := p.Log(Key{Cluster: "done", Session: "2", SubmissionID: "a"}, ray.Job{})
	next := done.State
	next.Done = true
	p.Accept(done.Entry, next)
	f := p.Files("workers", "3")
	p.AcceptFile(f.Entry("worker-1.out"), fileState(1))
	p.Files("none", "4")
	if got := p.UnfinishedClusters(); len(got) != 2 || !got["drivers"] || !got["workers"] {
		t.Errorf("got %v", got)
	}
}
