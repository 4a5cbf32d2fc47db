package shipper

import (
	"fmt"
	"testing"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/shipper/record"
	"raytap/shipper/writer"
)

// withWorkers makes a harness ship the logs of workers, too.
func withWorkers(t *testing.T, head *raytest.Head, o Options, file string) *harness {
	t.Helper()
	c := client(t, head, "auto")
	o.NodeLogs = c
	r := newHarnessFor(t, func(out *writer.Writer, o Options) *Shipper { return New(uncached{c}, c, out, o) }, o, writer.Options{}, file)
	r.head = head
	return r
}

func workerFile(i int, job, extension string) string {
	return fmt.Sprintf("worker-%056x-%s-%d.%s", i, job, 1000+i, extension)
}

// One query for the submission id finds the driver's lines and those of its workers.
func TestNodeLogs_Workers(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	node := head.Nodes()[0]
	job := head.Submit("train", raytest.JobOptions{JobID: "02000000"})
	job.Run()
	fmt.Fprintln(job, "from the driver")
	var alive []ray.Worker
	for i := range 3 {
		alive = append(alive, ray.Worker{ID: fmt.Sprintf("%056x", i), PID: 1000 + i, JobID: "02000000", Type: "WORKER"})
		node.AppendFile(workerFile(i, "ffffffff", "out"), fmt.Sprintf(":job_id:02000000\n:task_name:f\nout of %d\n", i))
		node.AppendFile(workerFile(i, "ffffffff", "err"), fmt.Sprintf(":job_id:02000000\nerr of %d\n", i))
	}
	node.SetWorkers(alive...)
	file := t.TempDir() + "/lines.jsonl"
	r := withWorkers(t, head, fastOptions("auto"), file)
	lines := func() map[string]int {
		got := map[string]int{}
		for _, rec := range r.records("train") {
			if rec.Event == "" {
				got[rec.Message]++
			}
		}
		return got
	}
	has := func(want ...string) func() bool {
		return func() bool {
			got := lines()
			for _, line := range want {
				if got[line] != 1 {
					return false
				}
			}
			return true
		}
	}
	r.until("all lines are shipped", has("from the driver", "out of 0", "out of 1", "out of 2", "err of 0", "err of 1", "err of 2"))
	if n := r.metric("files", "source", "worker", "state", "live"); n != 6 {
		t.Errorf("%v files", n)
	}
	if r.metric("looks_total", "source", "worker") < 6 {
		t.Error("looks are not counted")
	}
	// Rotated, and read on after a restart.
	r.stop()
	node.RotateFile(workerFile(1, "ffffffff", "out"), 3)
	node.AppendFile(workerFile(1, "ffffffff", "out"), "after the rotation\n")
	r = withWorkers(t, head, fastOptions("auto"), file)
	r.until("the next line is shipped", has("after the rotation"))
	r.stop()
	for line, n := range lines() {
		if n != 1 {
			t.Errorf("%q: %d times", line, n)
		}
	}
	if gaps := r.events("train", record.EventGap); len(gaps) != 0 {
		t.Errorf("gaps: %+v", gaps)
	}
}

// Without driver in shipper.sources no driver log is read.
func TestNodeLogs_NoDrivers(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	node := head.Nodes()[0]
	job := head.Submit("train", raytest.JobOptions{JobID: "02000000"})
	job.Run()
	fmt.Fprintln(job, "from the driver")
	node.SetWorkers(ray.Worker{ID: fmt.Sprintf("%056x", 1), PID: 1001, JobID: "02000000", Type: "WORKER"})
	node.AppendFile(workerFile(1, "02000000", "out"), ":job_id:02000000\nfrom a worker\n")
	o := fastOptions("auto")
	o.NoDrivers = true
	r := withWorkers(t, head, o, "")
	r.until("the worker's line is shipped", func() bool { return len(r.records("train")) > 0 })
	r.stop()
	if got := r.records("train"); len(got) != 1 || got[0].Message != "from a worker" {
		t.Errorf("records: %+v", got)
	}
}
