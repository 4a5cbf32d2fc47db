package clock

import (
	"sync"
	"time"
)

const (
	// absentAnswers is how many responses in a row must lack something before it counts as
	// gone. A single one can come from a head that has just started and has not loaded its
	// state yet, or from another backend of a proxy. Because responses count as well as
	// time, time during which raytap did not run has no effect.
	absentAnswers = 3
	// Tolerance is how far the cluster's clock may differ from the local one, where a time
	// that Ray reports is compared with a measured one.
	Tolerance = 10 * time.Minute
)

// Absence measures for how long something has been missing from responses. The zero value
// means that it is not missing.
type Absence struct {
	Since   time.Time // first response that lacked it
	Answers int       // number of responses in a row that lacked it
}

// Missed records a response, received at now, that lacks it.
func (a *Absence) Missed(now time.Time) {
	if a.Answers == 0 {
		a.Since = now
	}
	a.Answers++
}

// Lasts reports whether it was missing from enough responses, and for atLeast.
func (a Absence) Lasts(now time.Time, atLeast time.Duration) bool {
	return a.Answers >= absentAnswers && now.Sub(a.Since) >= atLeast
}

// SharedAbsence is an Absence for several goroutines. The zero value is ready.
type SharedAbsence struct {
	mu sync.Mutex
	Absence
}

// Lasts records a response that lacks it, and reports whether it was missing from enough
// responses, and for atLeast.
func (m *SharedAbsence) Lasts(atLeast time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.Missed(now)
	return m.Absence.Lasts(now, atLeast)
}

// Over records a response that has it.
func (m *SharedAbsence) Over() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Absence = Absence{}
}
