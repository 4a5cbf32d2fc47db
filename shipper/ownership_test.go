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

// A Ray that gets another name, or is found in Kubernetes, or whose cluster is created again
// there with the same session, is read on where it was.
func TestOwnership_PositionsTakenOver(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(*Options){
		"another name":        func(o *Options) { o.Cluster = "renamed" },
		"found in Kubernetes": func(o *Options) { o.Cluster, o.ID = "ray/dev", "uid-2" },
		"created again":       func(o *Options) { o.ID = "uid-2" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := fastOptions(tail.ProtocolHTTP)
			if name == "created again" {
				o.Cluster, o.ID = "ray/dev", "uid-1"
			}
			takesOver(t, o, then)
		})
	}
}

func takesOver(t *testing.T, o Options, then func(*Options)) {
	t.Helper()
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo := writer.Options{Interval: 3 * time.Millisecond}
	r := newHarnessWithFile(t, head, "on", o, oo, file)
	job := head.Submit("job-1", raytest.JobOptions{})
	job.Print("under the old name\n")
	r.until("its first line is shipped", func() bool { return len(r.records("job-1")) >= 4 })
	r.stop()
	then(&o)
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
