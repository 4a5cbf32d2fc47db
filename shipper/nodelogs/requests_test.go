package nodelogs

import (
	"testing"
	"time"
)

// The log of a dead worker that has ended costs one request for each look, until it is not
// read any more.
func TestCluster_RequestsForEndedLogs(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, _ string) {
		at := n.add(nil)
		n.live(at, 0, 1)
		for i := range 2 {
			n.write(at, fileName(i, job, "out"), ":job_id:%s\nline\n", job)
		}
		watch(t, n, func(c *Cluster) {
			pass(time.Minute)
			n.die(at, 1)
			pass(3 * time.Minute)
			if got := c.Stats().Files; got["ended"] != 1 || got["live"] != 1 {
				t.Fatalf("got %v", got)
			}
			n.set(func() { clear(n.requests) })
			pass(4 * time.Minute)
			if stats, reads := n.count("stat"), n.count("file"); reads != 0 || stats < 6 || stats > 10 {
				t.Errorf("%d reads and %d other requests in 4 minutes, want one for each of 8 looks", reads, stats)
			}
		})
	})
}
