package shipper

import (
	"sync"
	"time"
)

// This file: what is believed only when it lasts. One answer may come from a
// head that has just started and has not read its own state yet, or from
// another backend of a proxy.

const (
	// absentAnswers is how many answers in a row must lack a job, over at least
	// Options.AbsentFor, before it is believed to be gone. Counting answers as
	// well as time makes time that raytap slept through count for nothing.
	absentAnswers = 3
	// clockTolerance bounds how far the cluster's clock may differ from ours
	// where a time that Ray reports is compared with one that we measured.
	clockTolerance = 10 * time.Minute
)

// absence is how long something has been missing from answers. The zero value
// is not missing.
type absence struct {
	since   time.Time // of the first answer that lacked it
	answers int       // in a row that lacked it
}

// missed takes an answer, received at now, that lacks it.
func (a *absence) missed(now time.Time) {
	if a.answers == 0 {
		a.since = now
	}
	a.answers++
}

// lasts reports whether the absence is long enough to be believed.
func (a absence) lasts(now time.Time, atLeast time.Duration) bool {
	return a.answers >= absentAnswers && now.Sub(a.since) >= atLeast
}

// missing is an absence that several goroutines note.
type missing struct {
	mu sync.Mutex
	absence
}

// lasts takes an answer that lacks it, and reports whether it is believed now.
func (m *missing) lasts(atLeast time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.missed(now)
	return m.absence.lasts(now, atLeast)
}

// over takes an answer that has it.
func (m *missing) over() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.absence = absence{}
}
