package shipper

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"raytap/logthrottle"
	"raytap/ray"
)

const (
	// rereadRate is how many bytes a second may be read again to prove a
	// position: 200 MB cost Ray 0.4 CPU-seconds (2.60.0), so this is 1 % of a core.
	rereadRate  = 5 << 20
	rereadBurst = 8 << 20
	// rereadJitter spreads the whole reads of many jobs after a restart.
	rereadJitter = time.Second
	// readers is how many polls of a cluster may be under way at once.
	readers = 16
	// keptLogs bounds what is remembered of logs whose runs are over.
	keptLogs = 10_000
	// keptFor is how long that is kept once Ray does not list the job any more.
	keptFor = 7 * 24 * time.Hour
)

// Shipper ships the logs of one cluster's jobs. Make it with New.
type Shipper struct {
	opts    Options
	lists   Lists
	cluster Cluster
	client  Client // of bytes, or
	// messages is where the cluster gives messages; else nil.
	messages MessageClient
	out      *Output
	metrics  *Metrics

	hosts     hosts
	refused   moment              // when the server last refused a WebSocket
	replays   *semaphore.Weighted // replays of messages
	noFile    moment              // when the file way was last found to be one that this Ray lacks
	reads     *semaphore.Weighted // polls of agents
	whole     *semaphore.Weighted // whole reads, one after another
	filePolls *rate.Limiter
	reread    *rate.Limiter

	mu         sync.Mutex
	streams    map[string]*stream // by submission id
	held       *slots             // of the current session
	tailed     map[string]bool    // nodes that have a tail open, where they bear one only
	warned     map[string]bool    // what was warned of
	wg         sync.WaitGroup
	sessionNow string // the current session

	rechecks rechecks // of logs whose runs are over

	known   discovery
	listing logthrottle.Condition // the job list
	reading logthrottle.Condition // the logs
	unread  atomic.Int64          // streams whose last read failed
}

// New makes a shipper for one cluster. lists may be shared with others, client
// must not cache.
func New(lists Lists, client Client, out *Output, o Options) *Shipper {
	s := newShipper(lists, client, out, o)
	s.client = client
	return s
}

// NewOfMessages is New for a cluster that gives logs as messages.
func NewOfMessages(lists Lists, client MessageClient, out *Output, o Options) *Shipper {
	s := newShipper(lists, client, out, o)
	s.messages = client
	return s
}

func newShipper(lists Lists, cluster Cluster, out *Output, o Options) *Shipper {
	o = o.withDefaults()
	return &Shipper{
		opts:      o,
		lists:     lists,
		cluster:   cluster,
		out:       out,
		metrics:   out.opts.Metrics,
		hosts:     hosts{down: map[string]downAgent{}},
		reads:     semaphore.NewWeighted(readers),
		whole:     semaphore.NewWeighted(1),
		replays:   semaphore.NewWeighted(replayers),
		filePolls: rate.NewLimiter(rate.Limit(o.FileRate), 5),
		reread:    rate.NewLimiter(rereadRate, rereadBurst),
		streams:   map[string]*stream{},
		listing:   logthrottle.Condition{Log: o.Log},
		reading:   logthrottle.Condition{Log: o.Log, Gap: time.Minute},
	}
}

// Run discovers jobs and ships their logs until ctx ends; it returns nil once
// all streams have stopped.
func (s *Shipper) Run(ctx context.Context) error {
	s.metrics.join(s)
	defer s.metrics.leave(s)
	defer s.out.positions.unclaim(s.opts.Cluster)
	for {
		run, end, ok := s.out.runs.begin(ctx)
		if !ok {
			return nil
		}
		s.known = discovery{} // after a rollback as at start-up
		s.work(run)
		end()
	}
}

// work discovers jobs and ships their logs until ctx ends and all streams have
// stopped.
func (s *Shipper) work(ctx context.Context) {
	defer s.wg.Wait()
	s.wg.Go(func() { s.recheckEnds(ctx) })
	for {
		err := s.discover(ctx)
		if err != nil && ctx.Err() == nil {
			s.listing.Failed("No jobs can be discovered", err)
		} else if err == nil {
			s.listing.Recovered("Jobs are discovered again")
			s.metrics.discovered.WithLabelValues(s.opts.Cluster).SetToCurrentTime()
		}
		t := time.NewTimer(max(s.opts.Interval, retryAfter(err)))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// rereadBudget waits until n content bytes may be read again.
func (s *Shipper) rereadBudget(ctx context.Context, n uint64) error {
	if n == 0 {
		return nil
	}
	select {
	case <-time.After(rand.N(rereadJitter)):
	case <-ctx.Done():
		return ctx.Err()
	}
	for n > 0 {
		part := min(n, rereadBurst)
		if err := s.reread.WaitN(ctx, int(part)); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

// readAge is how long ago the stream that waits longest was read.
func (s *Shipper) readAge(now time.Time) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var age time.Duration
	for _, st := range s.streams {
		age = max(age, now.Sub(st.lastRead.get()))
	}
	return age, len(s.streams) > 0
}

// slotsOfSession gives the WebSocket slots of the cluster's current session.
func (s *Shipper) slotsOfSession() *slots { return s.sessionSlots(s.known.session) }

// sessionSlots gives the WebSocket slots of a session of the cluster.
func (s *Shipper) sessionSlots(session string) *slots {
	if session == ray.UnknownSession {
		session = "" // it does not tell one Ray from another
	}
	held := s.out.slotsOf(cmp.Or(session, "cluster "+s.opts.Cluster), s.opts.MaxTails)
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
	return s.held.count()
}
