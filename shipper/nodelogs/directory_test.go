package nodelogs

import (
	"fmt"
	"testing"
	"time"
)

// The budget holds, however many files there are.
func TestCluster_Budget(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		for i := range 1000 {
			n.live(at, i)
			n.write(at, fileName(i, job, "out"), ":job_id:%s\n%s\n", job, fmt.Sprint("line ", i))
		}
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(5 * time.Minute)
		if got := len(h.messages()); got != 1000 {
			t.Errorf("%d lines", got)
		}
		n.set(func() { clear(n.requests) })
		pass(5 * time.Minute)
		if total := n.count("stat") + n.count("file"); total > 300*10 {
			t.Errorf("%d requests in 5 minutes", total)
		}
		h.stop()
		h.checkKeys()
	})
}

// An index that is cut off before the logs of workers has other names of theirs.
func TestCluster_TruncatedIndex(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		for i, in := range []string{"ffffffff", job, "ffffffff", job} {
			n.live(at, i)
			n.write(at, fmt.Sprintf("python-core-worker-%s_%d.log", workerID(i), 1000+i), "")
			n.write(at, fileName(i, in, "out"), ":job_id:%s\nline of %d\n", job, i)
			n.write(at, fileName(i, in, "err"), "")
		}
		n.set(func() {
			for i := range at.Workers {
				at.Workers[i].JobID = job
			}
			n.cut = 4
		})
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(5 * time.Minute)
		if ends := h.events("end"); len(ends) > 0 {
			t.Errorf("ends: %+v", ends)
		}
		h.stop()
		h.checkKeys()
		if got := h.messages(); len(got) != 4 {
			t.Errorf("lines: %q", got)
		}
	})
}
