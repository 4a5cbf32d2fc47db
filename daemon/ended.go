package daemon

import (
	"slices"
	"sync"
	"time"

	"raytap/collector"
)

// ended keeps what stays on /metrics of clusters that are gone: the ends of their jobs, which
// may not have been scraped yet. The zero value keeps nothing. It is safe for concurrent use.
type ended struct {
	mu   sync.Mutex
	keep time.Duration
	all  []endedCluster
}

// endedCluster is one cluster that is gone.
type endedCluster struct {
	at   time.Time
	ends collector.Exposition
}

// setKeep sets how long it is kept.
func (e *ended) setKeep(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keep = d
}

// add adds a cluster that is gone.
func (e *ended) add(c *collector.Collector, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expire(now)
	if e.keep > 0 {
		e.all = append(e.all, endedCluster{now, c.Ends()})
	}
}

// expositions returns what is kept, of the cluster that ended last first.
func (e *ended) expositions(now time.Time) []collector.Exposition {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.expire(now)
	out := make([]collector.Exposition, 0, len(e.all))
	for _, c := range slices.Backward(e.all) {
		out = append(out, c.ends)
	}
	return out
}

// expire forgets what was kept long enough. The caller holds e.mu.
func (e *ended) expire(now time.Time) {
	e.all = slices.DeleteFunc(e.all, func(c endedCluster) bool { return now.Sub(c.at) >= e.keep })
}

// withEnds adds to the expositions of clusters the ends of those that leave and of those that
// are gone. No series is there twice: clusters can follow each other under one name.
func withEnds(current []collector.Exposition, leaving []*clusterRuntime, gone []collector.Exposition) []collector.Exposition {
	for _, c := range leaving {
		current = append(current, c.collector.Ends().Without(current...))
	}
	for _, e := range gone {
		current = append(current, e.Without(current...))
	}
	return current
}
