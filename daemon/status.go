package daemon

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"raytap/shipper/nodelogs"
	"raytap/shipper/writer"

	"raytap/collector"
	"raytap/config"
	"raytap/web"
)

// state is what the HTTP server needs of the configuration. Safe for concurrent
// use.
type state struct {
	started time.Time

	mu         sync.Mutex
	config     web.ConfigStatus
	collectors []string
	exclude    []config.Pattern
}

func (s *state) load(now time.Time, cfg config.Config) {
	// The names depend on the configuration only, not on a cluster.
	names := collector.New(nil, collectorOptions(spec{collector: cfg.Collector}, nil)).Names()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = web.ConfigStatus{Hash: cfg.Hash(), Loaded: now}
	s.collectors = names
	s.exclude = cfg.Collector.ExcludeMetrics
}

// excluded reports whether the configuration excludes a metric.
func (s *state) excluded(family string) bool {
	s.mu.Lock()
	patterns := s.exclude
	s.mu.Unlock()
	return excludes(patterns, family)
}

func (s *state) fail(now time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config.Failed, s.config.Error = now, strings.Join(lines(err), "\n")
}

// collectors returns the names of the enabled collectors.
func (d *Daemon) collectors() []string {
	d.state.mu.Lock()
	defer d.state.mu.Unlock()
	return d.state.collectors
}

// status returns raytap's current status.
func (d *Daemon) status() web.Status {
	s := web.Status{
		Version: d.o.Version, Started: d.state.started, Now: time.Now(),
		Clusters: []web.ClusterStatus{}, Probes: d.probes.status(),
	}
	d.state.mu.Lock()
	s.Config = d.state.config
	d.state.mu.Unlock()
	if err := d.ready(); err != nil {
		s.NotReady = err.Error()
	}
	for _, c := range d.clusters.all() {
		s.Clusters = append(s.Clusters, c.status())
	}
	if files := d.metrics.files.files.Load(); files != nil {
		for _, f := range files.Status() {
			status := web.FileStatus{Name: f.Path, Clusters: f.Clusters}
			if f.Err != nil {
				status.Error = f.Err.Error()
			}
			s.Files = append(s.Files, status)
		}
	}
	if source := d.metrics.rayClusters.source.Load(); source != nil {
		s.Kubernetes = kubernetesStatus(source)
	}
	if d.cfg.Shipper.Enabled {
		s.Shipper = d.storage.status(d.output)
	}
	return s
}

func (c *clusterRuntime) status() web.ClusterStatus {
	cluster := c.spec.cluster
	s := web.ClusterStatus{
		Name: cluster.Name, URL: cluster.URL.String(), API: cluster.API, From: c.spec.source,
		State: web.ClusterWaiting, LastAnswer: c.source.LastSuccess(),
	}
	if h := c.health.Load(); h != nil {
		s.Version, s.Session = h.version.Ray, h.version.Session
		s.State = web.ClusterUp
		if h.err != nil {
			s.State, s.Error = web.ClusterDown, h.err.Error()
		}
	}
	if c.collector != nil {
		for _, x := range c.collector.Health() {
			status := web.CollectorStatus{Name: x.Name}
			if x.Err != nil {
				status.Error = x.Err.Error()
			}
			s.Collectors = append(s.Collectors, status)
		}
	}
	if c.shipper == nil {
		return s
	}
	for _, t := range c.shipper.Tails() {
		s.Tails = append(s.Tails, web.TailStatus(t))
	}
	if logs, ok := c.shipper.NodeLogs(); ok {
		for _, d := range logs.Directories {
			s.NodeLogs = append(s.NodeLogs, nodeLogsStatus(d))
		}
	}
	return s
}

// nodeLogsStatus returns the status of a log directory.
func nodeLogsStatus(d nodelogs.DirectoryStats) web.NodeLogsStatus {
	s := web.NodeLogsStatus{NodeID: d.Node, Error: d.Error, OldestLog: d.Oldest, OldestLook: d.OldestLook, Failing: d.Failing}
	for _, source := range slices.Sorted(maps.Keys(d.Sources)) {
		n := d.Sources[source]
		s.Sources = append(s.Sources, web.SourceStatus{
			Source: source, Live: uint64(n["live"]), Ended: uint64(n["ended"]), Excluded: uint64(n["excluded"]), Done: uint64(n["done"]),
		})
	}
	for _, f := range d.FailingLogs {
		s.FailingLogs = append(s.FailingLogs, web.FailingLog(f))
	}
	return s
}

// status returns the status of the sink and the positions.
func (s *storage) status(out *writer.Writer) *web.ShipperStatus {
	status := &web.ShipperStatus{
		Sink: "standard output", Records: out.Records(), Bytes: s.stats.Bytes.Load(),
		Positions: s.positions.File(), Saved: s.positions.LastSaved(),
	}
	if s.file != nil {
		status.Sink = s.path
	}
	status.StalledSince = s.stalledSince(out)
	return status
}

// stalledSince returns the time since which nothing can be written, because the
// sink is blocked, or because out waits for positions to be saved; zero: it is not
// stalled.
func (s *storage) stalledSince(out *writer.Writer) time.Time {
	if at := s.stats.StalledSince.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return out.StalledSince()
}
