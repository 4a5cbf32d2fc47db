package collector

import "sync"

// Health is the result of a collector's last run.
type Health struct {
	Name string
	Err  error // nil if it succeeded
}

// healthTracker remembers the last result of each collector. The zero value is ready
// for use, and it is safe for concurrent use.
type healthTracker struct {
	mu   sync.Mutex
	last map[string]error
}

// note records the results of one scrape.
func (t *healthTracker) note(subs []subCollector, results []result, up bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last = make(map[string]error, len(subs))
	}
	for i, r := range results {
		err := r.err
		if err == nil && !up {
			err = errDown
		}
		if !cancelled(err) || err == nil {
			t.last[subs[i].name] = err
		}
	}
}

// Health returns the last result of each collector, in the order of Names. Collectors
// that have not run yet are omitted.
func (c *Collector) Health() []Health {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	var out []Health
	for _, sub := range c.subs {
		if err, ok := c.health.last[sub.name]; ok {
			out = append(out, Health{sub.name, err})
		}
	}
	return out
}
