package kuberay

import (
	"maps"
	"slices"
	"sync"
	"time"

	"raytap/config"
)

// store has what is known of the RayClusters and pods of all watched namespaces. Both
// are kept by uid: a RayCluster that is made again under the same name is another one.
// It is safe for concurrent use.
//
// What is changed is told in two parts: which clusters, by take, and that there are
// some, by the channel changed.
type store struct {
	changed chan struct{} // has an element while take would return something

	mu       sync.Mutex
	clusters map[string]*clusterFacts
	pods     map[string]*podFacts
	byOwner  map[string]map[string]*podFacts // pods by the uid of their cluster, then by their own
	byName   map[string]string               // namespace/name to uid, of the clusters that exist
	dirty    map[string]bool                 // uids of clusters to look at
}

func newStore() *store {
	return &store{
		changed: make(chan struct{}, 1), clusters: map[string]*clusterFacts{}, pods: map[string]*podFacts{},
		byOwner: map[string]map[string]*podFacts{}, byName: map[string]string{}, dirty: map[string]bool{},
	}
}

// has reports whether a cluster is known.
func (s *store) has(uid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clusters[uid] != nil
}

// mark notes that a cluster has changed. The caller holds mu.
func (s *store) mark(uid string) {
	s.dirty[uid] = true
	s.wake()
}

// wake lets the reader of changed look.
func (s *store) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// touch notes that something that the store does not have changed for a cluster.
func (s *store) touch(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mark(uid)
}

// markAll notes that all clusters have changed.
func (s *store) markAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid := range s.clusters {
		s.mark(uid)
	}
}

// take returns the clusters that have changed since the last call, and their pods.
// What it returns is not changed any more.
func (s *store) take() []snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []snapshot
	for uid := range s.dirty {
		if c := s.clusters[uid]; c != nil {
			copied := *c
			out = append(out, snapshot{&copied, maps.Clone(s.byOwner[uid])})
		}
	}
	clear(s.dirty)
	select {
	case <-s.changed:
	default:
	}
	return out
}

// snapshot is a cluster at one moment, and its pods by uid.
type snapshot struct {
	cluster *clusterFacts
	pods    map[string]*podFacts
}

// putCluster adds a cluster or changes it.
func (s *store) putCluster(c *clusterFacts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uid, ok := s.byName[c.fullName()]; ok && uid != c.uid {
		// It was deleted, and another one made, while nothing was watched.
		s.markGone(uid)
	}
	s.byName[c.fullName()] = c.uid
	s.clusters[c.uid] = c
	s.mark(c.uid)
}

// removeCluster notes that a cluster is gone. It is kept, because its pods outlive it,
// until forget.
func (s *store) removeCluster(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.markGone(uid)
}

func (s *store) markGone(uid string) {
	c := s.clusters[uid]
	if c == nil || !c.gone.IsZero() {
		return
	}
	copied := *c
	copied.gone = time.Now()
	s.clusters[uid] = &copied
	if s.byName[c.fullName()] == uid {
		delete(s.byName, c.fullName())
	}
	s.mark(uid)
}

// forget drops a cluster that is gone.
func (s *store) forget(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clusters, uid)
	delete(s.dirty, uid)
}

// replaceClusters makes the clusters of a namespace those of a complete list.
func (s *store) replaceClusters(namespace string, list []*clusterFacts) {
	listed := map[string]bool{}
	for _, c := range list {
		listed[c.uid] = true
	}
	s.mu.Lock()
	for uid, c := range s.clusters {
		if within(namespace, c.namespace) && !listed[uid] {
			s.markGone(uid)
		}
	}
	s.mu.Unlock()
	for _, c := range list {
		s.putCluster(c)
	}
}

// restrict drops what is in none of these namespaces.
func (s *store) restrict(namespaces []string) {
	outside := func(namespace string) bool {
		return !slices.ContainsFunc(namespaces, func(watched string) bool { return within(watched, namespace) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid, c := range s.clusters {
		if outside(c.namespace) {
			delete(s.clusters, uid)
			delete(s.byName, c.fullName())
		}
	}
	for uid, p := range s.pods {
		if outside(p.namespace) {
			s.dropPod(uid)
		}
	}
}

func within(watched, namespace string) bool {
	return watched == config.AllNamespaces || watched == namespace
}

func (s *store) putPod(p *podFacts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropPod(p.uid)
	s.pods[p.uid] = p
	if s.byOwner[p.owner] == nil {
		s.byOwner[p.owner] = map[string]*podFacts{}
	}
	s.byOwner[p.owner][p.uid] = p
	s.mark(p.owner)
}

func (s *store) removePod(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropPod(uid)
}

func (s *store) dropPod(uid string) {
	p := s.pods[uid]
	if p == nil {
		return
	}
	delete(s.pods, uid)
	delete(s.byOwner[p.owner], uid)
	if len(s.byOwner[p.owner]) == 0 {
		delete(s.byOwner, p.owner)
	}
	s.mark(p.owner)
}

// replacePods makes the pods of a namespace those of a complete list.
func (s *store) replacePods(namespace string, list []*podFacts) {
	listed := map[string]bool{}
	for _, p := range list {
		listed[p.uid] = true
	}
	s.mu.Lock()
	for uid, p := range s.pods {
		if within(namespace, p.namespace) && !listed[uid] {
			s.dropPod(uid)
		}
	}
	s.mu.Unlock()
	for _, p := range list {
		s.putPod(p)
	}
}
