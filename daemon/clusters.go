package daemon

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"

	"raytap/collector"
	"raytap/config"
	"raytap/discovery"
)

// clusters are the running clusters. Only the goroutine of Run changes them.
type clusters struct {
	mu      sync.RWMutex
	running []*clusterRuntime // in the order of the configuration
}

func (s *clusters) all() []*clusterRuntime {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.running
}

// plan is the change from the running clusters to those of a configuration.
type plan struct {
	clusters []*clusterRuntime // all, in order
	start    []*clusterRuntime // those of clusters that do not run yet
	stop     []*clusterRuntime // those that are to be stopped first
	rejected []string          // clusters of cluster_files that cannot be watched, and why
	shards   shards            // which clusters belong to this raytap
}

// plan builds the clusters of cfg and files that do not run yet. It changes
// nothing, and on an error, which has all that cannot be built of cfg, nothing has
// to be undone. A cluster of files that cannot be built is rejected.
func (d *Daemon) plan(cfg config.Config, files *discovery.Files, certs certificates) (plan, error) {
	var p plan
	var problems []config.Problem
	running := d.clusters.all()
	kept := map[*clusterRuntime]bool{}
	var err error
	if p.shards, err = newShards(cfg.Sharding, os.Hostname, d.storage.positions); err != nil {
		return plan{}, err
	}
	found, rejected := discovery.Select(p.shards.keep(files.Clusters()), cfg.Names(), cfg.MaxClusters)
	p.rejected = rejected
	for i, s := range specs(cfg, found, certs) {
		if s.source == "" && !p.shards.owns(cfg.Clusters[i], "", time.Time{}) {
			continue
		}
		if j := slices.IndexFunc(running, func(c *clusterRuntime) bool { return reflect.DeepEqual(c.spec, s) }); j >= 0 {
			kept[running[j]] = true
			p.clusters = append(p.clusters, running[j])
			continue
		}
		c, err := d.build(s, d.metrics.requests)
		switch {
		case err == nil:
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
	for _, c := range running {
		if !kept[c] {
			p.stop = append(p.stop, c)
		}
	}
	return p, nil
}

// names returns the names of all clusters of the plan.
func (p plan) names() []string {
	names := make([]string, len(p.clusters))
	for i, c := range p.clusters {
		names[i] = c.spec.cluster.Name
	}
	return names
}

// apply stops and starts the clusters of a plan. A cluster whose settings changed
// is stopped, and started as a new one.
func (s *clusters) apply(ctx context.Context, p plan) {
	s.mu.Lock()
	s.running = p.clusters
	s.mu.Unlock()
	stop(p.stop)
	for _, c := range p.start {
		c.start(ctx)
	}
}

// stop stops clusters concurrently.
func stop(all []*clusterRuntime) {
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(c.stop)
	}
	wg.Wait()
}

// collect returns the metrics of all clusters, queried concurrently. Each has
// answered, or failed alone, when ctx ends at the latest.
func (s *clusters) collect(ctx context.Context, only []string) []*dto.MetricFamily {
	all := slices.DeleteFunc(slices.Clone(s.all()), func(c *clusterRuntime) bool { return c.collector == nil })
	expositions, ok := make([]collector.Exposition, len(all)), make([]bool, len(all))
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Go(func() { expositions[i], ok[i] = c.collect(ctx, only) })
	}
	wg.Wait()
	current := expositions[:0]
	for i, e := range expositions {
		if ok[i] {
			current = append(current, e)
		}
	}
	return collector.Gather(current...)
}

// ready returns an error while there are clusters without a first health check.
func (s *clusters) ready() error {
	waiting, all := 0, s.all()
	for _, c := range all {
		if !c.checked.Load() {
			waiting++
		}
	}
	if waiting > 0 {
		return fmt.Errorf("raytap is not ready: %d of %d clusters have not been checked yet", waiting, len(all))
	}
	return nil
}
