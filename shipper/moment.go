package shipper

import (
	"sync/atomic"
	"time"
)

// moment is a point in time that several goroutines set and compare. It keeps the
// reading of the monotonic clock, so that a step of the wall clock changes no
// duration. The zero value is none.
type moment struct{ at atomic.Pointer[time.Time] }

// get returns the time, the zero time where none is set.
func (m *moment) get() time.Time {
	if t := m.at.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// isSet reports whether a time is set.
func (m *moment) isSet() bool { return m.at.Load() != nil }

func (m *moment) set(t time.Time) { m.at.Store(&t) }

// setFirst sets a time where none is set.
func (m *moment) setFirst(t time.Time) { m.at.CompareAndSwap(nil, &t) }

func (m *moment) clear() { m.at.Store(nil) }

// awake adds up time in which something was tried again and again. A stretch in
// which the process did not run (stopped, or its machine suspended) counts as no
// longer than it was to be. The zero value is ready.
type awake struct {
	last  time.Time
	sum   time.Duration
	steps int
}

// step counts the time since the last step, expected at the most.
func (a *awake) step(now time.Time, expected time.Duration) {
	if !a.last.IsZero() {
		a.sum += max(0, min(now.Sub(a.last), expected))
	}
	a.last = now
	a.steps++
}
