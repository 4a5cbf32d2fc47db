package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"

	"raytap/collector"
	"raytap/config"
	"raytap/discovery"
)

// clusters are the running clusters. Only the goroutine of Run changes them.
type clusters struct {
	mu      sync.RWMutex
	running []*clusterRuntime // in the order of the configuration; those that drain included
	leaving []*clusterRuntime // stopping, or draining and no longer found
	ended   ended
	readiness
}

// plan is the change from the running clusters to those of a configuration.
type plan struct {
	clusters []*clusterRuntime // all, in order
	start    []*clusterRuntime // those of clusters that do not run yet
	stop     []*clusterRuntime // those that are to be stopped first
	rejected []string          // clusters of cluster_files that cannot be watched, and why
	shards   shards            // which clusters belong to this raytap
	exist    []string          // ids of those that were found, also of those that wait or are rejected
}

// plan builds the clusters of cfg and of all sources that do not run yet. It changes
// nothing, and on an error, which has all that cannot be built of cfg, nothing has
// to be undone. A cluster of a source that cannot be built is rejected.
func (d *Daemon) plan(cfg config.Config, found []discovery.Cluster, certs certificates) (plan, error) {
	var p plan
	var problems []config.Problem
	running := map[string]*clusterRuntime{}
	for _, c := range d.clusters.all() {
		running[c.spec.id()] = c
	}
	var err error
	if p.shards, err = newShards(cfg.Sharding, os.Hostname, d.storage.positions); err != nil {
		return plan{}, err
	}
	here, elsewhere := p.shards.configured(cfg.Clusters)
	found = p.shards.keep(found)
	for _, f := range found {
		s := spec{cluster: f.Cluster, uid: f.UID}
		p.exist = append(p.exist, s.id())
	}
	found, p.rejected = choose(found, running, cfg.Names(), cfg.MaxClusters+elsewhere)
	facts := map[string]*discovery.Facts{}
	for _, f := range found {
		if f.Facts != nil {
			facts[f.UID] = f.Facts
		}
	}
	kept := map[*clusterRuntime]bool{}
	for i, s := range specs(cfg, found, certs) {
		if s.source == "" && !here[i] {
			continue
		}
		if c := running[s.id()]; c != nil && reflect.DeepEqual(c.spec, s) && !c.resumed() {
			kept[c] = true
			p.clusters = append(p.clusters, c)
			continue
		}
		c, err := d.build(s, facts[s.uid], d.metrics.requests)
		switch {
		case err == nil:
			c.drainTimeout = cfg.DrainTimeout()
			p.clusters, p.start = append(p.clusters, c), append(p.start, c)
		case s.source != "":
			p.rejected = append(p.rejected, fmt.Sprintf("%s in %s: %v", s.cluster.Name, s.source, err))
		default:
			problems = append(problems, config.Problem{Path: "clusters[" + strconv.Itoa(i) + "]", Message: err.Error()})
		}
	}
	if len(problems) > 0 {
		return plan{}, &config.Problems{List: problems}
	}
	for _, c := range d.clusters.all() {
		if !kept[c] {
			p.stop = append(p.stop, c)
		}
	}
	return p, nil
}

// choose returns those of found that are to run: those that can be watched next to the
// clusters with the names in taken, and those that are being deleted, whose logs are read to
// their ends. One that waits for its head runs only if it has run before.
func choose(found []discovery.Cluster, running map[string]*clusterRuntime, taken []string, limit int) (chosen []discovery.Cluster, rejected []string) {
	var watched, leaving []discovery.Cluster
	for _, c := range found {
		switch phase(c.Facts) {
		case discovery.Running:
			watched = append(watched, c)
		case discovery.Waiting:
			if running[c.UID] != nil {
				watched = append(watched, c)
			}
		case discovery.Draining:
			leaving = append(leaving, c)
		case discovery.Gone:
			if running[c.UID] != nil {
				leaving = append(leaving, c)
			}
		}
	}
	chosen, rejected = discovery.Select(watched, taken, limit)
	return append(leaving, chosen...), rejected
}

// ids returns what identifies the clusters of the plan, and those that exist without being
// in it.
func (p plan) ids() []string {
	ids := p.exist
	for _, c := range p.clusters {
		ids = append(ids, c.spec.id())
	}
	return ids
}

// apply stops and starts the clusters of a plan, and waits for none. A cluster whose settings
// changed is stopped, and started as a new one, which waits for it, as does one with the name
// of another. The channels are closed when those that are stopped have ended.
func (s *clusters) apply(ctx context.Context, p plan) (stopped []<-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving = slices.DeleteFunc(append(s.leaving, p.stop...), (*clusterRuntime).ended)
	s.running = p.clusters
	s.begin()
	for _, c := range p.stop {
		if at := phase(c.facts); at == discovery.Draining || at == discovery.Gone {
			continue // it ends by itself
		}
		stopped = append(stopped, c.done)
		go c.stop()
	}
	before := map[string][]*clusterRuntime{} // by name
	for _, c := range s.leaving {
		before[c.spec.cluster.Name] = append(before[c.spec.cluster.Name], c)
	}
	for _, c := range p.clusters {
		name := c.spec.cluster.Name
		if c.done == nil {
			c.gone = s.ended.add
			c.start(ctx, before[name])
		}
		before[name] = append(before[name], c)
	}
	return stopped
}

// stop stops clusters concurrently.
func stop(all []*clusterRuntime) {
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(c.stop)
	}
	wg.Wait()
}

// all returns the clusters of the current plan.
func (s *clusters) all() []*clusterRuntime {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.running
}

// alive returns the clusters that have not ended, those that leave included.
func (s *clusters) alive() []*clusterRuntime {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := slices.Concat(s.running, s.leaving)
	return slices.DeleteFunc(all, func(c *clusterRuntime) bool { return c.done == nil || c.ended() })
}

// collect returns the metrics of all clusters, queried concurrently. Each has
// answered, or failed alone, when ctx ends at the latest.
func (s *clusters) collect(ctx context.Context, only []string) []*dto.MetricFamily {
	s.mu.RLock()
	all := slices.Concat(s.running, s.leaving)
	s.mu.RUnlock()
	expositions, ok := make([]collector.Exposition, len(all)), make([]bool, len(all))
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() { expositions[i], ok[i] = c.collect(ctx, only) })
	}
	wg.Wait()
	current, leaving := expositions[:0], []*clusterRuntime{}
	for i, e := range expositions {
		switch c := all[i]; {
		case ok[i]:
			current = append(current, e)
		case c.collector != nil && c.started.Load() && !c.ended():
			leaving = append(leaving, c)
		}
	}
	if collector.HasEnds(only) {
		current = withEnds(current, leaving, s.ended.expositions(time.Now()))
	}
	return collector.Gather(current...)
}

// readyAfter is how long clusters may delay readiness.
const readyAfter = 30 * time.Second

// readiness is true once RayClusters were listed and each cluster that raytap started with
// was checked, or readyAfter has passed; then it stays true, whatever becomes of clusters.
type readiness struct {
	began time.Time // when the first clusters were started; zero: they were not
	first []*clusterRuntime
	is    atomic.Bool
}

// ready returns an error while raytap is not ready. listed: it is known which RayClusters
// there are.
func (s *clusters) ready(listed bool) error {
	if s.is.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began.IsZero() {
		return errors.New("raytap is not ready: it is starting")
	}
	late := time.Since(s.began) >= readyAfter
	if !listed && !late {
		return errors.New("raytap is not ready: the RayClusters have not been listed yet")
	}
	waiting := 0
	for _, c := range s.first {
		if !c.checked.Load() && !c.stopping.Load() {
			waiting++
		}
	}
	if waiting > 0 && !late {
		return fmt.Errorf("raytap is not ready: %d of %d clusters have not been checked yet", waiting, len(s.first))
	}
	s.first = nil
	s.is.Store(true)
	return nil
}

// begin notes the clusters that raytap starts with. The caller holds s.mu.
func (s *clusters) begin() {
	if s.began.IsZero() {
		s.began, s.first = time.Now(), s.running
	}
}
