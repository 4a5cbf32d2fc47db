package collector

import "sync"

// Health is how a collector fared when it was last asked for.
type Health struct {
	Name string
	Err  error // why it failed; nil: it did not
}

// healthBook remembers it for all collectors of a cluster. The zero value is
// ready, and it is safe for concurrent use.
type healthBook struct {
	mu   sync.Mutex
	last map[string]error
}

// note takes the results of one scrape.
func (b *healthBook) note(parts []part, results []result, up bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.last = make(map[string]error, len(parts))
	}
	for i, r := range results {
		err := r.err
		if err == nil && !up {
			err = errSilent
		}
		if !cancelled(err) || err == nil { // a scraper that left says nothing of the cluster
			b.last[parts[i].name] = err
		}
	}
}

// Health tells how each collector fared when it was last asked for, in the order
// of Names; those that never were are left out.
func (c *Collector) Health() []Health {
	c.health.mu.Lock()
	defer c.health.mu.Unlock()
	var out []Health
	for _, p := range c.parts {
		if err, ok := c.health.last[p.name]; ok {
			out = append(out, Health{p.name, err})
		}
	}
	return out
}
