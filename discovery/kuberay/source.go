// Package kuberay finds the Ray clusters that KubeRay runs in Kubernetes: it watches
// RayClusters (ray.io/v1) and their pods, and reads the Secrets with their tokens.
//
// What Kubernetes says of its objects, by uid, decides which cluster is which and which
// pods belong to it. Names, DNS, labels of pods and the status of RayClusters are not
// used for that: they can be those of another cluster, or stale.
package kuberay

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"

	"raytap/config"
	"raytap/discovery"
	"raytap/logthrottle"
)

const (
	// gather is how long changes are gathered: a cluster that starts changes many
	// times a second.
	gather = 200 * time.Millisecond
	// checkInterval is the time between two checks of what changes with time alone.
	checkInterval = 5 * time.Second
	// staleAfter is how old the last answer about pods may be for their addresses to
	// be believed: another pod gets the address of one that ended within seconds.
	staleAfter = 2 * time.Minute
	// secretTimeout bounds the read of a Secret.
	secretTimeout = 10 * time.Second
)

// Options are what a Source needs in addition to the configuration.
type Options struct {
	// Previous is the source before a reload, nil for none. What it knows is used until
	// the API server answers, and clusters keep their facts. Its Run may go on until that
	// of the new one is called.
	Previous *Source
	// Memory keeps which clusters are new across restarts; nil forgets it.
	Memory Memory
	// Owns says whether a cluster is this raytap's, of several that share them; nil: all
	// are. Others are found, too, but their Secrets are not read. created is the
	// creation time of the RayCluster.
	Owns func(uid string, created time.Time) bool
	// UserAgent is sent to the API server.
	UserAgent string
	Log       logrus.FieldLogger
}

// Source is the RayClusters that the rules of a configuration select. All methods but
// Run are safe for concurrent use.
type Source struct {
	cfg       config.Config
	rules     []rule
	owns      func(uid string, created time.Time) bool
	client    *client
	store     *store
	firstSeen *firstSeen
	watches   []*watched // of RayClusters and of pods, for each namespace
	tokens    chan struct{}
	log       logrus.FieldLogger
	created   time.Time

	mu      sync.Mutex
	entries map[string]*entry // by uid
	listed  int               // how many of watches had a complete list

	gather time.Duration // see gather; tests gather for less
	retry  wait.Backoff  // see retryBackoff; tests wait for less
}

// rule is a rule of the configuration, ready to use.
type rule struct {
	config.KubernetesRule
	selector labels.Selector
}

// entry is a cluster that a rule selects.
type entry struct {
	cluster discovery.Cluster
	facts   *discovery.Facts
	token   *token // nil: the module has it
	state   discovery.State
	kind    string // of raytap_kubernetes_clusters
	rule    *rule
	ready   string // the head's container that was ready once
	reached bool   // a head had an address once
	deleted deletedPods
}

// New returns the source of cfg.Kubernetes, which is not nil. It connects to nothing;
// the error says why there can be no connection.
func New(cfg config.Config, o Options) (*Source, error) {
	k := cfg.Kubernetes
	c, err := newClient(string(k.Kubeconfig), o.UserAgent)
	if err != nil {
		return nil, err
	}
	s := &Source{
		cfg: cfg, owns: o.Owns, client: c, store: newStore(), firstSeen: newFirstSeen(o.Memory, o.Log),
		tokens: make(chan struct{}, 1), log: o.Log, created: time.Now(), entries: map[string]*entry{}, gather: gather, retry: retryBackoff,
	}
	if s.rules, err = rules(k, c.namespace); err != nil {
		return nil, err
	}
	for _, namespace := range namespaces(s.rules) {
		s.watches = append(s.watches, s.watchClusters(namespace), s.watchPods(namespace))
	}
	if p := o.Previous; p != nil && p.cfg.Kubernetes.Kubeconfig == k.Kubeconfig {
		s.adopt(p)
	}
	return s, nil
}

// adopt takes over what a source knows, and applies the rules of s to it.
func (s *Source) adopt(p *Source) {
	s.store, s.firstSeen = p.store, p.firstSeen
	p.mu.Lock()
	for uid, e := range p.entries {
		copied := *e
		if e.token != nil {
			e.token.setWake(s.wakeTokens)
		}
		s.entries[uid] = &copied
	}
	p.mu.Unlock()
	for _, w := range s.watches {
		for _, old := range p.watches {
			if within(old.namespace, w.namespace) && old.resource.name == w.resource.name {
				w.contact, w.listed, _ = old.status()
			}
		}
	}
	s.store.markAll()
	s.update()
}

// rules returns the rules of a configuration; own is the namespace of those without
// any.
func rules(k *config.Kubernetes, own string) ([]rule, error) {
	out := make([]rule, len(k.Rules))
	for i, r := range k.Rules {
		if len(r.Namespaces) == 0 {
			r.Namespaces = []string{own}
		}
		selector, err := labels.Parse(r.Selector)
		if err != nil {
			return nil, fmt.Errorf("kubernetes.rules[%d].selector: %w", i, err)
		}
		out[i] = rule{r, selector}
	}
	return out, nil
}

// namespaces returns the namespaces to watch, or only config.AllNamespaces.
func namespaces(rules []rule) []string {
	var out []string
	for _, r := range rules {
		if r.All() {
			return []string{config.AllNamespaces}
		}
		out = append(out, r.Namespaces...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ruleFor returns the first rule that matches a cluster, nil if none does.
func ruleFor(rules []rule, c *clusterFacts) *rule {
	for i := range rules {
		r := &rules[i]
		if (r.All() || slices.Contains(r.Namespaces, c.namespace)) && r.selector.Matches(labels.Set(c.labels)) {
			return r
		}
	}
	return nil
}

// Clusters returns the clusters that can be watched, by name: those that have no head
// yet and those that are being deleted included.
func (s *Source) Clusters() []discovery.Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]discovery.Cluster, 0, len(s.entries))
	for _, e := range s.entries {
		out = append(out, e.cluster)
	}
	slices.SortFunc(out, func(a, b discovery.Cluster) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return out
}

// Run watches until ctx ends, and sends to changed when Clusters returns others, one of
// them is in another phase, or Listed has changed.
func (s *Source) Run(ctx context.Context, changed chan<- struct{}) error {
	defer s.client.close()
	s.store.restrict(namespaces(s.rules)) // a previous source watched more
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, w := range s.watches {
		wg.Go(func() { w.run(ctx, s.retry) })
	}
	wg.Go(func() { s.readTokens(ctx) })
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-check.C:
			s.store.markAll()
		case <-s.store.changed:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(s.gather):
			}
		}
		if !s.update() {
			continue
		}
		select {
		case changed <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
	}
}

// update applies what has changed in the store, and reports whether Clusters, the phase
// of a cluster, or Listed has.
func (s *Source) update() (changed bool) {
	now := time.Now()
	trusted := map[string]bool{} // whether the pods of a watched namespace are known
	for _, w := range s.watches {
		if contact, _, _ := w.status(); w.resource.name == s.client.pods().name {
			trusted[w.namespace] = now.Sub(contact) < staleAfter
		}
	}
	listed := 0
	for _, w := range s.watches {
		if _, ok, _ := w.status(); ok {
			listed++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	changed = listed != s.listed
	s.listed = listed
	for _, snap := range s.store.take() {
		known := trusted[s.watchedAs(snap.cluster.namespace)]
		changed = s.updateCluster(snap, known, now) || changed
	}
	return changed
}

// watchedAs returns the watched namespace that a namespace is part of.
func (s *Source) watchedAs(namespace string) string {
	if s.watches[0].namespace == config.AllNamespaces {
		return config.AllNamespaces
	}
	return namespace
}

// updateCluster updates one cluster, and reports whether Clusters or the cluster's phase
// has changed. The caller holds mu.
func (s *Source) updateCluster(snap snapshot, podsKnown bool, now time.Time) bool {
	c := snap.cluster
	e, listed := s.entries[c.uid]
	r := ruleFor(s.rules, c)
	if r == nil {
		s.remove(c)
		return listed
	}
	added := !listed || (r.Auth == config.AuthModule) != (e.token == nil)
	if added {
		e = s.newEntry(c, r)
	}
	e.rule = r
	state, kind := s.stateOf(e, snap, now)
	if !podsKnown {
		state.Agents = nil
	}
	entered := state.Phase != e.state.Phase
	if state.Phase == discovery.Gone {
		e.set(state)
		s.remove(c)
		return listed
	}
	cluster := s.clusterConfig(c, r)
	replaced := !reflect.DeepEqual(cluster, e.cluster.Cluster)
	e.cluster.Cluster, e.kind = cluster, kind
	s.entries[c.uid] = e
	e.set(state)
	return added || replaced || entered
}

// set publishes a state if it is another one.
func (e *entry) set(state discovery.State) {
	if !reflect.DeepEqual(state, e.state) {
		e.state = state
		e.facts.Set(state)
	}
}

func (s *Source) newEntry(c *clusterFacts, r *rule) *entry {
	e := &entry{facts: &discovery.Facts{}, rule: r}
	if r.Auth != config.AuthModule {
		e.token = &token{namespace: c.namespace, wake: s.wakeTokens}
		e.facts.Token = e.token
	}
	e.cluster = discovery.Cluster{
		Cluster: s.clusterConfig(c, r), Source: "Kubernetes", UID: c.uid, Created: c.created,
		New: s.firstSeen.isNew(s.watchedAs(c.namespace), c.uid), Facts: e.facts,
	}
	return e
}

func (s *Source) clusterConfig(c *clusterFacts, r *rule) config.Cluster {
	return s.cfg.RayCluster(r.KubernetesRule, c.namespace, c.name)
}

// remove removes a cluster that is gone, or that no rule selects any more. The caller
// holds mu.
func (s *Source) remove(c *clusterFacts) {
	if !c.gone.IsZero() {
		s.store.forget(c.uid)
	}
	delete(s.entries, c.uid)
}

// Listed reports whether it is known which RayClusters a namespace has: a complete list
// of them was received since the start, or none is requested because no rule is for it.
// What is not among Clusters then does not exist, or no rule selects it.
func (s *Source) Listed(namespace string) bool {
	for _, w := range s.watches {
		if w.resource.name == s.client.rayClusters().name && within(w.namespace, namespace) {
			_, listed, _ := w.status()
			return listed
		}
	}
	return true
}

// Existence is whether a RayCluster exists, as far as that is known.
type Existence int

// The values of Existence.
const (
	NotWatched Existence = iota // its namespace is not watched
	NotListed                   // its namespace is watched, and was not listed completely yet
	Exists
	Deleted // a complete list of its namespace, and what followed it, does not have it
)

// Existence returns whether the RayCluster with a uid exists in a namespace, selected by a
// rule or not. One whose head still answers after it was deleted exists.
func (s *Source) Existence(namespace, uid string) Existence {
	watched := slices.ContainsFunc(s.watches, func(w *watched) bool { return within(w.namespace, namespace) })
	switch {
	case !watched:
		return NotWatched
	case !s.Listed(namespace):
		return NotListed
	case s.store.has(uid):
		return Exists
	}
	return Deleted
}

// wakeTokens lets readTokens look for a Secret that is to be read.
func (s *Source) wakeTokens() {
	select {
	case s.tokens <- struct{}{}:
	default:
	}
}

// readTokens reads Secrets when they are due, until ctx ends.
func (s *Source) readTokens(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	failures := logthrottle.Condition{Log: s.log}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := time.Hour
		for _, e := range s.all() {
			due, wanted := e.token.next()
			if !wanted {
				continue
			}
			if wait := time.Until(due); wait > 0 {
				next = min(next, wait)
				continue
			}
			wg.Go(func() {
				limited, cancel := context.WithTimeout(ctx, secretTimeout)
				defer cancel()
				if !e.token.read(limited, s.client.secretValue) {
					return
				}
				if err := e.token.lastError(); err != nil && ctx.Err() == nil {
					failures.Failed("The token of a RayCluster cannot be read", err)
				}
				s.store.touch(e.cluster.UID)
				s.wakeTokens()
			})
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-s.tokens:
		case <-timer.C:
		}
	}
}

// all returns the entries that have a token.
func (s *Source) all() []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Values(s.entries)), func(e *entry) bool { return e.token == nil })
}

var _ discovery.Source = (*Source)(nil)
