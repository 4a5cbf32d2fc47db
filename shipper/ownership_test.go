package shipper

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/ray"
	"raytap/shipper/checkpoint"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray/raytest"
	"raytap/shipper/record"
)

func TestOwnership_NewNameTakesPositionsOver(t *testing.T) {
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	o, oo := fastOptions(tail.ProtocolHTTP), writer.Options{Interval: 3 * time.Millisecond}
	r := newHarnessWithFile(t, head, "on", o, oo, file)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("under the old name\n")
	r.until("its first line is shipped", func() bool { return len(r.records("job-1")) >= 4 })
	r.stop()
	o.Cluster = "renamed"
	r = newHarnessWithFile(t, head, "on", o, oo, file)
	job.Print("under the new one\n")
	log := job.Log()
	job.End("SUCCEEDED", 0)
	r.waitEnd("job-1")
	r.checkLines("job-1", log)
	if n := len(r.events("job-1", record.EventStart)); n != 1 {
		t.Errorf("%d start events", n)
	}
}

func TestOwnership_OneNamePerRay(t *testing.T) {
	p, err := checkpoint.Open("")
	if err != nil {
		t.Fatal(err)
	}
	p.Configure([]string{"a", "b"}, time.Now())
	if err := p.Claim("a", "session"); err != nil {
		t.Fatal(err)
	}
	if err := p.Claim("b", "session"); err == nil || !strings.Contains(err.Error(), `"a" ships already`) {
		t.Errorf("a second name was accepted: %v", err)
	}
	if err := p.Claim("b", "another session"); err != nil {
		t.Error(err)
	}
	p.SetCluster("a", checkpoint.ClusterState{Session: "session", Seen: true})
	p.Release("a")
	if err := p.Claim("c", "session"); err == nil {
		t.Error("a new name took over the positions of a configured one")
	}
	p.Configure([]string{"b", "c"}, time.Now())
	if err := p.Claim("c", "session"); err != nil || !p.Cluster("c").Seen || p.Cluster("a").Seen {
		t.Errorf("positions of a removed cluster were not taken over: %v", err)
	}
}

func TestPositionsFile_ForgetsSkippedJobWithDiscovery(t *testing.T) {
	p, err := checkpoint.Open(filepath.Join(t.TempDir(), "positions.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	skipped := map[string]time.Time{"old": time.UnixMilli(5)}
	p.SetCluster("c", checkpoint.ClusterState{Session: "s", Seen: true, BackfillSkipped: skipped})
	if err := p.Save(t.Context(), p.Watermark()); err != nil {
		t.Fatal(err)
	}
	delete(skipped, "old")
	if len(p.Cluster("c").BackfillSkipped) != 1 {
		t.Error("the store shares discovery's map")
	}
	p.SetCluster("c", checkpoint.ClusterState{Session: "s", Seen: true, BackfillSkipped: skipped})
	if !p.Changed() || len(p.Cluster("c").BackfillSkipped) != 0 {
		t.Errorf("the change was not saved: %v", p.Cluster("c").BackfillSkipped)
	}
}

func TestOwnership_UnknownSessionIsNotOne(t *testing.T) {
	p, err := checkpoint.Open("")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := p.Claim(name, ray.UnknownSession); err != nil {
			t.Error(err)
		}
	}
}
