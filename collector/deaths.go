package collector

import (
	"sync"
	"time"

	"raytap/ray"
)

// This file: when nodes died whose end Ray does not tell. Ray lists a node as
// DEAD with end_time_ms 0 (2.60.0) where its GCS knows that the node is gone and
// not since when; without a time it would count as dead since 1970.

// deaths remembers when dead nodes without an end were first seen, by our
// clock. What Ray no longer lists is forgotten, so that it is bounded by the
// node list. The zero value is ready; safe for concurrent use.
type deaths struct {
	mu   sync.Mutex
	seen map[string]time.Time // by node id
}

// date sets the End of dead nodes that have none to the time when they were
// first seen dead. It changes nodes.
func (d *deaths) date(nodes []ray.Node, now time.Time) {
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
