package shipper

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray/raytest"
	"raytap/shipper/record"
)

const setupFailed = "runtime_env setup failed: Failed to set up runtime environment.\nOSError: Failed to download runtime_env file package"

// field returns the value of a key of the last event of that kind.
func (r *harness) field(id, event, key string) any {
	r.t.Helper()
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	var value any
	for line := range strings.Lines(r.sink.buf.String()) {
		var rec map[string]any
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			r.t.Fatal(err)
		}
		if rec["submission_id"] == id && rec["event"] == event {
			value = rec[key]
		}
	}
	return value
}

// A job without a node may have a log. What Ray wrote on the head about a job
// that never had a node is shipped.
func TestHeadLog_JobWithoutNode(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, protocol, agents string) {
		head := raytest.New(t)
		r := newHarness(t, head, agents, fastOptions(protocol), writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{Pending: true})
		r.until("the job is tailed", func() bool { return r.metric("tails") == 1 })
		job.FailSetup(setupFailed)
		end := r.waitEnd("job-1")
		lines := 0
		for _, rec := range r.records("job-1") {
			if rec.Event == "" {
				lines++
			}
		}
		if lines != 3 || *end.Lines != 3 || !*end.Complete || end.Status != "FAILED" || !strings.Contains(r.messages("job-1"), "OSError: Failed to download") {
			t.Errorf("%d lines, end event %+v\n%s", lines, end, r.messages("job-1"))
		}
		if got := r.field("job-1", "start", "node_id"); got != head.Nodes()[0].ID {
			t.Errorf("it was read from node %v", got)
		}
		if got := r.field("job-1", "end", "status_message"); got != setupFailed {
			t.Errorf("status_message %q", got)
		}
		if got := r.field("job-1", "end", "error_type"); got != "RUNTIME_ENV_SETUP_FAILURE" {
			t.Errorf("error_type %q", got)
		}
	})
}

// While the head does not respond, it is not known that there is no log: nothing is
// reported as complete.
func TestHeadLog_HeadNotResponding(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} {
		head := raytest.New(t)
		fault := head.Inject(raytest.Fault{Endpoint: raytest.EndpointLogFile})
		o := fastOptions(tail.ProtocolHTTP)
		if !answers {
			o.LostAfter, o.Timeout = 300*time.Millisecond, 50*time.Millisecond
		}
		r := newHarness(t, head, "off", o, writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{Pending: true})
		r.until("the job is tailed", func() bool { return r.metric("tails") == 1 })
		job.FailSetup(setupFailed)
		r.until("requests to the head have failed", func() bool { return fault.Hits() > 2 })
		if answers {
			if n := len(r.events("job-1", record.EventEnd)); n != 0 {
				t.Error("the job has an end event before the head has responded")
			}
			fault.Remove()
		}
		if end := r.waitEnd("job-1"); *end.Complete != answers || len(r.events("job-1", record.EventGap)) > 0 == answers {
			t.Errorf("head responds: %v; end event %+v, %d gaps", answers, end, len(r.events("job-1", record.EventGap)))
		}
		r.stop()
	}
}

// The log of a job that is deleted before its node was known is searched on every node.
func TestHeadLog_DeletedBeforeNodeKnownIsSearched(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	node, err := head.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	r := newHarness(t, head, "on", fastOptions(tail.ProtocolAuto), writer.Options{})
	job := head.Submit("job-1", raytest.JobOptions{Pending: true, Node: node})
	r.until("the job is tailed", func() bool { return r.metric("tails") == 1 })
	down := head.Inject(raytest.Fault{Endpoint: raytest.EndpointJobs})
	once := head.Inject(raytest.Fault{Endpoint: raytest.EndpointJob})
	job.Run()
	job.Print("printed and gone\n")
	job.End("SUCCEEDED", 0)
	job.Delete()
	down.Remove()
	once.Remove()
	end := r.waitEnd("job-1")
	r.checkLines("job-1", job.Log())
	if !*end.Complete {
		t.Errorf("end event %+v", end)
	}
}

// The end event of a job quotes what Ray wrote about it on the head, if it ran on another node.
func TestHeadLog_QuotedInEndOfWorkerJob(t *testing.T) {
	t.Parallel()
	for _, agents := range []string{"on", "off"} {
		head := raytest.New(t)
		node, err := head.AddNode("127.0.0.2")
		if err != nil {
			t.Fatal(err)
		}
		r := newHarness(t, head, agents, fastOptions(tail.ProtocolAuto), writer.Options{})
		job := head.Submit("job-1", raytest.JobOptions{Node: node})
		job.Print("of the driver\n")
		job.AppendHeadLog("Job supervisor actor died: the node was preempted")
		job.End("FAILED", 1)
		r.waitEnd("job-1")
		r.checkLines("job-1", job.Log())
		headLog, _ := r.field("job-1", "end", "head_log").(string)
		if !strings.HasSuffix(headLog, "Runtime env is setting up.\nJob supervisor actor died: the node was preempted") {
			t.Errorf("head_log %q", headLog)
		}
		other := head.Submit("job-2", raytest.JobOptions{})
		other.End("SUCCEEDED", 0)
		r.waitEnd("job-2")
		if got := r.field("job-2", "end", "head_log"); got != nil {
			t.Errorf("head_log of a job on the head: %v", got)
		}
		r.stop()
	}
}

// A log that was found on the head is found again and read on after a restart.
func TestHeadLog_Restart(t *testing.T) {
	t.Parallel()
	head := raytest.New(t)
	file := filepath.Join(t.TempDir(), "lines.jsonl")
	oo := writer.Options{Interval: 3 * time.Millisecond}
	o := fastOptions(tail.ProtocolHTTP)
	o.GracePeriod = 300 * time.Millisecond
	r := newHarnessWithFile(t, head, "on", o, oo, file)
	job := head.Submit("job-1", raytest.JobOptions{Pending: true})
	r.until("the job is tailed", func() bool { return r.metric("tails") == 1 })
	job.FailSetup(setupFailed)
	r.until("its first line is shipped", func() bool { return len(r.records("job-1")) > 1 })
	r.kill()
	r = newHarnessWithFile(t, head, "on", o, oo, file)
	end := r.waitEnd("job-1")
	if recs := r.records("job-1"); len(recs) != 5 || !*end.Complete || r.eventsOf("job-1") != "start end" {
		t.Errorf("records %+v", recs)
	}
}
