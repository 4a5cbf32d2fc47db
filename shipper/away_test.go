package shipper

import (
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/shipper/checkpoint"
	"raytap/shipper/record"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray"
)

// Of a cluster that was deleted while raytap was away each log that was not read to its end gets
// its end, driver logs and those of workers, once.
func TestEndDeleted(t *testing.T) {
	t.Parallel()
	r := newHarness(t, raytest.New(t), "on", fastOptions(tail.ProtocolAuto), writer.Options{})
	positions := r.out.Positions
	log := positions.Log(checkpoint.Key{Cluster: "uid-1", Session: "gone", SubmissionID: "half-read"}, ray.Job{SubmissionID: "half-read", Status: ray.JobRunning})
	state := log.State
	state.Begun, state.Pos.Lines = true, 3
	positions.Accept(log.Entry, state)
	positions.AcceptFile(positions.Files("uid-1", "gone").Entry("worker"), &checkpoint.FileState{
		Name: "worker-" + strings.Repeat("a", 56) + "-01000000-7.out", Directory: "node", Lines: 2, LastTime: time.Now().UnixNano(),
		Attribution: checkpoint.Attribution{Decided: true, SubmissionID: "of-a-worker"},
	})
	o := Options{ID: "uid-1", Options: tail.Options{Cluster: "ray/dev"}}
	EndDeleted(t.Context(), r.out, o)
	for _, id := range []string{"half-read", "of-a-worker"} {
		r.until("the end is written", func() bool { return len(r.events(id, record.EventEnd)) > 0 })
		ends := r.events(id, record.EventEnd)
		if len(ends) != 1 || *ends[0].Complete || !strings.Contains(ends[0].Message, "deleted while raytap was away") {
			t.Errorf("ends of %s: %+v", id, ends)
		}
	}
	if n := len(r.events("half-read", record.EventGap)); n != 1 {
		t.Errorf("%d gap events", n)
	}
	r.until("no log is unfinished", func() bool { return !positions.UnfinishedClusters()["uid-1"] })
	EndDeleted(t.Context(), r.out, o) // nothing
	if n := len(r.events("half-read", record.EventEnd)); n != 1 {
		t.Errorf("%d end events", n)
	}
}
