package shipper

import (
	"cmp"
	"context"
	"sync"
	"time"

	"raytap/shipper/metrics"
	"raytap/shipper/nodelogs"
	"raytap/shipper/slots"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/logthrottle"
	"raytap/ray"
)

// Shipper ships the logs of one cluster's jobs. Make it with New or NewMessageShipper,
// and call Run once. Tails is safe for concurrent use.
type Shipper struct {
	opts  Options
	lists Lists
	out   *writer.Writer
	tails *tail.Cluster // what its tails share

	mu             sync.Mutex
	running        map[string]*tail.Tail // by submission id
	slots          *slots.Slots          // of the current session; nil before the first
	currentSession string
	nodeLogs       *nodelogs.Cluster // nil: only driver logs are shipped, or nothing runs
	wg             sync.WaitGroup    // of the goroutines that Run waits for

	rechecks rechecks // of logs that were read to their end
	drain    drain

	known   discovery
	listing logthrottle.Condition // of the job list
}

// New returns a shipper for one cluster. Others may use lists at the same time; client
// must not cache responses. It starts nothing: call Run.
func New(lists Lists, client tail.Client, out *writer.Writer, o Options) *Shipper {
	return newShipper(lists, client, client, nil, out, o)
}

// NewMessageShipper is New for a cluster whose logs are read as messages.
func NewMessageShipper(lists Lists, client tail.MessageClient, out *writer.Writer, o Options) *Shipper {
	return newShipper(lists, client, nil, client, out, o)
}

func newShipper(lists Lists, api tail.API, client tail.Client, message tail.MessageClient, out *writer.Writer, o Options) *Shipper {
	o = o.withDefaults()
	return &Shipper{
		opts:    o,
		lists:   lists,
		out:     out,
		tails:   tail.NewCluster(lists, api, client, message, out, o.Options),
		running: map[string]*tail.Tail{},
		drain:   drain{begun: make(chan struct{}), gone: make(chan struct{})},
		listing: logthrottle.Condition{Log: o.Log},
	}
}

// Run discovers jobs and ships their logs until ctx ends, or until a drain is over. It
// returns nil, after all tails have stopped.
func (s *Shipper) Run(ctx context.Context) error {
	leave := s.out.Metrics().Join(s.opts.Cluster, s.labelValues(), s.stats)
	defer leave()
	s.out.Positions.Register(s.opts.ID, s.opts.Cluster)
	defer s.out.Positions.Release(s.opts.ID)
	for {
		run, end, ok := s.out.BeginRun(ctx)
		if !ok {
			return nil
		}
		s.known = discovery{} // a rollback begins like a start
		s.ship(run)
		end()
		if s.drain.over {
			return nil
		}
	}
}

// ship discovers jobs and ships their logs until ctx ends, or a drain is over, and all tails
// have stopped.
func (s *Shipper) ship(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	s.wg.Go(func() { s.runRechecks(ctx) })
	s.startNodeLogs(ctx)
	for {
		err := s.discover(ctx)
		if err != nil && ctx.Err() == nil {
			s.listing.Failed("Job discovery failed", err)
		} else if err == nil {
			s.listing.Recovered("Job discovery recovered")
			s.tails.Metrics.DiscoveredNow()
		}
		if ctx.Err() == nil && s.drained(err, time.Now()) {
			s.drain.over = true
			s.endDrain(ctx)
			return
		}
		t := time.NewTimer(s.pause(max(s.opts.Interval, ray.RetryAfter(err))))
		begun := s.drain.begun
		if closed(begun) {
			begun = nil
		}
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-begun:
		case <-s.drain.gone:
		case <-t.C:
		}
		t.Stop()
	}
}

// startNodeLogs starts to ship the logs on nodes, if they are shipped.
func (s *Shipper) startNodeLogs(ctx context.Context) {
	if s.opts.NodeLogs == nil {
		return
	}
	c := nodelogs.New(s.opts.NodeLogs, s.out, s.opts.nodeLogs())
	s.mu.Lock()
	s.nodeLogs = c
	s.mu.Unlock()
	if closed(s.drain.begun) {
		c.Drain()
	}
	s.wg.Go(func() { c.Run(ctx) })
}

// NodeLogs returns what is shipped of the logs on nodes; false if they are not shipped. It is
// safe for concurrent use.
func (s *Shipper) NodeLogs() (nodelogs.Stats, bool) {
	s.mu.Lock()
	c := s.nodeLogs
	s.mu.Unlock()
	if c == nil {
		return nodelogs.Stats{}, false
	}
	return c.Stats(), true
}

// labelValues returns the values that the labels of the cluster's counters can have.
func (s *Shipper) labelValues() metrics.LabelValues {
	values := s.tails.LabelValues()
	if s.opts.NodeLogs != nil {
		o := s.opts.nodeLogs()
		values.Sources = o.SourceNames()
	}
	return values
}

// stats returns the figures for the metrics of the cluster.
func (s *Shipper) stats(now time.Time) metrics.ClusterStats {
	stats := metrics.ClusterStats{SlotsInUse: s.slotsInUse(), AgentsRefused: s.tails.RefusedAgents(now)}
	if files, ok := s.NodeLogs(); ok {
		stats.Files = map[metrics.FileState]int{}
		for source, states := range files.Sources {
			for state, n := range states {
				stats.Files[metrics.FileState{Source: source, State: state}] = n
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.Tails = len(s.running)
	for _, t := range s.running {
		stats.ReadAge = max(stats.ReadAge, now.Sub(t.LastRead()))
	}
	return stats
}

// sessionSlots returns the stream slots of a session of the cluster.
func (s *Shipper) sessionSlots(session string) *slots.Slots {
	if session == ray.UnknownSession {
		session = "" // several clusters may have it
	}
	sl := s.out.Slots(cmp.Or(session, "cluster "+s.opts.ID), s.opts.MaxTails)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots = sl
	return sl
}

func (s *Shipper) slotsInUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots == nil {
		return 0
	}
	return s.slots.Count()
}
