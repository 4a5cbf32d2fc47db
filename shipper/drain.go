package shipper

import (
	"context"
	"sync"
	"time"

	"raytap/shipper/tail"
)

const (
	// Once its jobs have ended, Ray 2.60.0 ends within a second of its pod's SIGTERM; with a
	// job that runs it answers for 30 s.
	defaultDrainSilence = 5 * time.Second
	// DefaultDrainTimeout is the default of Drain's limit.
	DefaultDrainTimeout = 2 * time.Minute
)

// drain is the end of a cluster that is being deleted.
type drain struct {
	begin, end sync.Once
	begun      chan struct{} // closed by Drain
	gone       chan struct{} // closed by Gone
	until      time.Time     // set before begun is closed

	// Only the goroutine of Run uses what follows.
	answered time.Time // when the cluster last answered, at the earliest when the drain began
	over     bool      // Run returns
}

// closed reports whether a channel is closed.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Drain reads what a cluster that is being deleted still answers, at once and without the
// pauses of a quiet one, for at most limit; 0 means DefaultDrainTimeout. Then Run says in
// the records what could not be read, and returns. It does not wait, and may be called more
// than once; the first call counts.
func (s *Shipper) Drain(limit time.Duration) {
	if limit <= 0 {
		limit = DefaultDrainTimeout
	}
	s.drain.begin.Do(func() {
		s.drain.until = time.Now().Add(limit)
		s.tails.Drain()
		close(s.drain.begun)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.nodeLogs != nil {
			s.nodeLogs.Drain()
		}
	})
}

// Gone ends a drain: the head does not exist any more. It does not wait.
func (s *Shipper) Gone() {
	s.Drain(0)
	s.drain.end.Do(func() { close(s.drain.gone) })
}

// pause returns how long to wait before the next job list.
func (s *Shipper) pause(d time.Duration) time.Duration {
	if closed(s.drain.begun) {
		return min(d, tail.DrainInterval)
	}
	return d
}

// drained reports whether a drain is over. err is that of the last job list.
func (s *Shipper) drained(err error, now time.Time) bool {
	d := &s.drain
	if !closed(d.begun) {
		return false
	}
	if d.answered.IsZero() || err == nil {
		d.answered = now
	}
	s.mu.Lock()
	running := len(s.running)
	for _, t := range s.running {
		if at := t.LastRead(); at.After(d.answered) {
			d.answered = at
		}
	}
	s.mu.Unlock()
	return closed(d.gone) || now.After(d.until) || now.Sub(d.answered) > s.opts.DrainSilence ||
		err == nil && running == 0 && s.nodeLogs == nil
}

// endDrain writes the ends of all logs that were not read to theirs.
func (s *Shipper) endDrain(ctx context.Context) {
	left := s.stopTails(tail.ErrClusterDeleted)
	if s.nodeLogs != nil {
		s.nodeLogs.End(ctx, tail.ErrClusterDeleted)
	}
	now := time.Now()
	for id := range s.known.jobs {
		s.out.Positions.MarkUnlisted(s.logKey(id), now)
	}
	if left > 0 {
		s.opts.Log.WithField("logs", left).Warn("The cluster was deleted before all logs were read to their ends")
	}
}
