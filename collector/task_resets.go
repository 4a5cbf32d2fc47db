package collector

import (
	"context"
	"sync"
	"time"

	"raytap/ray"
)

// This file: resets of Ray's task list. Ray keeps task events in memory: in the GCS or, if
// so configured (2.60), in a process of the dashboard head, TaskEventsHead. When that
// process dies, or a GCS that keeps its session, a new one starts with an empty list,
// status 200 and no warning (2.60.0). Only the missing tasks show it.

// resetFloor is the minimum number of lasting attempts whose loss counts as a reset.
const resetFloor = 10

const stateFailed = "FAILED"

// taskResets counts resets of the task list. The zero value is ready for use, and it is
// safe for concurrent use.
type taskResets struct {
	mu    sync.Mutex
	last  lastingTasks // of the newest list; zero before the first
	total int
}

// lastingTasks is the part of a list that only grows until a reset. The list's total does
// not: it usually falls when tasks finish.
type lastingTasks struct {
	session  string    // "" if unknown
	asked    time.Time // when the list was requested
	attempts int       // failed, or evicted by Ray
}

// lastingOf returns the lasting part of a list, and false if the list is truncated and has
// no exact totals.
func lastingOf(l ray.TaskList) (lastingTasks, bool) {
	counts, ok := exactStates(l)
	return lastingTasks{l.Session, l.RequestedAt, counts[stateFailed] + l.Dropped}, ok
}

// observe compares a list with the one before, and returns the number of resets so far;
// false if the cluster does not report its session.
//
// Both lists are of one session if the cluster reported it before the first list was
// requested, and still reports it after the second one was received. So neither cached
// responses nor a restarted head count as a reset.
func (r *taskResets) observe(ctx context.Context, source tasksSource, list ray.TaskList) (total int, known bool) {
	if list.Session == "" || list.Session == ray.UnknownSession {
		return 0, false
	}
	now, ok := lastingOf(list)
	r.mu.Lock()
	defer r.mu.Unlock()
	if before := r.last; ok && now.halved(before) {
		r.mu.Unlock() // others must not wait for the cluster's response
		version, err := source.VersionNewerThan(ctx, time.Now())
		r.mu.Lock()
		switch {
		case err != nil:
			return r.total, true // the next call tries again
		case r.last == before && version.Session == now.session:
			r.total++
		}
	}
	if ok && now.asked.After(r.last.asked) {
		r.last = now
	}
	return r.total, true
}

// halved reports whether a list has less than half of the attempts of an earlier one.
func (t lastingTasks) halved(before lastingTasks) bool {
	return t.asked.After(before.asked) && t.session == before.session &&
		before.attempts >= resetFloor && 2*t.attempts < before.attempts
}
