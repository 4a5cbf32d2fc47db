package collector

import (
	"sync"
	"time"

	"raytap/ray"
)

// This file: times of death of nodes for which Ray reports none. Ray lists a node as
// DEAD with end_time_ms 0 (2.60.0) if its GCS knows that the node is gone, but not since
// when. Without a time the node would count as dead since 1970.

// nodeDeaths remembers when dead nodes without an end were first seen, by raytap's clock.
// Nodes that Ray no longer lists are removed. The zero value is ready for use, and it is
// safe for concurrent use.
type nodeDeaths struct {
	mu   sync.Mutex
	seen map[string]time.Time // by node id
}

// setEnds sets the End of dead nodes that have none to the time when they were first seen
// dead. It modifies nodes.
func (d *nodeDeaths) setEnds(nodes []ray.Node, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := make(map[string]time.Time)
	for i := range nodes {
		n := &nodes[i]
		if n.State != ray.NodeDead || !n.End.IsZero() {
			continue
		}
		at, known := d.seen[n.ID]
		if !known {
			at = now
		}
		seen[n.ID], n.End = at, at
	}
	d.seen = seen
}

// podDeleted is the reason of the death of a node whose pod Kubernetes deleted. Ray does not
// know that: for it the node is lost.
const podDeleted = "POD_DELETED"

// maxDeletion is the longest time from the deletion of a pod to the death of its node: a
// grace period of Kubernetes (30 s by default), and until Ray counts a silent node as dead
// (about 30 s in Ray 2.60).
const maxDeletion = 10 * time.Minute

// explainDeaths sets the reason of nodes that are lost for Ray, and whose pods Kubernetes
// deleted while they lived.
func explainDeaths(nodes []ray.Node, deleted func(ip string) time.Time) {
	for i := range nodes {
		n := &nodes[i]
		if n.State != ray.NodeDead || n.DeathReason != "" && n.DeathReason != unspecified && n.DeathReason != unexpected {
			continue
		}
		// A pod that has the address now may be another one.
		if at := deleted(n.IP); !at.IsZero() && !at.Before(n.Start) && n.End.After(at.Add(-time.Minute)) && n.End.Before(at.Add(maxDeletion)) {
			n.DeathReason = podDeleted
		}
	}
}
