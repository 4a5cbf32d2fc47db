package clock

import (
	"sync/atomic"
	"time"
)

// moment is a point in time that several goroutines set and compare. It keeps the
// reading of the monotonic clock, so that a step of the wall clock changes no
// duration. The zero value is none.
type Moment struct{ at atomic.Pointer[time.Time] }

// get returns the time, the zero time where none is set.
func (m *Moment) Get() time.Time {
	if t := m.at.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// isSet reports whether a time is set.
func (m *Moment) IsSet() bool { return m.at.Load() != nil }

func (m *Moment) Set(t time.Time) { m.at.Store(&t) }

// setFirst sets a time where none is set.
func (m *Moment) SetFirst(t time.Time) { m.at.CompareAndSwap(nil, &t) }

func (m *Moment) Clear() { m.at.Store(nil) }

// awake adds up time in which something was tried again and again. A stretch in
// which the process did not run (stopped, or its machine suspended) counts as no
// longer than it was to be. The zero value is ready.
type AwakeTime struct {
	Last  time.Time
	Sum   time.Duration
	Steps int
}

// step counts the time since the last step, expected at the most.
func (a *AwakeTime) Step(now time.Time, expected time.Duration) {
	if !a.Last.IsZero() {
		a.Sum += max(0, min(now.Sub(a.Last), expected))
	}
	a.Last = now
	a.Steps++
}
