package nodelogs

import (
	"testing"
	"time"
)

// A replica's lines have its id, as Serve lists it, also after a restart when Serve does not
// list it any more. A log waits for Serve only as long as for the job list, and others cost no
// request.
func TestCluster_Replica(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1, 2, 3)
		n.replicas = map[string]string{workerID(1): "b87g44hy"}
		n.write(at, fileName(3, job, "out"), ":job_id:%s\n:actor_name:Counter\nactor\n", job)
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(30 * time.Second)
		if got := n.count("replicas"); got != 0 {
			t.Errorf("%d requests for replicas without any", got)
		}
		const marker = ":job_id:07000000\n:actor_name:ServeReplica:shop:Hello\n"
		n.write(at, fileName(1, "07000000", "out"), marker+"before\n")
		n.write(at, fileName(2, "07000000", "out"), marker+"not listed\n")
		pass(time.Minute)
		if got := n.count("replicas"); got == 0 || got > 4 {
			t.Errorf("%d requests for replicas", got)
		}
		h.stop()
		n.set(func() { n.replicas = nil })
		h = start(t, n, dir, Options{})
		n.write(at, fileName(1, "07000000", "out"), "after\n")
		pass(time.Minute)
		h.stop()
		h.checkKeys()
		want := map[string]string{"actor": "", "before": "b87g44hy", "after": "b87g44hy", "not listed": ""}
		for _, r := range h.records() {
			if id, ok := want[r.Message]; !ok || r.Replica != id || id != "" && (r.Application != "shop" || r.Deployment != "Hello") {
				t.Errorf("record %+v, want replica %q", r, id)
			}
			delete(want, r.Message)
		}
		if len(want) > 0 {
			t.Errorf("missing: %v", want)
		}
	})
}

// Serve that does not answer keeps no line back for longer.
func TestCluster_ReplicaNotListed(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at := n.add(nil)
		n.live(at, 1)
		n.noServe = true
		n.write(at, fileName(1, "07000000", "err"), ":job_id:07000000\n:actor_name:ServeReplica:shop:Hello\nline\n")
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(40 * time.Second)
		h.stop()
		if got := h.records(); len(got) != 1 || got[0].Message != "line" || got[0].Deployment != "Hello" {
			t.Errorf("records %+v", got)
		}
	})
}

// A log that is rotated cannot wait: the records after Serve has answered have the replica.
func TestCluster_ReplicaOfRotatedLog(t *testing.T) {
	inBubble(t, func(t *testing.T, n *nodes, dir string) {
		at, file := n.add(nil), fileName(1, "07000000", "out")
		n.live(at, 1)
		n.replicas = map[string]string{workerID(1): "b87g44hy"}
		h := start(t, n, dir, Options{})
		h.cluster.Observe(testSession, submitted)
		pass(25 * time.Second)
		n.write(at, file, ":job_id:07000000\n:actor_name:ServeReplica:shop:Hello\nfirst\n")
		n.rotate(at, file, 5)
		n.write(at, file, "second\n")
		pass(30 * time.Second)
		n.write(at, file, "third\n")
		pass(2 * time.Minute)
		h.stop()
		h.checkKeys()
		if got := h.records(); len(got) != 3 || got[0].Replica != "" || got[2].Replica != "b87g44hy" {
			t.Errorf("records %+v", got)
		}
		if n := n.count("replicas"); n > 2 {
			t.Errorf("%d requests for replicas", n)
		}
	})
}
