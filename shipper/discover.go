package shipper

import (
	"context"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/clock"
	"raytap/shipper/tail"

	"raytap/ray"
)

// discovery is what one cluster's jobs have been so far. It belongs to the
// goroutine of Run.
type discovery struct {
	session string
	since   time.Time            // when that was learnt
	seen    bool                 // the cluster was seen once: the backfill is decided
	first   clock.Absence        // looks at a cluster that this process was the first to see
	left    map[string]time.Time // what the backfill skips, for the whole session: no more than was listed at the first sight
	logs    map[string]*knownLog
	doubt   time.Time // the next list must be requested after it: one may be wrong
	expired time.Time // when old positions were looked through last
}

// knownLog is a log that a stream reads or has read, or that is left out.
type knownLog struct {
	started time.Time       // of its last run
	skip    bool            // left out by the backfill or the selectors
	run     bool            // a stream was started on that run
	over    bool            // it was read to its end by a process before this one
	reopen  bool            // the next stream reads on after the run's end
	drain   time.Time       // since when it is read to its end, as another run took its id; zero: none has
	log     *checkpoint.Log // nil until a stream is started
	absent  clock.Absence   // lists in a row that lack it
	gone    time.Time       // since when it is believed that Ray does not list it; zero: it does
}

// expireEvery is how often old positions are looked through.
const expireEvery = time.Minute

// discover takes one look at the job list and starts and informs streams.
func (s *Shipper) discover(ctx context.Context) error {
	// A list is one session's. It is sure whose it is where the session was
	// the same before the list was asked for and after it was answered.
	if s.known.since.IsZero() {
		session, err := s.tails.CurrentSession(ctx, s.out.Positions.Cluster(s.opts.Cluster).Session)
		if err == nil {
			err = s.out.Positions.Claim(s.opts.Cluster, session)
		}
		if err != nil {
			return err
		}
		s.resume(ctx, session)
	}
	since := s.known.since
	if s.known.doubt.After(since) {
		since = s.known.doubt
	}
	jobs, err := s.lists.JobsNewerThan(ctx, since)
	if err != nil {
		return err
	}
	s.known.doubt = time.Time{}
	if s.differs(jobs) {
		session, err := s.tails.CurrentSession(ctx, s.known.session)
		if err != nil {
			return err
		}
		if session != s.known.session {
			if err := s.out.Positions.Claim(s.opts.Cluster, session); err != nil {
				return err
			}
			s.endSession(session)
			return nil
		}
	}
	now := time.Now()
	if !s.known.seen || s.known.first.Answers > 0 {
		s.known.first.Missed(now)
	}
	listed := make(map[string]ray.Job, len(jobs))
	for _, j := range jobs {
		if j.Type == ray.JobDriver || j.SubmissionID == "" {
			continue
		}
		listed[j.SubmissionID] = j
		s.see(ctx, j)
	}
	s.known.seen = true
	s.reopenGrown(ctx, listed)
	s.prune(ctx, listed, now)
	s.out.Positions.SetCluster(s.opts.Cluster, checkpoint.ClusterState{Session: s.known.session, Seen: true, BackfillSkipped: s.known.left})
	return nil
}

// resume goes on where a process before this one stopped.
func (s *Shipper) resume(ctx context.Context, session string) {
	before := s.out.Positions.Cluster(s.opts.Cluster)
	s.setSession(session)
	s.known = discovery{session: session, since: time.Now(), seen: before.Seen, left: map[string]time.Time{}, logs: map[string]*knownLog{}}
	if before.Session == session {
		for id, start := range before.BackfillSkipped {
			s.known.left[id] = start
			s.known.logs[id] = &knownLog{started: start, skip: true}
		}
	}
	for id, l := range s.out.Positions.Runs(s.opts.Cluster, session) {
		s.known.logs[id] = &knownLog{started: l.Run.Start, over: l.Done}
		if l.Done && l.AtEnd {
			s.scheduleRecheck(id, l.Run.Start, l.Checks)
		}
	}
	for _, k := range s.out.Positions.Unfinished(s.opts.Cluster) {
		if k.Session == session {
			continue
		}
		// Its head is no more, and with it the log: say so.
		log := s.out.Positions.Log(k, ray.Job{})
		st := tail.New(s.tails, s.sessionSlots(k.Session), k.Session, log.Run, log)
		s.wg.Go(func() { st.Close(ctx, tail.ErrSessionOver) })
	}
}

// differs reports whether the list tells of a run that is new, or lacks one.
func (s *Shipper) differs(jobs []ray.Job) bool {
	listed := make(map[string]bool, len(jobs))
	for _, j := range jobs {
		if j.Type == ray.JobDriver || j.SubmissionID == "" {
			continue
		}
		listed[j.SubmissionID] = true
		if k := s.known.logs[j.SubmissionID]; k == nil || !k.is(j) {
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
	if k != nil {
		k.absent, k.gone = clock.Absence{}, time.Time{}
	}
	if k != nil && k.is(j) {
		j = k.dated(j)
		k.started = j.Start
		if st := s.tail(j.SubmissionID); st != nil {
			st.Update(j)
		} else if !k.skip && !k.run && !k.over {
			s.start(ctx, j, k)
		}
		return
	}
	if k != nil && s.drains(ctx, k, j) {
		return // looked at again with the next list
	}
	if k == nil {
		k = &knownLog{}
		s.known.logs[j.SubmissionID] = k
	}
	k.started, k.run, k.over = j.Start, false, false
	s.rechecks.forget(j.SubmissionID)
	delete(s.known.left, j.SubmissionID)
	if s.leftOut(j) {
		s.known.left[j.SubmissionID] = j.Start
		k.skip = true
		return
	}
	if k.skip = !s.opts.wants(j); k.skip {
		return
	}
	if st := s.tail(j.SubmissionID); st != nil {
		// The id was submitted again: its log goes on where the last run's ended.
		st.Stop(tail.ErrRunReplaced)
		<-st.Done()
	}
	s.start(ctx, j, k)
}

// leftOut decides the backfill of a run that was not seen before: at the first
// sight of the cluster, and of one that the first list lacked. The latter must
// be older than the first sight by more than clocks differ.
func (s *Shipper) leftOut(j ray.Job) bool {
	at, over := j.Start, true
	switch s.opts.Backfill {
	case BackfillAll:
		return false
	case BackfillRunning:
		at, over = j.End, j.Status.Terminal()
	}
	if !s.known.seen {
		return over
	}
	first := s.known.first
	open := first.Answers > 0 && !first.Lasts(time.Now(), s.opts.AbsentFor)
	return open && over && !at.IsZero() && at.Before(first.Since.Add(-clock.ClockTolerance))
}

func (s *Shipper) tail(id string) *tail.Tail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[id]
}

// start begins to ship a run. Its log's state is the stream's until that ended.
func (s *Shipper) start(ctx context.Context, j ray.Job, k *knownLog) {
	if k.log == nil {
		k.log = s.out.Positions.Log(s.logKey(j.SubmissionID), j)
	}
	st := tail.New(s.tails, s.sessionSlots(s.known.session), s.known.session, j, k.log)
	if k.reopen {
		st.Reopen()
	}
	k.run, k.reopen = true, false
	s.mu.Lock()
	s.running[j.SubmissionID] = st
	s.mu.Unlock()
	s.wg.Go(func() {
		st.Run(ctx)
		atEnd, checks := st.ReadToEnd()
		s.mu.Lock()
		defer s.mu.Unlock()
		if atEnd && ctx.Err() == nil && st.Session() == s.sessionNow {
			s.scheduleRecheck(j.SubmissionID, j.Start, checks)
		}
		if s.running[j.SubmissionID] == st {
			delete(s.running, j.SubmissionID)
		}
	})
}

// setSession names the session that is current, for other goroutines, and drops
// the checks of the one before.
func (s *Shipper) setSession(session string) {
	s.rechecks.clear()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessionNow = session
}

func (s *Shipper) logKey(id string) checkpoint.Key {
	return checkpoint.Key{Cluster: s.opts.Cluster, Session: s.known.session, SubmissionID: id}
}

// endSession ends what belongs to a head that is no more. Its logs are never
// read again: the same addresses and ids may be other logs now.
func (s *Shipper) endSession(session string) {
	s.opts.Log.WithField("session", session).Warn("The head was restarted: the logs of the session before are out of reach")
	s.mu.Lock()
	old := make([]*tail.Tail, 0, len(s.running))
	for _, st := range s.running {
		old = append(old, st)
	}
	s.mu.Unlock()
	for _, st := range old {
		st.Stop(tail.ErrSessionOver)
	}
	for _, st := range old {
		<-st.Done()
	}
	now := time.Now()
	for id := range s.known.logs {
		s.out.Positions.MarkUnlisted(s.logKey(id), now)
	}
	s.setSession(session)
	s.known.session, s.known.since = session, now
	s.known.left, s.known.logs = map[string]time.Time{}, map[string]*knownLog{}
}

// prune asks after jobs that left the list, and forgets old logs. A job is
// believed to have left when several lists lack it, over some time.
func (s *Shipper) prune(ctx context.Context, listed map[string]ray.Job, now time.Time) {
	for id, k := range s.known.logs {
		if _, ok := listed[id]; ok {
			continue
		}
		k.absent.Missed(now)
		st := s.tail(id)
		switch {
		case st != nil:
			st.Refresh(ctx)
		case !k.skip && !k.run && !k.over:
			// It was deleted while raytap was down: what lies there still is read.
			log := s.out.Positions.Log(s.logKey(id), ray.Job{SubmissionID: id})
			k.log = log
			s.start(ctx, log.Run, k)
		}
		if !k.absent.Lasts(now, s.opts.AbsentFor) {
			s.known.doubt = now
			continue
		}
		if k.gone.IsZero() {
			k.gone = now
			s.out.Positions.MarkUnlisted(s.logKey(id), now)
			s.recheckNow(id, k.started)
		}
		if s.forget(id, k, now) {
			delete(s.known.logs, id)
			delete(s.known.left, id)
		}
	}
	s.slotsOfSession().Retain(func(key string) bool {
		id := tail.RunID(key)
		if j, ok := listed[id]; ok {
			return tail.RunKey(j) == key && !j.Status.Terminal()
		}
		k := s.known.logs[id]
		return k != nil && k.gone.IsZero()
	})
	if now.Sub(s.known.expired) >= expireEvery {
		s.known.expired = now
		for id, started := range s.out.Positions.Expiring(s.opts.Cluster, s.known.session, now.Add(2*expireEvery)) {
			s.recheckNow(id, started)
		}
		if n := s.out.Positions.Expire(now); n > 0 {
			s.out.Metrics().Expired.Add(float64(n))
		}
	}
}

// forget reports whether a log that Ray does not list may be forgotten.
func (s *Shipper) forget(id string, k *knownLog, now time.Time) bool {
	old := now.Sub(k.gone) > checkpoint.Retention
	if _, left := s.known.left[id]; left {
		// Decided for the session, which ends with the head; an unknown one never does.
		return old && s.known.session == ray.UnknownSession
	}
	return s.tail(id) == nil && (k.skip || old || len(s.known.logs) > checkpoint.MaxRetained)
}
