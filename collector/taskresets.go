package collector

import (
	"context"
	"sync"
	"time"

	"raytap/ray"
)

// This file: how often Ray's list of tasks started over. Ray keeps the events of
// tasks in memory: in the GCS, or, where it is set so (2.60), in a process of the
// dashboard head, TaskEventsHead. When that process dies, or a GCS that keeps its
// session, another one starts with an empty list, status 200 and no warning (2.60.0):
// only what is missing tells so.

// resetFloor is how many attempts must have been lasting for their loss to say
// something.
const resetFloor = 10

const stateFailed = "FAILED"

// taskResets counts the lists that started over. The zero value has seen none; safe
// for concurrent use.
type taskResets struct {
	mu    sync.Mutex
	last  lastingTasks // of the newest list; zero before the first
	total int
}

// lastingTasks is what a list has that only grows while it lives. The total of the
// list does not: it falls, as a rule, when tasks finish.
type lastingTasks struct {
	session  string // "" where it is not known
	asked    time.Time
	attempts int // failed, or no longer kept by Ray
}

// lastingOf gives what lasts of a list; false where it lacks rows and has no exact
// totals either.
func lastingOf(l ray.TaskList) (lastingTasks, bool) {
	counts, ok := exactStates(l)
	return lastingTasks{l.Session, l.RequestedAt, counts[stateFailed] + l.Dropped}, ok
}

// look takes a look at a list, and returns how many have started over so far; false
// where the cluster does not tell its session.
//
// A session that was told before the one list was asked for, and is still told after
// the other one was given, was that of both: answers that are cached, and heads that
// are restarted meanwhile, are never taken for a list that started over.
func (r *taskResets) look(ctx context.Context, source tasksSource, list ray.TaskList) (total int, known bool) {
	if list.Session == "" || list.Session == ray.UnknownSession {
		return 0, false
	}
	now, ok := lastingOf(list)
	r.mu.Lock()
	defer r.mu.Unlock()
	if before := r.last; ok && now.under(before) {
		r.mu.Unlock() // others must not wait for the cluster's answer
		version, err := source.VersionNewerThan(ctx, time.Now())
		r.mu.Lock()
		switch {
		case err != nil:
			return r.total, true // the next look asks again
		case r.last == before && version.Session == now.session:
			r.total++
		}
	}
	if ok && now.asked.After(r.last.asked) {
		r.last = now
	}
	return r.total, true
}

// under reports whether a list has less than half of what an earlier one had.
func (t lastingTasks) under(before lastingTasks) bool {
	return t.asked.After(before.asked) && t.session == before.session &&
		before.attempts >= resetFloor && 2*t.attempts < before.attempts
}
