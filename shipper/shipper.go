package shipper

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"raytap/ratelog"
	"raytap/ray"
)

const (
	// rereadRate is how many bytes a second may be read again to prove a
	// position: 200 MB cost Ray 0.4 CPU-seconds (2.60.0), so this is 1 % of a core.
	rereadRate  = 5 << 20
	rereadBurst = 8 << 20
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
	client  Client
	out     *Output
	metrics *Metrics

	hosts     hosts
	noFile    atomic.Bool         // this Ray has no usable file way (2.9)
	reads     *semaphore.Weighted // polls of agents
	whole     *semaphore.Weighted // whole reads, one after another
	filePolls *rate.Limiter
	reread    *rate.Limiter

	mu      sync.Mutex
	streams map[string]*stream // by submission id
	held    *slots             // of the current session
	wg      sync.WaitGroup

	known   discovery
	listing ratelog.Condition // the job list
	reading ratelog.Condition // the logs
	unread  atomic.Int64      // streams whose last read failed
}

// New makes a shipper for one cluster. lists may be shared with others, client
// must not cache.
func New(lists Lists, client Client, out *Output, o Options) *Shipper {
	o = o.withDefaults()
	return &Shipper{
		opts:      o,
		lists:     lists,
		client:    client,
		out:       out,
		metrics:   out.opts.Metrics,
		hosts:     hosts{until: map[string]time.Time{}},
		reads:     semaphore.NewWeighted(readers),
		whole:     semaphore.NewWeighted(1),
		filePolls: rate.NewLimiter(rate.Limit(o.FileRate), 5),
		reread:    rate.NewLimiter(rereadRate, rereadBurst),
		streams:   map[string]*stream{},
		known:     discovery{logs: map[string]*knownLog{}},
		listing:   ratelog.Condition{Log: o.Log},
		reading:   ratelog.Condition{Log: o.Log, Gap: time.Minute},
	}
}

// Run discovers jobs and ships their logs until ctx ends; it returns nil once
// all streams have stopped.
func (s *Shipper) Run(ctx context.Context) error {
	s.metrics.join(s)
	defer s.metrics.leave(s)
	defer s.wg.Wait()
	for {
		if err := s.discover(ctx); err != nil && ctx.Err() == nil {
			s.listing.Failed("No jobs can be discovered", err)
		} else if err == nil {
			s.listing.Well("Jobs are discovered again")
			s.metrics.discovered.WithLabelValues(s.opts.Cluster).SetToCurrentTime()
		}
		t := time.NewTimer(s.opts.Interval)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// rereadBudget waits until n content bytes may be read again.
func (s *Shipper) rereadBudget(ctx context.Context, n uint64) error {
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
		age = max(age, now.Sub(time.Unix(0, st.lastRead.Load())))
	}
	return age, len(s.streams) > 0
}

// sessionSlots gives the WebSocket slots of a session of the cluster.
func (s *Shipper) sessionSlots(session string) *slots {
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

// discovery is what one cluster's jobs have been so far. It belongs to the
// goroutine of Run.
type discovery struct {
	session string
	since   time.Time // when that was learnt
	seen    bool      // the cluster was seen once: the backfill is decided
	logs    map[string]*knownLog
}

// knownLog is a log that a stream reads or has read, or that is left out.
type knownLog struct {
	started time.Time // of its last run
	skip    bool      // left out by the backfill or the selectors
	log     *logState // nil where skip is set
	gone    time.Time // when Ray stopped listing it; zero while it does
}

// discover takes one look at the job list and starts and informs streams.
func (s *Shipper) discover(ctx context.Context) error {
	// A list is one session's. It is sure whose it is where the session was
	// the same before the list was asked for and after it was answered.
	if s.known.since.IsZero() {
		v, err := s.client.Version(ctx)
		if err != nil {
			return err
		}
		s.known.session, s.known.since = v.Session, time.Now()
	}
	jobs, err := s.lists.JobsSince(ctx, s.known.since)
	if err != nil {
		return err
	}
	if s.differs(jobs) {
		v, err := s.client.Version(ctx)
		if err != nil {
			return err
		}
		if v.Session != s.known.session {
			s.endSession(v.Session)
			return nil
		}
	}
	now := time.Now()
	listed := make(map[string]bool, len(jobs))
	for _, j := range jobs {
		if j.Type == ray.JobDriver || j.SubmissionID == "" {
			continue
		}
		listed[j.SubmissionID] = true
		s.see(ctx, j)
	}
	s.known.seen = true
	s.prune(ctx, listed, now)
	return nil
}

// differs reports whether the list tells of a run that is new, or lacks one.
func (s *Shipper) differs(jobs []ray.Job) bool {
	listed := make(map[string]bool, len(jobs))
	for _, j := range jobs {
		if j.Type == ray.JobDriver || j.SubmissionID == "" {
			continue
		}
		listed[j.SubmissionID] = true
		if k := s.known.logs[j.SubmissionID]; k == nil || !k.started.Equal(j.Start) {
			return true
		}
	}
	for id, k := range s.known.logs {
		if k.gone.IsZero() && !listed[id] {
			return true
		}
	}
	return false
}

// see takes one submission of the list.
func (s *Shipper) see(ctx context.Context, j ray.Job) {
	k := s.known.logs[j.SubmissionID]
	if k != nil && k.started.Equal(j.Start) {
		k.gone = time.Time{}
		if st := s.stream(j.SubmissionID); st != nil {
			st.update(j)
		}
		return
	}
	if k == nil {
		k = &knownLog{}
		s.known.logs[j.SubmissionID] = k
	}
	k.started, k.gone = j.Start, time.Time{}
	if k.skip = !s.opts.wants(j) || !s.known.seen && s.leftOut(j); k.skip {
		return
	}
	if st := s.stream(j.SubmissionID); st != nil {
		// The id was submitted again: its log goes on where the last run's ended.
		st.stop(errRunReplaced)
		<-st.ended
	}
	if k.log == nil {
		k.log = newLogState("")
	}
	s.start(ctx, j, k.log)
}

// leftOut decides the backfill of a job listed at the first sight of the cluster.
func (s *Shipper) leftOut(j ray.Job) bool {
	switch s.opts.Backfill {
	case BackfillAll:
		return false
	case BackfillNone:
		return true
	}
	return j.Status.Terminal()
}

func (s *Shipper) stream(id string) *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[id]
}

// start begins to ship a run. Its log's state is the stream's until that ended.
func (s *Shipper) start(ctx context.Context, j ray.Job, log *logState) {
	reading, stop := context.WithCancelCause(ctx)
	st := s.newStream(s.known.session, j, log)
	st.stop = stop
	s.mu.Lock()
	s.streams[j.SubmissionID] = st
	s.mu.Unlock()
	s.wg.Go(func() {
		defer stop(nil)
		st.run(ctx, reading)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.streams[j.SubmissionID] == st {
			delete(s.streams, j.SubmissionID)
		}
	})
}

// endSession ends what belongs to a head that is no more. Its logs are never
// read again: the same addresses and ids may be other logs now.
func (s *Shipper) endSession(session string) {
	s.opts.Log.WithField("session", session).Warn("The head was restarted: the logs of the session before are out of reach")
	s.mu.Lock()
	old := make([]*stream, 0, len(s.streams))
	for _, st := range s.streams {
		old = append(old, st)
	}
	s.mu.Unlock()
	for _, st := range old {
		st.stop(errSessionOver)
	}
	for _, st := range old {
		<-st.ended
	}
	s.known.session, s.known.since = session, time.Now()
	s.known.logs = map[string]*knownLog{}
}

// prune asks after jobs that left the list, and forgets old logs.
func (s *Shipper) prune(ctx context.Context, listed map[string]bool, now time.Time) {
	for id, k := range s.known.logs {
		if listed[id] {
			continue
		}
		if k.gone.IsZero() {
			k.gone = now
		}
		if st := s.stream(id); st != nil {
			st.ask(ctx)
		} else if k.skip || now.Sub(k.gone) > keptFor {
			delete(s.known.logs, id)
		}
	}
	if n := len(s.known.logs) - keptLogs; n > 0 {
		var over []string
		for id, k := range s.known.logs {
			if !k.gone.IsZero() && s.stream(id) == nil {
				over = append(over, id)
			}
		}
		slices.SortFunc(over, func(a, b string) int { return s.known.logs[a].gone.Compare(s.known.logs[b].gone) })
		for _, id := range over[:min(n, len(over))] {
			delete(s.known.logs, id)
		}
	}
}
