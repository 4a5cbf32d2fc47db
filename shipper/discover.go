package shipper

import (
	"context"
	"maps"
	"slices"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/clock"
	"raytap/shipper/tail"

	"raytap/ray"
)

// discovery is what is known of one cluster's jobs. Only the goroutine of Run uses it.
type discovery struct {
	session         string
	sessionSince    time.Time            // when the session became known; zero: it is not known
	seen            bool                 // there was a job list before: the backfill is decided
	firstLists      clock.Absence        // the lists so far, if this process saw the cluster first
	backfillSkipped map[string]time.Time // start times by id, for the whole session; at most the ids of the first list
	jobs            map[string]*trackedJob
	suspectedAt     time.Time // a list that lacked jobs may be wrong: request the next one after this time
	expiredAt       time.Time // when old positions were last expired
}

// expireInterval is the time between two searches for old positions.
const expireInterval = time.Minute

// discover requests the job list once, starts tails and updates those that run.
func (s *Shipper) discover(ctx context.Context) error {
	// A list belongs to one session: to which is certain only if the session is the
	// same before the request and after the response.
	if s.known.sessionSince.IsZero() {
		session, err := s.tails.CurrentSession(ctx, s.out.Positions.Cluster(s.opts.ID).Session)
		if err == nil {
			err = s.out.Positions.Claim(s.opts.ID, session)
		}
		if err != nil {
			return err
		}
		s.resume(ctx, session)
	}
	since := s.known.sessionSince
	if s.known.suspectedAt.After(since) {
		since = s.known.suspectedAt
	}
	if closed(s.drain.begun) {
		since = time.Now() // each list may be the last one
	}
	jobs, err := s.lists.JobsNewerThan(ctx, since)
	if err != nil {
		return err
	}
	s.known.suspectedAt = time.Time{}
	if s.changed(jobs) {
		session, err := s.tails.CurrentSession(ctx, s.known.session)
		if err != nil {
			return err
		}
		if session != s.known.session {
			if err := s.out.Positions.Claim(s.opts.ID, session); err != nil {
				return err
			}
			s.endSession(session)
			return nil
		}
	}
	if s.nodeLogs != nil {
		s.nodeLogs.Observe(s.known.session, jobs)
	}
	now := time.Now()
	if !s.known.seen || s.known.firstLists.Answers > 0 {
		s.known.firstLists.Missed(now)
	}
	listed := make(map[string]ray.Job, len(jobs))
	for _, j := range jobs {
		if j.Type == ray.JobDriver || j.SubmissionID == "" {
			continue
		}
		listed[j.SubmissionID] = j
		s.observeJob(ctx, j)
	}
	s.known.seen = true
	s.reopenGrown(ctx, listed)
	s.reconcileUnlisted(ctx, listed, now)
	s.expirePositions(now)
	s.out.Positions.SetCluster(s.opts.ID, checkpoint.ClusterState{Session: s.known.session, Seen: true, BackfillSkipped: s.known.backfillSkipped})
	return nil
}

// resume continues from the positions that an earlier process has saved.
func (s *Shipper) resume(ctx context.Context, session string) {
	before := s.out.Positions.Cluster(s.opts.ID)
	s.setSession(session)
	s.known = discovery{
		session: session, sessionSince: time.Now(), seen: before.Seen,
		backfillSkipped: map[string]time.Time{}, jobs: map[string]*trackedJob{},
	}
	if before.Session == session {
		for id, start := range before.BackfillSkipped {
			s.known.backfillSkipped[id] = start
			s.known.jobs[id] = &trackedJob{startTime: start, skip: true}
		}
	}
	for id, l := range s.out.Positions.Runs(s.opts.ID, session) {
		s.known.jobs[id] = &trackedJob{startTime: l.Run.Start, readBefore: l.Done}
		if l.Done && l.AtEnd {
			s.scheduleRecheck(id, l.Run.Start, l.Checks)
		}
	}
	for _, k := range s.out.Positions.Unfinished(s.opts.ID) {
		if k.Session == session {
			continue
		}
		// The head of that session is gone, and its logs with it: report the loss.
		log := s.out.Positions.Log(k, ray.Job{})
		t := tail.New(s.tails, s.sessionSlots(k.Session), k.Session, log.Run, log)
		s.wg.Go(func() { t.Close(ctx, tail.ErrSessionOver) })
	}
}

// changed reports whether the list has a run that is new, or lacks one that is known.
func (s *Shipper) changed(jobs []ray.Job) bool {
	listed := make(map[string]bool, len(jobs))
	for _, j := range jobs {
		if j.Type == ray.JobDriver || j.SubmissionID == "" {
			continue
		}
		listed[j.SubmissionID] = true
		if k := s.known.jobs[j.SubmissionID]; k == nil || !k.isRun(j) {
			return true
		}
	}
	for id, k := range s.known.jobs {
		if k.unlistedSince.IsZero() && !listed[id] {
			return true
		}
	}
	return false
}

// observeJob handles one submission of the list.
func (s *Shipper) observeJob(ctx context.Context, j ray.Job) {
	k := s.known.jobs[j.SubmissionID]
	if k != nil {
		k.missing, k.unlistedSince = clock.Absence{}, time.Time{}
	}
	if k != nil && k.isRun(j) {
		j = k.withStartTime(j)
		k.startTime = j.Start
		if t := s.tail(j.SubmissionID); t != nil {
			t.Update(j)
		} else if !k.skip && !k.tailed && !k.readBefore {
			s.startTail(ctx, j, k)
		}
		return
	}
	if k != nil && s.isDraining(ctx, k, j) {
		return // the next list decides again
	}
	if k == nil {
		k = &trackedJob{}
		s.known.jobs[j.SubmissionID] = k
	}
	k.startTime, k.tailed, k.readBefore = j.Start, false, false
	s.rechecks.forget(j.SubmissionID)
	delete(s.known.backfillSkipped, j.SubmissionID)
	if s.excludedByBackfill(j) {
		s.known.backfillSkipped[j.SubmissionID] = j.Start
		k.skip = true
		return
	}
	if k.skip = !s.opts.selects(j); k.skip {
		return
	}
	if t := s.tail(j.SubmissionID); t != nil {
		// The id was submitted again: its log continues where that of the last run ended.
		t.Stop(tail.ErrRunReplaced)
		<-t.Done()
	}
	s.startTail(ctx, j, k)
}

// excludedByBackfill reports whether the backfill skips a new run. It decides about
// the runs of the first list, and about those that the first list lacked because the
// head had not read them yet: they ended before it by more than clocks may differ.
func (s *Shipper) excludedByBackfill(j ray.Job) bool {
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
	first := s.known.firstLists
	open := first.Answers > 0 && !first.Lasts(time.Now(), s.opts.AbsentFor)
	return open && over && !at.IsZero() && at.Before(first.Since.Add(-clock.Tolerance))
}

// tail returns the running tail of an id, nil if there is none. It is safe for
// concurrent use.
func (s *Shipper) tail(id string) *tail.Tail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[id]
}

// startTail starts to tail a run. The tail owns k.log until it has ended.
func (s *Shipper) startTail(ctx context.Context, j ray.Job, k *trackedJob) {
	if s.opts.NoDrivers {
		return
	}
	if k.log == nil {
		k.log = s.out.Positions.Log(s.logKey(j.SubmissionID), j)
	}
	t := tail.New(s.tails, s.sessionSlots(s.known.session), s.known.session, j, k.log)
	if k.reopen {
		t.Reopen()
	}
	k.tailed, k.reopen = true, false
	s.mu.Lock()
	s.running[j.SubmissionID] = t
	s.mu.Unlock()
	s.wg.Go(func() {
		t.Run(ctx)
		s.tailEnded(ctx, t, &j)
	})
}

// tailEnded forgets a tail that has ended, and schedules the checks of its log.
//
//go:noinline // tails wait in the caller: its frame must be small
func (s *Shipper) tailEnded(ctx context.Context, t *tail.Tail, j *ray.Job) {
	atEnd, checks := t.ReadToEnd()
	s.mu.Lock()
	defer s.mu.Unlock()
	if atEnd && ctx.Err() == nil && t.Session() == s.currentSession {
		s.scheduleRecheck(j.SubmissionID, j.Start, checks)
	}
	if s.running[j.SubmissionID] == t {
		delete(s.running, j.SubmissionID)
	}
}

// setSession makes a session the current one and drops the rechecks of the previous one.
func (s *Shipper) setSession(session string) {
	s.rechecks.clear()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.currentSession = session
}

func (s *Shipper) logKey(id string) checkpoint.Key {
	return checkpoint.Key{Cluster: s.opts.ID, Session: s.known.session, SubmissionID: id}
}

// endSession ends the tails of the current session, whose head is gone, and makes
// session the current one. The old logs are never read again: the same addresses and
// ids may belong to other logs now.
func (s *Shipper) endSession(session string) {
	s.opts.Log.WithField("session", session).Warn("The head was restarted, logs of the previous session cannot be read any more")
	s.stopTails(tail.ErrSessionOver)
	now := time.Now()
	for id := range s.known.jobs {
		s.out.Positions.MarkUnlisted(s.logKey(id), now)
	}
	s.setSession(session)
	s.known.session, s.known.sessionSince = session, now
	s.known.backfillSkipped, s.known.jobs = map[string]time.Time{}, map[string]*trackedJob{}
}

// stopTails stops all tails, which write the reason, waits for them, and returns how many there
// were.
func (s *Shipper) stopTails(why error) int {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.running))
	s.mu.Unlock()
	for _, t := range all {
		t.Stop(why)
	}
	for _, t := range all {
		<-t.Done()
	}
	return len(all)
}

// reconcileUnlisted handles the tracked jobs that the list lacks: it has their tails
// request the job, and forgets old ones. Ray counts as not listing a job only after
// several lists have lacked it for some time.
func (s *Shipper) reconcileUnlisted(ctx context.Context, listed map[string]ray.Job, now time.Time) {
	for id, k := range s.known.jobs {
		if _, ok := listed[id]; ok {
			continue
		}
		k.missing.Missed(now)
		t := s.tail(id)
		switch {
		case t != nil:
			t.Refresh(ctx)
		case !k.skip && !k.tailed && !k.readBefore:
			// It was deleted while raytap was down. Its log may still exist: read it.
			log := s.out.Positions.Log(s.logKey(id), ray.Job{SubmissionID: id})
			k.log = log
			s.startTail(ctx, log.Run, k)
		}
		if !k.missing.Lasts(now, s.opts.AbsentFor) {
			s.known.suspectedAt = now
			continue
		}
		if k.unlistedSince.IsZero() {
			k.unlistedSince = now
			s.out.Positions.MarkUnlisted(s.logKey(id), now)
			s.recheckNow(id, k.startTime)
		}
		if s.canForget(id, k, now) {
			delete(s.known.jobs, id)
			delete(s.known.backfillSkipped, id)
		}
	}
	s.sessionSlots(s.known.session).Retain(func(key string) bool {
		id := tail.RunID(key)
		if j, ok := listed[id]; ok {
			return tail.RunKey(j) == key && !j.Status.Terminal()
		}
		k := s.known.jobs[id]
		return k != nil && k.unlistedSince.IsZero()
	})
}

// expirePositions drops old positions, at most once in expireInterval. Logs whose
// positions expire next are rechecked before.
func (s *Shipper) expirePositions(now time.Time) {
	if now.Sub(s.known.expiredAt) < expireInterval {
		return
	}
	s.known.expiredAt = now
	for id, startTime := range s.out.Positions.Expiring(s.opts.ID, s.known.session, now.Add(2*expireInterval)) {
		s.recheckNow(id, startTime)
	}
	s.out.Expire(now)
}

// canForget reports whether a job that Ray does not list may be forgotten.
func (s *Shipper) canForget(id string, k *trackedJob, now time.Time) bool {
	old := now.Sub(k.unlistedSince) > checkpoint.Retention
	if _, skipped := s.known.backfillSkipped[id]; skipped {
		// That is decided until the session ends, with the head; an unknown session has no end.
		return old && s.known.session == ray.UnknownSession
	}
	return s.tail(id) == nil && (k.skip || old || len(s.known.jobs) > checkpoint.MaxRetained)
}
