package kuberay

import (
	"cmp"
	"slices"
	"time"
)

// WatchStatus is the status of what is watched: a resource in a namespace.
type WatchStatus struct {
	Resource, Namespace string
	Contact             time.Time // when the API server last answered; zero: never
	Err                 error     // of the last request; nil: it succeeded
}

// Unwatched is a RayCluster that a rule selects, and that cannot be queried now.
type Unwatched struct {
	Name  string // namespace/name
	State string // as in raytap_kubernetes_clusters
	Why   string
}

// Status returns the status of what is watched, and the RayClusters that are not queried,
// by name.
func (s *Source) Status() ([]WatchStatus, []Unwatched) {
	watches := make([]WatchStatus, len(s.watches))
	for i, w := range s.watches {
		contact, _, err := w.status()
		watches[i] = WatchStatus{w.resource.name, w.namespace, contact, err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var others []Unwatched
	for _, e := range s.entries {
		if e.kind != kindWatched && e.kind != kindDraining {
			others = append(others, Unwatched{e.cluster.Name, e.kind, e.state.Why})
		}
	}
	slices.SortFunc(others, func(a, b Unwatched) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Why, b.Why)) })
	return watches, others
}

// AllListed reports whether a complete list of RayClusters of each watched namespace was
// received since the start. A nil Source has none.
func (s *Source) AllListed() bool {
	if s == nil {
		return true
	}
	for _, w := range s.watches {
		if _, listed, _ := w.status(); w.resource.name == s.client.rayClusters().name && !listed {
			return false
		}
	}
	return true
}
