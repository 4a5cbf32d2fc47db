package nodelogs

import (
	"time"

	"raytap/ray"
	"raytap/shipper/nodelogs/names"
)

// workerTable is which workers a list of nodes has named as alive. It is never changed: a
// list makes a new one.
type workerTable struct {
	nodes map[string]map[string]ray.Worker // node id -> worker id; only nodes that name some worker
	node  map[string]string                // worker id -> node id
	hosts map[string]int                   // address -> nodes that are alive
}

func newWorkerTable(list []ray.NodeWorkers) *workerTable {
	t := &workerTable{nodes: map[string]map[string]ray.Worker{}, node: map[string]string{}, hosts: map[string]int{}}
	for _, n := range list {
		if n.State == ray.NodeAlive {
			t.hosts[n.IP]++
		}
		if !n.Known || len(n.Workers) == 0 {
			continue
		}
		workers := make(map[string]ray.Worker, len(n.Workers))
		for _, w := range n.Workers {
			workers[w.ID] = w
			t.node[w.ID] = n.NodeID
		}
		t.nodes[n.NodeID] = workers
	}
	return t
}

// find returns a worker that is alive.
func (t *workerTable) find(id string) (ray.Worker, bool) {
	if t == nil {
		return ray.Worker{}, false
	}
	w, ok := t.nodes[t.node[id]][id]
	return w, ok
}

// observe notes which of the directory's workers a list of nodes names. A list lacks what
// it does not know: it counts only if it names some worker of the node.
func (d *directory) observe(t *workerTable, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.routes) > 0 {
		d.observed = now
	}
	known := map[string]bool{}
	for _, node := range d.nodes() {
		known[node] = t.nodes[node] != nil
	}
	all := len(known) > 0
	for _, ok := range known {
		all = all && ok
	}
	for _, e := range d.entries {
		f := e.named()
		if f.Kind != names.KindWorker {
			if d.s.c.jobs.isOver(f.JobID) {
				d.died(e, now)
			}
			continue
		}
		if _, alive := t.find(f.ID); alive {
			e.missing = 0
			if e.dead > 0 && !e.old {
				e.dead = 0
			}
			continue
		}
		counts := all
		if e.state != nil && e.state.NodeID != "" {
			counts = known[e.state.NodeID]
		}
		switch {
		case !counts || e.dead > 0:
		case e.missing == 0:
			e.missing = now.UnixNano()
		case now.UnixNano()-e.missing >= int64(deadAfter):
			d.died(e, now)
		}
	}
	if (d.tooMany || d.nextListing.Sub(now) > longListing) && d.s.c.hasSource(names.KindWorker) {
		for _, node := range d.nodes() {
			for _, w := range t.nodes[node] {
				d.addWorker(w, now)
			}
		}
	}
	d.decideBackfill(now)
	d.notify()
}

// died notes that the worker of a log is dead. The caller holds d.mu.
func (d *directory) died(e *entry, now time.Time) {
	if e.dead > 0 {
		return
	}
	e.dead = now.UnixNano()
	if e.Queued() {
		d.queue.Set(e, d.dueAt(e, now, time.Duration(max(0, e.Due()-now.UnixNano())), true), false)
	}
}
