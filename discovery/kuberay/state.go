package kuberay

import (
	"net/netip"
	"time"

	"raytap/discovery"
)

// The values of the label state of raytap_kubernetes_clusters.
const (
	kindWatched    = "watched"
	kindWaiting    = "waiting"
	kindSuspended  = "suspended"
	kindDraining   = "draining"
	kindRefused    = "refused"
	kindOtherShard = "other_shard"
)

// stateOf returns the state of a cluster, and its kind.
func (s *Source) stateOf(e *entry, snap snapshot, now time.Time) (discovery.State, string) {
	c, head := snap.cluster, headOf(snap.pods)
	out := discovery.State{Labels: e.labels(c), Deleted: e.deleted.observe(snap.pods, now)}
	if s.owns != nil && !s.owns(c.uid, c.created) {
		if out.Why = "another shard watches it"; !c.gone.IsZero() {
			out.Phase = discovery.Gone
		}
		return out, kindOtherShard
	}
	deleted := c.deleting || !c.gone.IsZero()
	if head != nil && head.alive() {
		if e.token == nil || e.token.use(head.container(), tokenKey(e.rule.Auth, c, head)) {
			out.Address, out.Head = dashboardAddress(c, head), head.container()
		} else if e.state.Head == head.container() {
			out.Address, out.Head = e.state.Address, e.state.Head
		}
		for _, p := range snap.pods {
			if p.alive() {
				if out.Agents == nil {
					out.Agents = map[netip.Addr]bool{}
				}
				for _, a := range p.addresses {
					out.Agents[a] = true
				}
			}
		}
		e.reached = e.reached || out.Address != ""
		if head.ready {
			e.ready = head.container()
		}
	}
	waiting := func(why string) { out.Phase, out.Why = discovery.Waiting, why }
	switch {
	case c.elsewhere:
		out = discovery.State{Labels: out.Labels}
		waiting("Kueue runs it in another Kubernetes cluster (managedBy " + multiKueue + ")")
		return out, kindRefused
	case !c.gone.IsZero() && (head == nil || now.Sub(c.gone) > time.Duration(s.cfg.Kubernetes.DrainTimeout)):
		out.Phase = discovery.Gone
		return out, ""
	case head != nil && e.reached && (deleted || c.suspending):
		// Not where the head alone is deleted: KubeRay makes another one, and jobs can
		// go on, so that their logs have not ended.
		out.Phase = discovery.Draining
		return out, kindDraining
	case deleted:
		waiting("it is being deleted")
		return out, kindDraining
	case c.suspended:
		waiting("it is suspended")
		return out, kindSuspended
	case head == nil:
		waiting("it has no head pod yet")
	case head.hostNetwork:
		waiting("its head pod " + head.name + " has hostNetwork: who answers at its address cannot be known")
		return out, kindRefused
	case !head.alive():
		waiting("its head pod " + head.name + " does not run: " + whyOf(head))
	case out.Address == "":
		waiting("its token is being read")
	case e.ready != head.container():
		waiting("its head pod " + head.name + " is not ready yet")
	default:
		out.Phase = discovery.Running
		return out, kindWatched
	}
	return out, kindWaiting
}

func whyOf(p *podFacts) string {
	if p.why != "" {
		return p.why
	}
	return p.phase
}

// labels returns the keys of a cluster's records and of raytap_cluster_info.
func (e *entry) labels(c *clusterFacts) map[string]string {
	out := map[string]string{"k8s_namespace": c.namespace}
	if c.ownerKind != "" {
		out["owner_kind"], out["owner_name"] = c.ownerKind, c.ownerName
	}
	for label, key := range e.rule.ClusterLabels {
		if value, ok := c.labels[label]; ok {
			out[key] = value
		}
	}
	return out
}
