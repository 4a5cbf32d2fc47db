package shipper

import (
	"context"
	"errors"
	"fmt"
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
	// sessionAnswers is how many answers in a row must name the same new session.
	sessionAnswers = 3
	// sessionPause is the longest pause between two of them.
	sessionPause = time.Second
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

var (
	// errNoSession: Ray before 2.40 reports its session about 2 s after its
	// version, with the first row of its node list (2.9.3 and 2.30.0).
	errNoSession   = errors.New("the head does not report its session yet (its node list is empty): nothing is shipped until it does")
	errTwoSessions = errors.New("answers of one address name different sessions: does a proxy distribute requests over several heads?")
)

// currentSession returns the session that the cluster reports. One that differs from
// known is returned only after several answers in a row have named it. known
// may be "": then one answer is enough.
func (c *tailCluster) currentSession(ctx context.Context, known string) (string, error) {
	first, err := c.askSession(ctx)
	if err != nil || first == known || known == "" {
		return first, err
	}
	for range sessionAnswers - 1 {
		select {
		case <-time.After(min(c.opts.Interval, sessionPause)):
		case <-ctx.Done():
			return "", ctx.Err()
		}
		again, err := c.askSession(ctx)
		if err != nil {
			return "", err
		}
		if again != first {
			return "", fmt.Errorf("%w (%s, %s)", errTwoSessions, first, again)
		}
	}
	return first, nil
}

func (c *tailCluster) askSession(ctx context.Context) (string, error) {
	v, err := c.api.Version(ctx)
	if err == nil && v.Session == "" {
		err = errNoSession
	}
	return v.Session, err
}
