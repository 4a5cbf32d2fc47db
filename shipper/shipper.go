package shipper

import (
	"cmp"
	"context"
	"sync"
	"time"

	"raytap/shipper/metrics"
	"raytap/shipper/slots"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/logthrottle"
	"raytap/ray"
)

// Shipper ships the logs of one cluster's jobs. Make it with New.
type Shipper struct {
	opts  Options
	lists Lists
	out   *writer.Writer
	tails *tail.Cluster // what its tails share

	mu         sync.Mutex
	running    map[string]*tail.Tail // by submission id
	held       *slots.Slots          // of the current session
	wg         sync.WaitGroup
	sessionNow string // the current session

	rechecks rechecks // of logs whose runs are over

	known   discovery
	listing logthrottle.Condition // the job list
}

// New returns a shipper for one cluster. lists may be shared with others, client must not
// cache.
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
		listing: logthrottle.Condition{Log: o.Log},
	}
}

// Run discovers jobs and ships their logs until ctx ends; it returns nil once
// all tails have stopped.
func (s *Shipper) Run(ctx context.Context) error {
	leave := s.out.Metrics().Join(s.opts.Cluster, s.tails.LabelValues(), s.stats)
	defer leave()
	defer s.out.Positions.Release(s.opts.Cluster)
	for {
		run, end, ok := s.out.Runs.Begin(ctx)
		if !ok {
			return nil
		}
		s.known = discovery{} // after a rollback as at start-up
		s.work(run)
		end()
	}
}

// work discovers jobs and ships their logs until ctx ends and all tails have
// stopped.
func (s *Shipper) work(ctx context.Context) {
	defer s.wg.Wait()
	s.wg.Go(func() { s.recheckEnds(ctx) })
	for {
		err := s.discover(ctx)
		if err != nil && ctx.Err() == nil {
			s.listing.Failed("Job discovery failed", err)
		} else if err == nil {
			s.listing.Recovered("Job discovery recovered")
			s.tails.Metrics.DiscoveredNow()
		}
		t := time.NewTimer(max(s.opts.Interval, tail.RetryAfter(err)))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// stats returns what the metrics report of the cluster.
func (s *Shipper) stats(now time.Time) metrics.ClusterStats {
	stats := metrics.ClusterStats{SlotsInUse: s.slotsHeld(), AgentsRefused: s.tails.RefusedAgents(now)}
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.Tails = len(s.running)
	for _, t := range s.running {
		stats.ReadAge = max(stats.ReadAge, now.Sub(t.LastRead()))
	}
	return stats
}

// slotsOfSession gives the WebSocket slots of the cluster's current session.
func (s *Shipper) slotsOfSession() *slots.Slots { return s.sessionSlots(s.known.session) }

// sessionSlots gives the WebSocket slots of a session of the cluster.
func (s *Shipper) sessionSlots(session string) *slots.Slots {
	if session == ray.UnknownSession {
		session = "" // it does not tell one Ray from another
	}
	held := s.out.Slots(cmp.Or(session, "cluster "+s.opts.Cluster), s.opts.MaxTails)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
	return held
}

func (s *Shipper) slotsHeld() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		return 0
	}
	return s.held.Count()
}
