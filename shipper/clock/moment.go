package clock

import (
	"sync/atomic"
	"time"
)

// Moment is a point in time that several goroutines set and compare. It keeps the reading
// of the monotonic clock, so that a step of the wall clock changes no duration. The zero
// value is not set.
type Moment struct{ at atomic.Pointer[time.Time] }

// Get returns the time; the zero time if none is set.
func (m *Moment) Get() time.Time {
	if t := m.at.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// IsSet reports whether a time is set.
func (m *Moment) IsSet() bool { return m.at.Load() != nil }

// Set sets the time.
func (m *Moment) Set(t time.Time) { m.at.Store(&t) }

// SetFirst sets the time if none is set.
func (m *Moment) SetFirst(t time.Time) { m.at.CompareAndSwap(nil, &t) }

// Clear unsets the time.
func (m *Moment) Clear() { m.at.Store(nil) }

// AwakeTime sums up the time during which something was retried. A step during which the
// process did not run (stopped, or its machine suspended) counts only as long as expected.
// The zero value is ready.
type AwakeTime struct {
	Last  time.Time     // of the last step; zero before the first
	Sum   time.Duration // of all steps
	Steps int
}

// Step adds the time since the last step, but at most expected.
func (a *AwakeTime) Step(now time.Time, expected time.Duration) {
	if !a.Last.IsZero() {
		a.Sum += max(0, min(now.Sub(a.Last), expected))
	}
	a.Last = now
	a.Steps++
}
