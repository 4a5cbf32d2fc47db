package kuberay

import (
	"maps"
	"net/netip"
	"time"
)

// keepDeleted is how long it is known that a pod was deleted: longer than Ray needs to
// notice that its node is gone.
const keepDeleted = time.Hour

// deletedPods are the pods of a cluster that were deleted while Ray ran in them: for Ray
// their nodes are lost. Those that had ended by themselves before are none of them. The
// zero value is ready for use.
type deletedPods struct {
	last map[string]*podFacts // the pods of the last call, by uid
	at   map[netip.Addr]time.Time
	of   map[netip.Addr]string // uid of the pod, so that it counts once
}

// observe notes which pods were deleted since the last call, and returns when that was, by
// address. What it returns is not changed any more. pods are all pods of the cluster.
func (d *deletedPods) observe(pods map[string]*podFacts, now time.Time) map[netip.Addr]time.Time {
	next, of := maps.Clone(d.at), maps.Clone(d.of)
	note := func(p *podFacts) {
		for _, a := range p.addresses {
			if of[a] == p.uid {
				continue
			}
			if next == nil {
				next, of = map[netip.Addr]time.Time{}, map[netip.Addr]string{}
			}
			next[a], of[a] = now, p.uid
		}
	}
	for _, p := range pods {
		if p.deleting && p.alive() {
			note(p)
		}
	}
	for uid, p := range d.last {
		if pods[uid] == nil && !p.deleting && p.alive() { // at once, or while nothing was watched
			note(p)
		}
	}
	for a, at := range next {
		if now.Sub(at) > keepDeleted {
			delete(next, a)
			delete(of, a)
		}
	}
	d.last = pods
	if !maps.Equal(next, d.at) {
		d.at, d.of = next, of
	}
	return d.at
}
