package cache

import (
	"context"
	"net/http"
	"time"

	"raytap/ray"
)

const (
	// defaultRequest stands for a zero Options.Request.
	defaultRequest = 10 * time.Second
	// longestList is the most that the job list is given. Ray 2.60.0 takes some
	// 0.11 s for 1,000 jobs, so this is a million.
	longestList = 2 * time.Minute
)

// patience decides how much time the next try of one list gets. A try that timed
// out doubles it, up to most; one that succeeded sets it to twice what it took.
// After a failure with most the next tries get base again, and those with most come
// in growing pauses, up to 50 times most: so what a server costs that does not
// answer at all stays what it costs without patience, and 2 % of the time more. Not
// safe for concurrent use: of a Value's fetches one runs at a time.
type patience struct {
	base, most time.Duration
	allowed    time.Duration // for the next try
	pause      time.Duration // the last one after a failure with most; 0: none yet
	until      time.Time     // tries before get base
}

func newPatience(base time.Duration) *patience {
	return &patience{base: base, most: max(base, longestList), allowed: base}
}

// next gives the time that a try gets which begins now.
func (p *patience) next(now time.Time) time.Duration {
	if now.Before(p.until) {
		return p.base
	}
	return p.allowed
}

// succeeded takes what a try took that gave the list.
func (p *patience) succeeded(took time.Duration) {
	p.allowed = min(max(2*took, p.base), p.most)
	p.pause, p.until = 0, time.Time{}
}

// timedOut takes a try that began with d and has used it up.
func (p *patience) timedOut(d time.Duration, now time.Time) {
	switch {
	case d < p.allowed: // one in a pause
	case p.allowed < p.most:
		p.allowed = min(2*p.allowed, p.most)
	default:
		p.pause = min(max(2*p.pause, p.most), loadFactor*p.most)
		p.until = now.Add(p.pause)
	}
}

// patiently asks source for its jobs, each time with as much time as p gives.
func patiently(source ray.PatientSource, p *patience) func(context.Context) ([]ray.Job, error) {
	return func(ctx context.Context) ([]ray.Job, error) {
		began := time.Now()
		d := p.next(began)
		jobs, err := source.JobsWithin(ctx, d)
		switch took := time.Since(began); {
		case err == nil:
			p.succeeded(took)
		case ray.Code(err) == http.StatusRequestTimeout && took >= d:
			p.timedOut(d, time.Now())
		}
		return jobs, err
	}
}
