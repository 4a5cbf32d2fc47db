package daemon

import (
	"strings"
	"sync"
	"time"

	"raytap/collector"
	"raytap/config"
	"raytap/shipper"
	"raytap/web"
)

// state is what the page tells and keeps of the configuration. Safe for concurrent use.
type state struct {
	started time.Time

	mu         sync.Mutex
	config     web.ConfigStatus
	collectors []string
	drop       []config.Pattern
}

func (s *state) load(now time.Time, cfg config.Config) {
	// The names depend on the configuration alone, not on a cluster.
	names := collector.New(nil, collectorOptions(spec{collector: cfg.Collector}, nil)).Names()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = web.ConfigStatus{Hash: cfg.Hash(), Loaded: now}
	s.collectors = names
	s.drop = cfg.Collector.ExcludeMetrics
}

// drops reports whether the configuration leaves a family out of all pages.
func (s *state) drops(family string) bool {
	s.mu.Lock()
	patterns := s.drop
	s.mu.Unlock()
	return drops(patterns, family)
}

func (s *state) fail(now time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config.Failed, s.config.Error = now, strings.Join(lines(err), "\n")
}

// collectors names what the clusters' collectors can be asked for.
func (d *Daemon) collectors() []string {
	d.state.mu.Lock()
	defer d.state.mu.Unlock()
	return d.state.collectors
}

// status tells how raytap fares.
func (d *Daemon) status() web.Status {
	s := web.Status{
		Version: d.o.Version, Started: d.state.started, Now: time.Now(),
		Clusters: []web.ClusterStatus{}, Probes: d.probes.count(),
	}
	d.state.mu.Lock()
	s.Config = d.state.config
	d.state.mu.Unlock()
	if err := d.clusters.ready(); err != nil {
		s.NotReady = err.Error()
	}
	for _, u := range d.clusters.all() {
		s.Clusters = append(s.Clusters, u.status())
	}
	if files := d.metrics.files.of.Load(); files != nil {
		for _, t := range files.status() {
			f := web.FileStatus{Name: t.path, Clusters: len(t.clusters)}
			if t.err != nil {
				f.Error = t.err.Error()
			}
			s.Files = append(s.Files, f)
		}
	}
	if d.cfg.Shipper.Enabled {
		s.Shipper = d.records.status(d.output)
	}
	return s
}

func (u *unit) status() web.ClusterStatus {
	c := u.spec.cluster
	s := web.ClusterStatus{
		Name: c.Name, URL: c.URL.String(), API: c.API, From: u.spec.file,
		State: web.ClusterWaiting, LastAnswer: u.sharing.LastSuccess(),
	}
	if seen := u.seen.Load(); seen != nil {
		s.Version, s.Session = seen.version.Ray, seen.version.Session
		s.State = web.ClusterUp
		if seen.err != nil {
			s.State, s.Error = web.ClusterDown, seen.err.Error()
		}
	}
	if u.collector != nil {
		for _, x := range u.collector.Health() {
			own := web.CollectorStatus{Name: x.Name}
			if x.Err != nil {
				own.Error = x.Err.Error()
			}
			s.Collectors = append(s.Collectors, own)
		}
	}
	if u.shipper == nil {
		return s
	}
	for _, st := range u.shipper.Tails() {
		s.Tails = append(s.Tails, web.TailStatus(st))
	}
	return s
}

// status tells where records go and what remembers that they did.
func (r *records) status(out *shipper.Output) *web.ShipperStatus {
	s := &web.ShipperStatus{
		Sink: "standard output", Records: out.Records(), Bytes: r.stats.Bytes.Load(),
		Positions: r.positions.File(), Saved: r.positions.LastSaved(),
	}
	if r.file != nil {
		s.Sink = r.path
	}
	s.StalledSince = r.stalledSince(out)
	return s
}

// stalledSince gives since when nothing is written, because the sink waits or
// because out, its one writer, waits for positions; the zero time while it goes on.
func (r *records) stalledSince(out *shipper.Output) time.Time {
	if at := r.stats.StalledSince.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return out.StalledSince()
}
