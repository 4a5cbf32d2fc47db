package clock

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
	Tolerance = 10 * time.Minute
)

// absence is how long something has been missing from answers. The zero value
// is not missing.
type Absence struct {
	Since   time.Time // of the first answer that lacked it
	Answers int       // in a row that lacked it
}

// missed takes an answer, received at now, that lacks it.
func (a *Absence) Missed(now time.Time) {
	if a.Answers == 0 {
		a.Since = now
	}
	a.Answers++
}

// lasts reports whether the absence is long enough to be believed.
func (a Absence) Lasts(now time.Time, atLeast time.Duration) bool {
	return a.Answers >= absentAnswers && now.Sub(a.Since) >= atLeast
}

// missing is an absence that several goroutines note.
type SharedAbsence struct {
	mu sync.Mutex
	Absence
}

// lasts takes an answer that lacks it, and reports whether it is believed now.
func (m *SharedAbsence) Lasts(atLeast time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.Missed(now)
	return m.Absence.Lasts(now, atLeast)
}

// over takes an answer that has it.
func (m *SharedAbsence) Over() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Absence = Absence{}
}
