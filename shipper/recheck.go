package shipper

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/tail"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

// Ray's terminal status ends the driver, not what the driver started: children
// may print to the log for as long as they live (Ray 2.60.0). So the log of a run
// that was read to its end is checked again some time later, and once more when
// Ray stops listing the job and before its position is dropped. A log that has
// grown is read on.

// recheckAfter is how long after the end, and after the check before it, a log
// is checked.
var recheckAfter = []time.Duration{15 * time.Second, time.Minute, 5 * time.Minute}

const (
	// recheckRate is how many checks a second one cluster gets. One costs Ray
	// 0.6 ms of CPU on a node agent and 5 ms by the file way (2.60.0); the latter
	// also wait for their turn among the other reads by that way.
	recheckRate  = 20
	recheckBurst = 5
	// recheckers is how many checks of one cluster run at the same time.
	recheckers = 4
)

// recheck is one check to come of the log of one run.
type recheck struct {
	id      string
	started time.Time // the run's start_time
	due     time.Time
	done    int  // how many checks there were since the last end
	extra   bool // one besides those: none follows it
}

// rechecks are the checks to come of one cluster, the next one first. Its methods
// are safe for concurrent use. The zero value is ready.
type rechecks struct {
	mu    sync.Mutex
	queue recheckQueue
	added chan struct{} // capacity 1; nil before the first use
	grown map[string]time.Time
}

// add schedules a check of a run's log.
func (r *rechecks) add(c recheck) {
	r.mu.Lock()
	defer r.mu.Unlock()
	heap.Push(&r.queue, c)
	select {
	case r.signal() <- struct{}{}:
	default:
	}
}

// forget drops the checks of an id, of which another run is known now.
func (r *rechecks) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = slices.DeleteFunc(r.queue, func(c recheck) bool { return c.id == id })
	heap.Init(&r.queue)
	delete(r.grown, id)
}

// clear drops all: their session is over.
func (r *rechecks) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue, r.grown = nil, nil
}

func (r *rechecks) signal() chan struct{} {
	if r.added == nil {
		r.added = make(chan struct{}, 1)
	}
	return r.added
}

// next waits until a check is due and takes it.
func (r *rechecks) next(ctx context.Context) (recheck, error) {
	for {
		r.mu.Lock()
		wait, added := time.Hour, r.signal()
		if len(r.queue) > 0 {
			if wait = time.Until(r.queue[0].due); wait <= 0 {
				c := heap.Pop(&r.queue).(recheck)
				r.mu.Unlock()
				return c, nil
			}
		}
		r.mu.Unlock()
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return recheck{}, ctx.Err()
		case <-added:
			t.Stop()
		case <-t.C:
		}
	}
}

// found notes that the log of a run has grown.
func (r *rechecks) found(id string, started time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.grown == nil {
		r.grown = map[string]time.Time{}
	}
	r.grown[id] = started
}

// take returns the runs whose logs have grown since the last call.
func (r *rechecks) take() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	grown := r.grown
	r.grown = nil
	return grown
}

// recheckQueue is a heap by due time.
type recheckQueue []recheck

func (q recheckQueue) Len() int           { return len(q) }
func (q recheckQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q recheckQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *recheckQueue) Push(x any)        { *q = append(*q, x.(recheck)) }
func (q *recheckQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// scheduleRecheck schedules the check that follows so many.
func (s *Shipper) scheduleRecheck(id string, started time.Time, done int) {
	after := s.opts.Recheck
	if s.tails.FullChecks() { // a check may read the whole log: one has to do
		after = after[min(1, len(after)-1):min(2, len(after))]
	}
	if done < len(after) {
		s.rechecks.add(recheck{id: id, started: started, due: time.Now().Add(after[done]), done: done})
	}
}

// recheckNow schedules a check besides the others: Ray does not list the job any
// more, or the position will be dropped.
func (s *Shipper) recheckNow(id string, started time.Time) {
	s.rechecks.add(recheck{id: id, started: started, due: time.Now(), extra: true})
}

// recheckEnds makes the checks until ctx ends. It is the only goroutine that
// waits for them, however many runs have ended.
func (s *Shipper) recheckEnds(ctx context.Context) {
	limit := rate.NewLimiter(recheckRate, recheckBurst)
	slots := semaphore.NewWeighted(recheckers)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := s.rechecks.next(ctx)
		if err != nil || limit.Wait(ctx) != nil || slots.Acquire(ctx, 1) != nil {
			return
		}
		wg.Go(func() {
			defer slots.Release(1)
			s.recheckEnd(ctx, c)
		})
	}
}

// recheckEnd makes one check.
func (s *Shipper) recheckEnd(ctx context.Context, c recheck) {
	key := s.rechecked(c.id)
	log, ok := s.out.Positions.ReadToEnd(key, c.started)
	if !ok || s.tail(c.id) != nil {
		return // another run, or it is being read
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	grown, err := tail.New(s.tails, s.sessionSlots(key.Session), key.Session, log.Run, log).GrewAfterEnd(ctx)
	result := "same"
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return
	case err != nil:
		result = "failed"
	case grown:
		result = "grown"
	}
	s.tails.Metrics.EndChecks(result).Inc()
	if grown {
		s.rechecks.found(c.id, c.started)
		return
	}
	if !c.extra {
		s.out.Positions.SetChecks(key, c.done+1)
		s.scheduleRecheck(c.id, c.started, c.done+1)
	}
}

// rechecked returns the key of an id's log in the session that is current. It is
// safe to call from any goroutine.
func (s *Shipper) rechecked(id string) checkpoint.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return checkpoint.Key{Cluster: s.opts.Cluster, Session: s.sessionNow, SubmissionID: id}
}
