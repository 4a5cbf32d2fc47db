package daemon

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"

	dto "github.com/prometheus/client_model/go"

	"raytap/collector"
	"raytap/config"
)

// clusters is the set of units at work. Only the goroutine of Run changes it.
type clusters struct {
	mu    sync.RWMutex
	units []*unit // in the order of the configuration
}

func (s *clusters) all() []*unit {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.units
}

// plan is what a configuration makes of the clusters at work.
type plan struct {
	units   []*unit  // all that are to be, in order
	fresh   []*unit  // those of units that are to be started
	gone    []*unit  // those that are to be stopped first
	refused []string // clusters that files list and that cannot be watched, and why
}

// plan builds what cfg and the files have and the units at work have not. It
// changes nothing; on an error, which tells all of cfg that cannot be built,
// nothing has to be undone. What a file lists and cannot be built is left out.
func (d *Daemon) plan(cfg config.Config, files *discovery, certs certificates) (plan, error) {
	var p plan
	var problems []config.Problem
	old := d.clusters.all()
	kept := map[*unit]bool{}
	listed, refused := files.clusters(cfg)
	p.refused = refused
	for i, s := range specs(cfg, listed, certs) {
		if j := slices.IndexFunc(old, func(u *unit) bool { return reflect.DeepEqual(u.spec, s) }); j >= 0 {
			kept[old[j]] = true
			p.units = append(p.units, old[j])
			continue
		}
		u, err := d.build(s, d.metrics.requests)
		switch {
		case err == nil:
			p.units, p.fresh = append(p.units, u), append(p.fresh, u)
		case s.file != "":
			p.refused = append(p.refused, fmt.Sprintf("%s in %s: %v", s.cluster.Name, s.file, err))
		default:
			problems = append(problems, config.Problem{Path: "clusters[" + strconv.Itoa(i) + "]", Rule: err.Error()})
		}
	}
	if len(problems) > 0 {
		return plan{}, &config.Problems{List: problems}
	}
	for _, u := range old {
		if !kept[u] {
			p.gone = append(p.gone, u)
		}
	}
	return p, nil
}

// names gives the names of the clusters that are to be.
func (p plan) names() []string {
	names := make([]string, len(p.units))
	for i, u := range p.units {
		names[i] = u.spec.cluster.Name
	}
	return names
}

// apply stops what is gone, all at a time, and starts what is fresh. A cluster
// whose settings changed is one that goes and one that comes.
func (s *clusters) apply(ctx context.Context, p plan) {
	s.mu.Lock()
	s.units = p.units
	s.mu.Unlock()
	stop(p.gone)
	for _, u := range p.fresh {
		u.start(ctx)
	}
}

// stop stops units side by side.
func stop(units []*unit) {
	var wg sync.WaitGroup
	for _, u := range units {
		wg.Go(u.stop)
	}
	wg.Wait()
}

// collect gives the metrics of all clusters, asked side by side; each has
// answered, or failed alone, when ctx ends at the latest.
func (s *clusters) collect(ctx context.Context, only []string) []*dto.MetricFamily {
	units := slices.DeleteFunc(slices.Clone(s.all()), func(u *unit) bool { return u.collector == nil })
	expositions, there := make([]collector.Exposition, len(units)), make([]bool, len(units))
	var wg sync.WaitGroup
	for i, u := range units {
		wg.Go(func() { expositions[i], there[i] = u.collect(ctx, only) })
	}
	wg.Wait()
	shown := expositions[:0]
	for i, e := range expositions {
		if there[i] {
			shown = append(shown, e)
		}
	}
	return collector.Gather(shown...)
}

// ready tells how many clusters were not tried yet; nil: none.
func (s *clusters) ready() error {
	waiting, units := 0, s.all()
	for _, u := range units {
		if !u.tried.Load() {
			waiting++
		}
	}
	if waiting > 0 {
		return fmt.Errorf("raytap is not ready: %d of %d clusters have not been tried yet", waiting, len(units))
	}
	return nil
}
