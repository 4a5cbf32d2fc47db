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

// With a terminal status the driver is over, but not its children: they may print to
// the log for as long as they live (Ray 2.60.0). So a log that was read to its end is
// checked again later, once more when Ray stops listing the job, and once more before
// its position expires. A log that has grown is read on (reopen.go).

// defaultRecheck is how long after the end, and after the previous check, a log is
// checked.
var defaultRecheck = []time.Duration{15 * time.Second, time.Minute, 5 * time.Minute}

const (
	// recheckRate is the maximum of checks per second and cluster. One check costs Ray
	// 0.6 ms of CPU on a node agent and 5 ms over the transport file (2.60.0); the
	// latter also wait for a poll slot among the other reads of files.
	recheckRate  = 20
	recheckBurst = 5
	// maxConcurrentRechecks is for one cluster.
	maxConcurrentRechecks = 4
)

// recheck is one scheduled check of the log of one run.
type recheck struct {
	id        string
	startTime time.Time // of the run
	due       time.Time
	done      int  // number of checks since the last end
	extra     bool // not one of the series: none follows it
	failed    int  // how many times in a row it has failed
}

// recheckRetries is how many times a check that fails is repeated, at the pause of the first
// check: a log that cannot be read for a moment was not checked.
const recheckRetries = 5

// rechecks holds the scheduled checks of one cluster, the next one first. Its methods
// are safe for concurrent use. The zero value is ready to use.
type rechecks struct {
	mu    sync.Mutex
	queue recheckQueue
	added chan struct{}        // capacity 1; nil before the first use
	grown map[string]time.Time // start times of runs, by id
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

// forget drops the checks of an id, which has a new run.
func (r *rechecks) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = slices.DeleteFunc(r.queue, func(c recheck) bool { return c.id == id })
	heap.Init(&r.queue)
	delete(r.grown, id)
}

// clear drops all checks when their session is over.
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

// next waits until a check is due, and removes and returns it.
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

// markGrown records that the log of a run has grown.
func (r *rechecks) markGrown(id string, startTime time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.grown == nil {
		r.grown = map[string]time.Time{}
	}
	r.grown[id] = startTime
}

// takeGrown returns the start times, by id, of the runs that were marked as grown
// since the last call.
func (r *rechecks) takeGrown() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	grown := r.grown
	r.grown = nil
	return grown
}

// recheckQueue is a heap ordered by due time.
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

// scheduleRecheck schedules the check that follows the done ones, if there is one more.
func (s *Shipper) scheduleRecheck(id string, startTime time.Time, done int) {
	after := s.opts.Recheck
	if s.tails.FullChecks() { // a check may read the whole log: make only one
		after = after[min(1, len(after)-1):min(2, len(after))]
	}
	if done < len(after) {
		s.rechecks.add(recheck{id: id, startTime: startTime, due: time.Now().Add(after[done]), done: done})
	}
}

// recheckNow schedules an extra check for now: Ray does not list the job any more, or
// its position is about to expire.
func (s *Shipper) recheckNow(id string, startTime time.Time) {
	s.rechecks.add(recheck{id: id, startTime: startTime, due: time.Now(), extra: true})
}

// runRechecks makes the checks when they are due, until ctx ends. It is one goroutine
// for all runs of the cluster.
func (s *Shipper) runRechecks(ctx context.Context) {
	limit := rate.NewLimiter(recheckRate, recheckBurst)
	slots := semaphore.NewWeighted(maxConcurrentRechecks)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := s.rechecks.next(ctx)
		if err != nil || limit.Wait(ctx) != nil || slots.Acquire(ctx, 1) != nil {
			return
		}
		wg.Go(func() {
			defer slots.Release(1)
			s.recheckLog(ctx, c)
		})
	}
}

// recheckLog makes one check.
func (s *Shipper) recheckLog(ctx context.Context, c recheck) {
	key := s.currentKey(c.id)
	if s.tail(c.id) != nil {
		return
	}
	log, ok := s.out.Positions.ReadToEnd(key, c.startTime)
	if !ok {
		// The id has another run, or the sink is blocked and has not accepted the end.
		if !c.extra && s.out.Positions.EndPending(key, c.startTime) {
			c.due = time.Now().Add(s.opts.Recheck[0])
			s.rechecks.add(c)
		}
		return
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
		s.rechecks.markGrown(c.id, c.startTime)
		return
	}
	if err != nil && c.failed < recheckRetries && len(s.opts.Recheck) > 0 {
		c.failed++
		c.due = time.Now().Add(s.opts.Recheck[0])
		s.rechecks.add(c)
		return
	}
	if !c.extra {
		s.out.Positions.SetChecks(key, c.done+1)
		s.scheduleRecheck(c.id, c.startTime, c.done+1)
	}
}

// currentKey returns the key of an id's log in the current session. It is safe for
// concurrent use.
func (s *Shipper) currentKey(id string) checkpoint.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return checkpoint.Key{Cluster: s.opts.ID, Session: s.currentSession, SubmissionID: id}
}
