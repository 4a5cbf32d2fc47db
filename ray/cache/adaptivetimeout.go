package cache

import (
	"context"
	"net/http"
	"time"

	"raytap/ray"
)

const (
	// defaultRequestTimeout replaces a zero Options.RequestTimeout.
	defaultRequestTimeout = 10 * time.Second
	// maxListTimeout is the longest timeout of the job list. Ray 2.60.0 takes about
	// 0.11 s for 1,000 jobs, so this suffices for a million.
	maxListTimeout = 2 * time.Minute
)

// adaptiveTimeout decides the timeout of the next request for one list. A timeout
// doubles it, up to limit; a success sets it to twice what the request took. After a
// timeout with limit the next requests get base again, and those with limit come in
// growing pauses, up to 50 times limit: a server that does not answer at all costs
// what it does with a fixed timeout, and 2 % of the time more. Not safe for
// concurrent use: a Value runs one fetch at a time.
type adaptiveTimeout struct {
	base, limit time.Duration
	timeout     time.Duration // of the next request
	pause       time.Duration // the last one after a timeout with limit; 0: none yet
	pausedUntil time.Time     // requests before get base
}

func newAdaptiveTimeout(base time.Duration) *adaptiveTimeout {
	return &adaptiveTimeout{base: base, limit: max(base, maxListTimeout), timeout: base}
}

// next returns the timeout of a request that begins now.
func (t *adaptiveTimeout) next(now time.Time) time.Duration {
	if now.Before(t.pausedUntil) {
		return t.base
	}
	return t.timeout
}

// succeeded records how long a successful request took.
func (t *adaptiveTimeout) succeeded(took time.Duration) {
	t.timeout = min(max(2*took, t.base), t.limit)
	t.pause, t.pausedUntil = 0, time.Time{}
}

// timedOut records a request that timed out after d.
func (t *adaptiveTimeout) timedOut(d time.Duration, now time.Time) {
	switch {
	case d < t.timeout: // during a pause
	case t.timeout < t.limit:
		t.timeout = min(2*t.timeout, t.limit)
	default:
		t.pause = min(max(2*t.pause, t.limit), loadFactor*t.limit)
		t.pausedUntil = now.Add(t.pause)
	}
}

// listJobs returns a function that lists the jobs of source with the timeouts of t.
func listJobs(source ray.TimeoutSource, t *adaptiveTimeout) func(context.Context) ([]ray.Job, error) {
	return func(ctx context.Context) ([]ray.Job, error) {
		began := time.Now()
		d := t.next(began)
		jobs, err := source.JobsWithTimeout(ctx, d)
		switch took := time.Since(began); {
		case err == nil:
			t.succeeded(took)
		case ray.Code(err) == http.StatusRequestTimeout && took >= d:
			t.timedOut(d, time.Now())
		}
		return jobs, err
	}
}
