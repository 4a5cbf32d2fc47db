package nodelogs

import (
	"slices"
	"testing"
	"time"

	"raytap/ray"
)

const job = "02000000"

var submitted = []ray.Job{{Type: ray.JobSubmission, SubmissionID: "raysubmit_1", JobID: job, Metadata: map[string]string{"job_name": "train"}}}

// A worker's lines are shipped with whose they are.
func TestCluster_Worker(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1)
		out, err := fileName(1, "ffffffff", "out"), fileName(1, "ffffffff", "err")
		n.write(at, out, ":job_id:%s\n:actor_name:Counter\nfirst\n\n:task_name:f\nsecond\nhalf", job)
		n.write(at, err, ":job_id:%s\n:task_name:f\nfrom f\n:task_name:g\nfrom g\n", job)
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(5 * time.Second)
		n.write(at, out, " and half\n")
		pass(time.Minute)
		h.stop()
		h.checkKeys()
		want := map[string]jsonRecord{
			"first": {Seq: 2, Skipped: 2, ActorName: "Counter", Stream: "stdout"}, "second": {Seq: 4, Skipped: 1, ActorName: "Counter", Stream: "stdout"},
			"half and half": {Seq: 5, ActorName: "Counter", Stream: "stdout"},
			"from f":        {Seq: 2, Skipped: 2, TaskName: "f", Stream: "stderr"}, "from g": {Seq: 4, Skipped: 1, TaskName: "g", Stream: "stderr"},
		}
		records := h.records()
		if len(records) != len(want) {
			t.Errorf("%d records, want %d: %+v", len(records), len(want), records)
		}
		for _, r := range records {
			w := want[r.Message]
			w.Session, w.Source, w.Message, w.SubmissionID, w.JobID, w.JobName = testSession, "worker", r.Message, "raysubmit_1", job, "train"
			w.WorkerID, w.NodeID, w.PID, w.Log, w.Blank = workerID(1), at.NodeID, 1001, "worker-"+workerID(1)+"."+map[string]string{"stdout": "out", "stderr": "err"}[w.Stream], r.Blank
			if r != w {
				t.Errorf("got  %+v\nwant %+v", r, w)
			}
		}
	})
}

// Workers that live for half a second and print one line: each line once, also after
// restarts, and when hours have passed.
func TestCluster_ShortWorkers(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 0)
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(time.Minute)
		for i := 1; i <= 300; i++ {
			out := fileName(i, job, "out")
			n.write(at, out, ":job_id:%s\nline of %d\n", job, i)
			n.write(at, fileName(i, job, "err"), "")
			pass(500 * time.Millisecond)
			if i > 4 {
				n.rename(at, fileName(i-4, job, "out"), "old/"+fileName(i-4, job, "out"))
			}
			if i%100 == 0 {
				h.stop()
				h = start(t, n, dir, Options{})
				h.cluster.Observe(testSession, submitted)
			}
		}
		pass(5 * time.Minute)
		check := func() {
			t.Helper()
			h.checkKeys()
			got := h.messages()
			slices.Sort(got)
			if len(got) != 300 || len(slices.Compact(got)) != 300 {
				t.Fatalf("%d lines", len(got))
			}
			ended := map[string]bool{}
			for _, r := range h.events("end") {
				ended[r.Log] = true
			}
			for i, r := range h.records() {
				if !ended[r.Log] {
					t.Errorf("record %d has no end: %+v", i, r)
				}
			}
			if ends := h.events("end"); len(ends) != 300 || len(h.records()) != 600 {
				t.Fatalf("%d ends, %d records", len(ends), len(h.records()))
			}
		}
		check()
		pass(time.Hour)
		if got := h.cluster.Stats().Files; got["done"] != 600 || got["live"] != 0 || got["ended"] != 0 {
			t.Errorf("files: %v", got)
		}
		h.stop()
		h = start(t, n, dir, Options{})
		pass(time.Hour)
		h.stop()
		check()
	})
}

// One identical line 10,000 times, through 30 rotations.
func TestCluster_IdenticalLines(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1)
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(time.Minute)
		out := fileName(1, job, "out")
		n.write(at, out, ":job_id:%s\n", job)
		pass(20 * time.Second)
		written := 0
		for range 30 {
			for range 333 {
				n.write(at, out, "tick\n")
				written++
				pass(10 * time.Millisecond)
			}
			n.rotate(at, out, 5)
		}
		for ; written < 10_000; written++ {
			n.write(at, out, "tick\n")
		}
		pass(2 * time.Minute)
		h.stop()
		h.checkKeys()
		if got := len(h.messages()); got != 10_000 || len(h.records()) != got {
			t.Errorf("%d lines, %d records", got, len(h.records()))
		}
	})
}

// Two raylets on one host serve the same files: each line once.
func TestCluster_SharedDirectory(t *testing.T) {
	for _, empty := range []bool{false, true} {
		inBubble(t, func(t *testing.T, n *nodes, dir string) {
			first := n.add(nil)
			second := n.add(first)
			h := start(t, n, dir, Options{})
			h.cluster.Observe(testSession, submitted)
			if empty { // both agents are found before there is a file
				pass(time.Minute)
			}
			for i := range 20 {
				n.live([]*node{first, second}[i%2], i)
				n.write(first, fileName(i, job, "out"), ":job_id:%s\n", job)
			}
			for k := range 50 {
				for i := range 20 {
					n.write(second, fileName(i, job, "out"), "line %d of %d\n", k, i)
				}
				pass(time.Second)
				if k == 25 {
					n.set(func() { first.State = ray.NodeDead }) // the other one goes on
				}
			}
			pass(time.Minute)
			h.stop()
			h.checkKeys()
			if got := len(h.messages()); got != 1000 {
				t.Errorf("%d lines", got)
			}
			if ends := len(h.events("end")); ends > 10 {
				t.Errorf("%d ends", ends)
			}
			for _, r := range h.records() {
				if r.Event == "" && r.NodeID != first.NodeID && r.NodeID != second.NodeID {
					t.Fatalf("node %q", r.NodeID)
				}
			}
		})
	}
}

// While the head does not know workers, or does not answer, no worker is dead.
func TestCluster_HeadRestart(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		for i := range 20 {
			n.live(at, i)
			n.write(at, fileName(i, job, "out"), ":job_id:%s\n", job)
		}
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		print := func() {
			for i := range 20 {
				n.write(at, fileName(i, job, "out"), "line\n")
			}
		}
		for range 5 {
			print()
			pass(20 * time.Second)
			n.set(func() { n.unknown = true })
			pass(time.Minute)
			print()
			n.set(func() { n.unknown = false })
			pass(20 * time.Second)
		}
		if ends := h.events("end"); len(ends) != 0 {
			t.Errorf("ends while all workers live: %+v", ends)
		}
		n.die(at, 3, 4)
		pass(2 * time.Minute)
		if ends := h.events("end"); len(ends) != 2 || !*ends[0].Complete || ends[0].Lines != 11 {
			t.Errorf("ends: %+v", ends)
		}
		n.write(at, fileName(3, job, "out"), "a child still prints\n")
		pass(5 * time.Minute)
		if ends := h.events("end"); len(ends) != 3 || ends[2].Lines != 12 {
			t.Errorf("ends: %+v", ends)
		}
		h.stop()
		h.checkKeys()
		if got := len(h.messages()); got != 201 {
			t.Errorf("%d lines", got)
		}
	})
}

// The last line of a dead worker needs no line end.
func TestCluster_HalfLineAtEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 0, 1)
		n.write(at, fileName(1, job, "out"), ":job_id:%s\nwhole\nhalf", job)
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(time.Minute)
		if got := h.messages(); !slices.Equal(got, []string{"whole"}) {
			t.Errorf("lines: %q", got)
		}
		n.die(at, 1)
		pass(2 * time.Minute)
		h.stop()
		h.checkKeys()
		if got := h.messages(); !slices.Equal(got, []string{"whole", "half"}) {
			t.Errorf("lines: %q", got)
		}
		if ends := h.events("end"); len(ends) != 1 || ends[0].Lines != 3 {
			t.Errorf("ends: %+v", ends)
		}
	})
}

// A log found late begins with a gap if its first generations are gone.
func TestCluster_FoundLate(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1, 2)
		for _, i := range []int{1, 2} {
			out := fileName(i, job, "out")
			n.write(at, out, ":job_id:%s\n", job)
			for k := range 4 {
				n.write(at, out, "line %d\n", k)
				n.rotate(at, out, 2*i)
			}
		}
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(time.Minute)
		h.stop()
		h.checkKeys()
		gaps := h.events("gap")
		if len(gaps) != 1 || gaps[0].WorkerID != workerID(1) || gaps[0].Seq != 0 {
			t.Errorf("gaps: %+v", gaps)
		}
		if got := len(h.messages()); got != 6 {
			t.Errorf("%d lines", got)
		}
	})
}

// The backfill leaves out the logs of workers that are dead when their directory is first
// seen, and never those that come later.
func TestCluster_Backfill(t *testing.T) {
	for mode, want := range map[Backfill][]string{
		BackfillRunning: {"1 alive", "3 new"}, BackfillAll: {"1 alive", "2 dead", "3 new"}, BackfillNone: {"3 new"},
	} {
		inBubble(t, func(t *testing.T, n *nodes, dir string) {
			at := n.add(nil)
			n.live(at, 0, 1)
			n.write(at, fileName(1, job, "out"), ":job_id:%s\n1 alive\n", job)
			n.write(at, "old/"+fileName(2, job, "out"), ":job_id:%s\n2 dead\n", job)
			h := start(t, n, dir, Options{Backfill: mode})
			h.cluster.Observe(testSession, submitted)
			pass(5 * time.Second)
			n.write(at, fileName(3, job, "out"), ":job_id:%s\n3 new\n", job)
			pass(10 * time.Minute)
			later := n.add(nil) // all of its files are new
			n.write(later, fileName(4, job, "out"), ":job_id:%s\n4 on a new node\n", job)
			pass(10 * time.Minute)
			h.stop()
			h = start(t, n, dir, Options{Backfill: mode})
			pass(time.Hour)
			h.stop()
			h.checkKeys()
			got := h.messages()
			slices.Sort(got)
			if w := append(slices.Clone(want), "4 on a new node"); !slices.Equal(got, w) {
				t.Errorf("mode %d: %q, want %q", mode, got, w)
			}
		})
	}
}

// When the session is over each log has one end, and quiet ones share one.
func TestCluster_SessionOver(t *testing.T) {
	for _, restart := range []bool{false, true} {
		inBubble(t, func(t *testing.T, n *nodes, dir string) {
			at := n.add(nil)
			for i := range 30 {
				n.live(at, i)
				n.write(at, fileName(i, job, "out"), ":job_id:%s\nline\n", job)
				n.write(at, fileName(i, job, "err"), "")
			}
			h := start(t, n, dir, Options{})
			h.cluster.Observe(testSession, submitted)
			pass(5 * time.Minute)
			n.write(at, fileName(7, job, "out"), "still prints\n")
			pass(70 * time.Second)
			n.write(at, fileName(7, job, "out"), "still prints\n")
			pass(65 * time.Second)
			n.write(at, fileName(7, job, "out"), "unread")
			n.set(func() { clear(at.files) })
			if restart {
				h.stop()
				h = start(t, n, dir, Options{})
			}
			h.cluster.Observe("session_2", nil)
			pass(5 * time.Minute)
			h.stop()
			h.checkKeys()
			ends := h.events("end")
			logs := uint64(0)
			for _, e := range ends {
				if *e.Complete {
					t.Errorf("complete: %+v", e)
				}
				logs += max(e.Logs, 1)
			}
			if logs != 30 || len(ends) > 2 {
				t.Errorf("restart %t: %d ends of %d logs: %+v", restart, len(ends), logs, ends)
			}
		})
	}
}

// A log waits for the job list to name its job, for 15 s.
func TestCluster_JobWait(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1, 2)
		n.write(at, fileName(1, job, "out"), ":job_id:%s\nnamed later\n", job)
		n.write(at, fileName(2, job, "out"), ":job_id:03000000\nnever named\n")
		h := start(t, n, dir, Options{})
		pass(8 * time.Second)
		if got := h.messages(); len(got) != 0 {
			t.Errorf("lines before the job is known: %q", got)
		}
		h.cluster.Observe(testSession, submitted)
		pass(20 * time.Second)
		h.stop()
		got := map[string]string{}
		for _, r := range h.records() {
			got[r.Message] = r.SubmissionID + " " + r.JobID
		}
		if got["named later"] != "raysubmit_1 "+job || got["never named"] != " 03000000" || len(got) != 2 {
			t.Errorf("got %v", got)
		}
	})
}

// Selectors decide with the job, and do not exclude what is not known.
func TestCluster_Selectors(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		jobs := append(slices.Clone(submitted), ray.Job{Type: ray.JobDriver, JobID: "03000000"})
		for i, id := range []string{job, "03000000", "04000000"} {
			n.live(at, i)
			n.write(at, fileName(i, id, "out"), ":job_id:%s\nline of %s\n", id, id)
		}
		o := Options{Selects: func(j ray.Job) bool { return j.SubmissionID != "raysubmit_1" }}
		h := start(t, n, dir, o)
		h.cluster.Observe(testSession, jobs)
		pass(time.Minute)
		h.stop()
		if got := h.messages(); len(got) != 2 {
			t.Errorf("lines: %q", got)
		}
		h = start(t, n, dir, Options{}) // after a reload nothing is excluded
		h.cluster.Observe(testSession, jobs)
		pass(time.Minute)
		h.stop()
		h.checkKeys()
		if got := h.messages(); len(got) != 3 {
			t.Errorf("lines: %q", got)
		}
	})
}

// An agent that does not answer is asked again at growing pauses, and nothing is lost.
func TestCluster_AgentDown(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		for i := range 50 {
			n.live(at, i)
			n.write(at, fileName(i, job, "out"), ":job_id:%s\nline 1\n", job)
		}
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(time.Minute)
		n.set(func() { n.down = true; clear(n.requests) })
		for i := range 50 {
			n.write(at, fileName(i, job, "out"), "line 2\n")
		}
		pass(10 * time.Minute)
		if total := n.count("stat") + n.count("file") + n.count("index"); total > 150 {
			t.Errorf("%d requests in 10 minutes", total)
		}
		n.set(func() { n.down = false })
		pass(5 * time.Minute)
		h.stop()
		h.checkKeys()
		if got := len(h.messages()); got != 100 {
			t.Errorf("%d lines", got)
		}
	})
}
