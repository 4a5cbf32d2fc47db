package nodelogs

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"raytap/ray"
)

// An empty list of nodes, as right after a start of the dashboard, says nothing: neither is
// the cluster new, nor are its nodes gone.
func TestCluster_EmptyNodeList(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1)
		n.write(at, fileName(1, job, "out"), ":job_id:%s\nalive\n", job)
		n.write(at, fileName(2, job, "out"), ":job_id:%s\nold\n", job)
		list := n.list
		n.set(func() { n.list = nil })
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(5 * time.Second)
		n.set(func() { n.list = list })
		pass(5 * time.Minute)
		if got := h.messages(); !slices.Equal(got, []string{"alive"}) {
			t.Errorf("shipped %v, want the log of the worker that is alive", got)
		}
		n.set(func() { n.list = nil })
		pass(5 * time.Minute)
		n.set(func() { n.list = list })
		pass(time.Minute)
		n.write(at, fileName(1, job, "out"), "still\n")
		pass(5 * time.Minute)
		h.stop()
		if ends := h.events("end"); len(ends) > 0 {
			t.Errorf("an end: %+v", ends)
		}
		if got := h.messages(); !slices.Equal(got, []string{"alive", "still"}) {
			t.Errorf("shipped %v", got)
		}
		h.checkKeys()
	})
}

// Before a list shows that a node is dead, an agent of another cluster may answer at its
// address. None of its logs are shipped, and the node's own have not gone.
func TestCluster_AddressOfAnotherCluster(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1)
		n.write(at, fileName(1, job, "out"), ":job_id:%s\nown\n", job)
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(2 * time.Minute)
		own := at.files
		n.set(func() { at.files = map[string]*file{} })
		n.write(at, fileName(7, job, "out"), ":job_id:%s\nforeign\n", job)
		pass(10 * time.Minute)
		n.set(func() { at.files = own })
		n.write(at, fileName(1, job, "out"), "again\n")
		n.live(at, 2)
		n.write(at, fileName(2, job, "out"), ":job_id:%s\nnew\n", job)
		pass(5 * time.Minute)
		got := h.messages()
		slices.Sort(got)
		if !slices.Equal(got, []string{"again", "new", "own"}) {
			t.Errorf("shipped %v", got)
		}
		if ends := h.events("end"); len(ends) > 0 {
			t.Errorf("an end: %+v", ends)
		}
		// All logs were deleted, but the node is the same: it names the worker of the new one.
		n.die(at, 1, 2)
		n.set(func() { clear(at.files); at.Workers = []ray.Worker{{ID: workerID(3), PID: 1003}} })
		n.write(at, fileName(3, job, "out"), ":job_id:%s\nlater\n", job)
		pass(5 * time.Minute)
		h.stop()
		if got := h.messages(); !slices.Contains(got, "later") {
			t.Errorf("shipped %v, want the log of the new worker", got)
		}
		h.checkKeys()
	})
}

// An agent of another cluster answers where a node had no logs yet, or with an index that is
// cut off, or with an empty one: it is not known whose that is.
func TestCluster_AddressOfAnotherClusterUnknown(t *testing.T) {
	for name, row := range map[string]struct {
		logs int // of our own
		cut  int
		text string
	}{
		"no logs yet": {text: "foreign"}, "cut off": {logs: 1, cut: 2, text: "foreign"}, "empty": {logs: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *nodes, dir string) {
				at := n.add(nil)
				n.live(at, 0)
				for i := range row.logs {
					n.live(at, 1+i)
					n.write(at, fileName(1+i, job, "out"), ":job_id:%s\nown\n", job)
				}
				h := start(t, n, dir, Options{})
				h.cluster.Observe(testSession, submitted)
				pass(2 * time.Minute)
				files := at.files
				n.set(func() { at.files, n.cut = map[string]*file{}, row.cut })
				if row.text != "" {
					n.write(at, fileName(7, job, "out"), ":job_id:%s\n%s\n", job, row.text)
					n.write(at, fmt.Sprintf("python-core-worker-%s_%d.log", workerID(7), 1007), "")
					n.write(at, fmt.Sprintf("python-core-worker-%s_%d.log", workerID(8), 1008), "")
				}
				pass(45 * time.Second) // until Ray notices
				if row.logs == 0 {
					n.set(func() { at.State = ray.NodeDead })
				} else {
					pass(10 * time.Minute)
					n.set(func() { at.files, n.cut = files, 0 })
					n.write(at, fileName(1, job, "out"), "again\n")
				}
				pass(5 * time.Minute)
				h.stop()
				h.checkKeys()
				var want []string
				if row.logs > 0 {
					want = []string{"own", "again"}
				}
				if got := h.messages(); !slices.Equal(got, want) {
					t.Errorf("shipped %q, want %q", got, want)
				}
				if ends := h.events("end"); len(ends) > 0 {
					t.Errorf("an end: %+v", ends)
				}
			})
		})
	}
}

// A node on which no worker runs has logs, too. Which of them the backfill leaves out is
// decided by when they were first seen.
func TestCluster_NodeWithoutWorkers(t *testing.T) {
	for mode, want := range map[Backfill][]string{BackfillRunning: {"new"}, BackfillAll: {"new", "old"}} {
		inBubble(t, func(t *testing.T, n *nodes, dir string) {
			at := n.add(nil)
			n.write(at, fileName(1, job, "out"), ":job_id:%s\nold\n", job)
			h := start(t, n, dir, Options{Backfill: mode})
			h.cluster.Observe(testSession, submitted)
			pass(30 * time.Second)
			n.write(at, fileName(2, job, "out"), ":job_id:%s\nnew\n", job)
			pass(5 * time.Minute)
			h.stop()
			h.checkKeys()
			got := h.messages()
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("mode %d: shipped %q, want %q", mode, got, want)
			}
		})
	}
}
