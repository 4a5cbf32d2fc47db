package shipper

import (
	"path/filepath"
	"testing"
	"time"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray/raytest"
	"raytap/shipper/record"
)

func TestOwnership_NewNameTakesPositionsOver(t *testing.T) {
	t.Parallel()
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
