package daemon

import (
	"context"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/collector"
	"raytap/config"
	"raytap/connect"
	"raytap/logthrottle"
	"raytap/ray"
	"raytap/ray/cache"
	"raytap/shipper"
)

// The pause between two looks at a cluster that answers, and at one that does
// not: it is asked for its version, the cheapest call that Ray has.
const (
	lookInterval  = 30 * time.Second
	retryInterval = 10 * time.Second
)

// spec is all of a configuration that concerns one cluster. Equal specs make
// equal clusters, so that a reload can leave one alone.
type spec struct {
	cluster   config.Cluster
	collector config.Collector
	shipper   config.Shipper
	file      string // that lists it; "": the configuration
	certs     digest // of what its TLS files hold
}

// specs gives what c and files say of each cluster, those of c first.
func specs(c config.Config, listed []found, certs certificates) []spec {
	out := make([]spec, 0, len(c.Clusters)+len(listed))
	for _, cluster := range c.Clusters {
		out = append(out, specOf(c, cluster, certs))
	}
	for _, f := range listed {
		s := specOf(c, f.cluster, certs)
		s.file = f.file
		out = append(out, s)
	}
	return out
}

func specOf(c config.Config, cluster config.Cluster, certs certificates) spec {
	s := spec{cluster: cluster, collector: c.Collector, shipper: c.Shipper, certs: certs.of(cluster.TLS)}
	s.shipper.Memory, s.shipper.Positions = 0, config.Positions{} // of the output, which clusters share
	return s
}

// unit is one cluster at work: its client and what the two halves make of it.
type unit struct {
	spec      spec
	log       logrus.FieldLogger
	client    client
	sharing   *cache.Source
	collector *collector.Collector // nil where the half is off
	shipper   *shipper.Shipper     // nil where the half is off

	requests *requests
	tried    atomic.Bool // the cluster was asked and answered, or not
	seen     atomic.Pointer[sight]
	gone     atomic.Bool // it is being given up
	cancel   context.CancelFunc
	done     chan struct{} // closed when run has ended; nil before start
}

// sight is what the last look at a cluster saw.
type sight struct {
	version ray.Version // of the last answer
	err     error       // why there was none this time; nil: there was
}

// build makes a unit and starts nothing; its requests are counted in to. Its
// error names what of the configuration does not work.
func (d *Daemon) build(s spec, to collector.Requests) (*unit, error) {
	c := s.cluster
	log := d.o.Log.WithField("ray_cluster", c.Name)
	u := &unit{spec: s, log: log, requests: &requests{to: to, cluster: c.Name}}
	ship, err := u.connect(connect.Options{Version: d.o.Version, Observe: u.requests.observer(), ResponseMemory: d.answers, Log: log})
	if err != nil {
		return nil, err
	}
	ttl := time.Duration(s.collector.CacheTTL)
	u.sharing = cache.New(u.client, cache.Options{
		Timeout:        3 * time.Duration(c.Timeout),
		RequestTimeout: time.Duration(c.Timeout),
		TTL:            ttl,
		TasksTTL:       max(ttl, time.Duration(s.collector.Tasks.CacheTTL)),
		// A little less than discovery's pause: else each look could meet the
		// answer of the one before, and see a job after two pauses only.
		DiscoveryTTL: time.Duration(s.shipper.Discovery.Interval) * 4 / 5,
	})
	if s.collector.Enabled {
		options := collectorOptions(s, log)
		options.SkippedRows, options.SkippedFields = u.client.SkippedRows, u.client.SkippedFields
		u.collector = collector.New(u.sharing, options)
		u.sharing.OnJobs(u.collector.ObserveJobs)
	}
	if s.shipper.Enabled {
		u.shipper = ship(u.sharing, d.output, d.shipperOptions(s, log))
	}
	return u, nil
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
		c.WebSocket.MaxTails = maxTails(s.cluster.API, d.records.positions.Durable())
	}
	return shipper.Options{
		Cluster:  s.cluster.Name,
		Interval: time.Duration(c.Discovery.Interval), Backfill: c.Discovery.Backfill,
		Include: selectors(c.Include), Exclude: selectors(c.Exclude),
		Protocol: c.Protocol, Timeout: time.Duration(c.Timeout),
		MaxTails: c.WebSocket.MaxTails, MaxReplay: int64(c.WebSocket.MaxReplay),
		BackoffInitial: time.Duration(c.Backoff.Initial), BackoffMax: time.Duration(c.Backoff.Max),
		Limits: shipper.Limits{
			MaxMessages: uint64(c.Limits.MaxMessages), MaxLines: uint64(c.Limits.MaxLines), MaxBytes: uint64(c.Limits.MaxBytes),
			MaxMessageSize: int(c.Limits.MaxMessageSize), SkipOversized: c.Limits.Oversized == "drop",
			Window: time.Duration(c.Limits.Interval), Pause: c.Limits.OnExceeded == "pause",
		},
		Shaping: shipper.Shaping{
			LineTime: c.Record.LineTime, Location: c.Record.Timezone.Location(), StripANSI: c.Record.StripANSI,
			Multiline: c.Record.Multiline.Enabled, MaxLines: c.Record.Multiline.MaxLines, Wait: time.Duration(c.Record.Multiline.MaxWaitTime),
			Progress: time.Duration(c.Record.ProgressInterval),
		},
		Labels: c.Labels, Metadata: c.Metadata,
		EndTimeout: time.Duration(c.LostAfter), Linger: time.Duration(c.GracePeriod), PollInterval: time.Duration(c.PollInterval),
		Log: log,
	}
}

func selectors(list []config.Selector) []shipper.Selector {
	out := make([]shipper.Selector, len(list))
	for i, s := range list {
		out[i] = shipper.Selector{SubmissionID: s.SubmissionID, JobName: s.JobName, Metadata: s.Metadata}
	}
	return out
}

// start sets the unit to work until stop, or until ctx ends.
func (u *unit) start(ctx context.Context) {
	ctx, u.cancel = context.WithCancel(ctx)
	u.done = make(chan struct{})
	go func() {
		defer close(u.done)
		u.run(ctx)
	}()
}

// stop ends the unit's work and returns once it has ended.
func (u *unit) stop() {
	u.gone.Store(true)
	u.cancel()
	<-u.done
}

func (u *unit) run(ctx context.Context) {
	var halves sync.WaitGroup
	halves.Go(func() { u.look(ctx) })
	if u.shipper != nil {
		halves.Go(func() {
			if err := u.shipper.Run(ctx); err != nil && ctx.Err() == nil {
				u.log.WithError(err).Error("the shipper of this cluster has ended; its metrics go on")
			}
		})
	}
	halves.Wait()
	u.close()
}

// close frees what build made.
func (u *unit) close() {
	u.gone.Store(true)
	u.sharing.Close()
	u.client.Close()
	u.requests.forget()
}

// look asks the cluster from time to time whether it is there, so that the log
// tells of one that is not, once, even where nobody scrapes. Where the shipper
// is on it tells so itself: it cannot list the jobs then.
func (u *unit) look(ctx context.Context) {
	reach := &logthrottle.Condition{Log: u.log.WithField("url", u.spec.cluster.URL.String())}
	var last ray.Version
	for {
		v, err := u.sharing.Version(ctx)
		if ctx.Err() != nil {
			return
		}
		u.tried.Store(true)
		pause := lookInterval
		switch {
		case err != nil:
			pause = retryInterval
			u.seen.Store(&sight{last, err})
			if u.shipper == nil {
				reach.Failed("the cluster does not answer", err)
			}
		default:
			reach.Recovered("the cluster answers again")
			if v != last {
				u.log.WithFields(logrus.Fields{"ray_version": v.Ray, "session": v.Session}).Info("the cluster answers")
				last = v
			}
			u.seen.Store(&sight{version: v})
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// collect gives the cluster's metrics, and false once it is being given up: its
// client refuses calls then, which would read as a cluster that is down.
func (u *unit) collect(ctx context.Context, only []string) (collector.Exposition, bool) {
	exposition := u.collector.Collect(ctx, only...)
	return exposition, !u.gone.Load()
}

// requests counts a cluster's requests until the cluster is given up. What
// ends later is not counted: it would bring the series back.
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
