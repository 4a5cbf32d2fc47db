package daemon

import (
	"context"
	"maps"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"raytap/shipper/aggregate"
	"raytap/shipper/record"
	"raytap/shipper/tail"

	"github.com/sirupsen/logrus"

	"raytap/collector"
	"raytap/config"
	"raytap/connect"
	"raytap/discovery"
	"raytap/logthrottle"
	"raytap/ray"
	"raytap/ray/cache"
	"raytap/shipper"
)

// The pause after a health check that succeeded, and after one that failed. It
// gets the version, Ray's cheapest call.
const (
	healthCheckInterval = 30 * time.Second
	healthRetryInterval = 10 * time.Second
)

// spec is the part of a configuration that concerns one cluster. A reload leaves
// a cluster with an equal spec running.
type spec struct {
	cluster   config.Cluster
	collector config.Collector
	shipper   config.Shipper
	source    string   // file that lists it, or Kubernetes; "": the configuration
	uid       string   // its identity; "": its name is
	isNew     bool     // all of its jobs are new: see discovery.Cluster
	info      []string // label names of raytap_cluster_info, of a cluster that Kubernetes has
	certs     digest   // of the content of its TLS files
}

// specs returns the specs of all clusters, those of c first.
func specs(c config.Config, found []discovery.Cluster, certs certificates) []spec {
	out := make([]spec, 0, len(c.Clusters)+len(found))
	for _, cluster := range c.Clusters {
		out = append(out, specOf(c, cluster, certs))
	}
	for _, f := range found {
		s := specOf(c, f.Cluster, certs)
		s.source, s.uid, s.isNew = f.Source, f.UID, f.New
		if f.Facts != nil {
			s.info = c.ClusterLabelKeys()
		}
		out = append(out, s)
	}
	return out
}

func specOf(c config.Config, cluster config.Cluster, certs certificates) spec {
	s := spec{cluster: cluster, collector: c.Collector, shipper: c.Shipper, certs: certs.of(cluster.TLS)}
	s.shipper.Memory, s.shipper.Positions = 0, config.Positions{} // shared by all clusters
	s.cluster.Shard = config.ShardAuto                            // the raytap that builds it
	return s
}

// id returns what identifies the cluster for as long as it lives.
func (s *spec) id() string {
	if s.uid != "" {
		return s.uid
	}
	return s.cluster.Name
}

// clusterRuntime is one running cluster: its client, collector and shipper.
type clusterRuntime struct {
	spec      spec
	facts     *discovery.Facts // what may change meanwhile; nil: nothing does
	labels    record.Labels    // of facts
	log       logrus.FieldLogger
	client    client
	source    *cache.Source
	collector *collector.Collector // nil: disabled
	shipper   *shipper.Shipper     // nil: disabled

	drainTimeout time.Duration
	requests     *requests
	checked      atomic.Bool // the first health check has ended
	started      atomic.Bool
	draining     atomic.Bool // it is being deleted: only its logs are read
	health       atomic.Pointer[health]
	stopping     atomic.Bool
	gone         func(*collector.Collector, time.Time) // called when it has run
	cancel       context.CancelFunc
	done         chan struct{} // closed when run has ended; nil before start
}

// health is the result of the last health check.
type health struct {
	version ray.Version // of the last check that succeeded
	err     error       // nil: the last check succeeded
}

// infoLabels returns the labels of raytap_cluster_info of a RayCluster: those of its
// records, and its uid.
func infoLabels(uid string, facts *discovery.Facts) map[string]string {
	labels := map[string]string{"uid": uid}
	maps.Copy(labels, facts.State().Labels)
	return labels
}

// build returns the runtime of a cluster and starts nothing; its requests are
// counted in to. facts is nil for a cluster of which nothing changes. The error names the
// setting that does not work.
func (d *Daemon) build(s spec, facts *discovery.Facts, to collector.Requests) (*clusterRuntime, error) {
	cluster := s.cluster
	log := d.o.Log.WithField("ray_cluster", cluster.Name)
	c := &clusterRuntime{spec: s, facts: facts, log: log, requests: &requests{to: to, cluster: cluster.Name}}
	newShipper, err := c.connect(connect.Options{Version: d.o.Version, Observe: c.requests.observer(), ResponseMemory: d.responseMemory, Log: log, Live: live(facts)})
	if err != nil {
		return nil, err
	}
	s.shipper.Discovery.Interval = config.Duration(discoveryInterval(time.Duration(s.shipper.Discovery.Interval), facts))
	ttl := time.Duration(s.collector.CacheTTL)
	c.source = cache.New(c.client, cache.Options{
		Timeout:        3 * time.Duration(cluster.Timeout),
		RequestTimeout: time.Duration(cluster.Timeout),
		TTL:            ttl,
		TasksTTL:       max(ttl, time.Duration(s.collector.Tasks.CacheTTL)),
		// Less than the interval of discovery, which would otherwise get the same
		// response twice, and find a job only after two intervals.
		DiscoveryTTL: time.Duration(s.shipper.Discovery.Interval) * 4 / 5,
	})
	if s.collector.Enabled {
		options := collectorOptions(s, log)
		if facts != nil {
			options.Info = collector.InfoOptions{Labels: s.info, Values: func() map[string]string { return infoLabels(s.uid, facts) }}
			options.Nodes.PodDeleted = deleted(facts)
		}
		options.SkippedRows, options.SkippedFields = c.client.SkippedRows, c.client.SkippedFields
		c.collector = collector.New(c.source, options)
		c.source.OnJobs(c.collector.ObserveJobs)
	}
	if s.shipper.Enabled {
		options := d.shipperOptions(s, log)
		if facts != nil {
			c.labels.Set(facts.State().Labels)
			options.Record.ClusterLabels = &c.labels
		}
		c.shipper = newShipper(c.source, d.output, options)
	}
	return c, nil
}

// rayJobInterval is the longest pause between two job lists of a RayJob's cluster: KubeRay
// deletes it as soon as its one job is over, if the RayJob says so (1.5).
const rayJobInterval = time.Second

func discoveryInterval(configured time.Duration, facts *discovery.Facts) time.Duration {
	if facts != nil && facts.State().Labels["owner_kind"] == "RayJob" {
		return min(configured, rayJobInterval)
	}
	return configured
}

func collectorOptions(s spec, log logrus.FieldLogger) collector.Options {
	c := s.collector
	exclude := make([]*regexp.Regexp, len(c.ExcludeMetrics))
	for i, p := range c.ExcludeMetrics {
		exclude[i] = p.Regexp
	}
	return collector.Options{
		Cluster:        s.cluster.Name,
		Status:         collector.StatusOptions{Disabled: !c.Cluster.Enabled, Shapes: c.Cluster.DemandShapes},
		Jobs:           collector.JobsOptions{Disabled: !c.Jobs.Enabled, Retention: time.Duration(c.Jobs.Retention), Max: c.Jobs.Max, Metadata: c.Jobs.Metadata},
		Nodes:          collector.NodesOptions{Disabled: !c.Nodes.Enabled, Max: c.Nodes.Max, Labels: c.Nodes.Labels},
		Tasks:          collector.TasksOptions{Disabled: !c.Tasks.Enabled, ByName: c.Tasks.ByName, MaxSeries: c.Tasks.MaxSeries},
		Actors:         collector.ActorsOptions{Disabled: !c.Actors.Enabled},
		Serve:          collector.ServeOptions{Disabled: !c.Serve.Enabled, Max: c.Serve.Max},
		ExcludeMetrics: exclude,
		Log:            log,
	}
}

func (d *Daemon) shipperOptions(s spec, log logrus.FieldLogger) shipper.Options {
	c := s.shipper
	if c.WebSocket.MaxTails == 0 {
		c.WebSocket.MaxTails = defaultMaxTails(s.cluster.API, d.storage.positions.Durable())
	}
	backfill := c.Discovery.Backfill
	if s.isNew {
		backfill = shipper.BackfillAll
	}
	return shipper.Options{
		ID: s.id(), Interval: time.Duration(c.Discovery.Interval), Backfill: backfill,
		Include: selectors(c.Include), Exclude: selectors(c.Exclude), NoDrivers: !c.HasSource(config.SourceDriver),
		Options: tail.Options{
			Cluster:  s.cluster.Name,
			Protocol: c.Protocol, Timeout: time.Duration(c.Timeout), PollInterval: time.Duration(c.PollInterval),
			MaxTails: c.WebSocket.MaxTails, MaxReplay: int64(c.WebSocket.MaxReplay),
			Backoff:     tail.Backoff{Initial: time.Duration(c.Backoff.Initial), Max: time.Duration(c.Backoff.Max)},
			GracePeriod: time.Duration(c.GracePeriod), LostAfter: time.Duration(c.LostAfter),
			Limits: tail.Limits{
				MaxMessages: uint64(c.Limits.MaxMessages), MaxLines: uint64(c.Limits.MaxLines), MaxBytes: uint64(c.Limits.MaxBytes),
				MaxMessageSize: int(c.Limits.MaxMessageSize), DropOversized: c.Limits.Oversized == "drop",
				Interval: time.Duration(c.Limits.Interval), Pause: c.Limits.OnExceeded == "pause",
			},
			Record: tail.RecordOptions{
				Labels: c.Labels, Metadata: c.Metadata,
				LineTime: c.Record.LineTime, Location: c.Record.Timezone.Location(), StripANSI: c.Record.StripANSI,
				Relayed: c.Record.Relayed, Structured: c.Record.Structured,
			},
			Aggregate: aggregate.Options{
				Multiline: c.Record.Multiline.Enabled, MaxLines: c.Record.Multiline.MaxLines, Wait: time.Duration(c.Record.Multiline.MaxWaitTime),
				Progress: time.Duration(c.Record.ProgressInterval),
			},
			Log: log,
		},
	}
}

func selectors(list []config.Selector) []shipper.Selector {
	out := make([]shipper.Selector, len(list))
	for i, s := range list {
		out[i] = shipper.Selector{SubmissionID: s.SubmissionID, JobName: s.JobName, Metadata: s.Metadata}
	}
	return out
}

// checkHealth checks from time to time that the cluster is reachable, so that the
// log reports an unreachable one even without scrapes. With a shipper only the
// shipper logs it: it fails to list the jobs.
func (c *clusterRuntime) checkHealth(ctx context.Context) {
	reachable := &logthrottle.Condition{Log: c.log.WithField("url", c.spec.cluster.URL.String())}
	var last ray.Version
	for {
		v, err := c.source.Version(ctx)
		if ctx.Err() != nil {
			return
		}
		c.checked.Store(true)
		pause := healthCheckInterval
		switch {
		case err != nil:
			pause = healthRetryInterval
			c.health.Store(&health{last, err})
			if c.shipper == nil {
				reachable.Failed("Cluster is unreachable", err)
			}
		default:
			reachable.Recovered("Cluster is reachable again")
			if v != last {
				c.log.WithFields(logrus.Fields{"ray_version": v.Ray, "session": v.Session}).Info("Cluster is reachable")
				last = v
			}
			c.health.Store(&health{version: v})
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// collect returns the cluster's metrics, and false if it has none: it does not run yet, or is
// not expected to answer, which must not look like a cluster that is down.
func (c *clusterRuntime) collect(ctx context.Context, only []string) (collector.Exposition, bool) {
	if c.collector == nil || !c.expected() {
		return collector.Exposition{}, false
	}
	exposition := c.collector.Collect(ctx, only...)
	return exposition, c.expected()
}

// requests counts a cluster's requests until the cluster is closed. Later ones are
// not counted: they would bring the series back.
type requests struct {
	to      collector.Requests
	cluster string

	mu     sync.RWMutex
	closed bool
}

func (r *requests) observer() func(endpoint string, code int, took time.Duration) {
	observe := r.to.Observer(r.cluster)
	return func(endpoint string, code int, took time.Duration) {
		r.mu.RLock()
		defer r.mu.RUnlock()
		if !r.closed {
			observe(endpoint, code, took)
		}
	}
}

func (r *requests) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.to.Forget(r.cluster)
}
