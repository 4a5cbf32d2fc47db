package nodelogs

import (
	"testing"
	"time"

	"raytap/ray"
)

// Logs of an excluded job do not take the place of others, and are shipped from their
// beginnings if the job is not excluded any more.
func TestCluster_ExcludedTakeNoPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1, 2)
		for i := 1; i <= 2; i++ {
			n.write(at, fileName(i, job, "out"), ":job_id:%s\nline of %d\n", job, i)
		}
		h := start(t, n, dir, Options{Selects: func(ray.Job) bool { return false }})
		h.cluster.Observe(testSession, submitted)
		pass(2 * time.Minute)
		n.die(at, 2)
		pass(30 * time.Minute)
		if got := h.cluster.Stats().Files; got["excluded"] != 2 {
			t.Errorf("files: %v", got)
		}
		if s := h.cluster.current; s.open != 0 {
			t.Errorf("%d files count as read, want none", s.open)
		}
		h.stop()
		h = start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(2 * time.Minute)
		h.stop()
		h.checkKeys()
		if got := h.messages(); len(got) != 2 {
			t.Errorf("lines: %q", got)
		}
	})
}
