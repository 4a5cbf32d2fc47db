package fake

import "math/rand/v2"

// Rule says which requests a fault hits. Its zero value hits all. Whoever asks it
// holds a lock.
type Rule struct {
	Endpoint, Job string     // "" = any
	Skip, Times   int        // matching requests let through first; then so many are hit, 0 = all
	Chance        float64    // hits with this probability, drawn from Rand; 0 = always
	Rand          *rand.Rand // needed with a Chance only

	seen int
}

// Hits tells whether the next request, which is for this endpoint and job, is hit.
func (r *Rule) Hits(endpoint, job string) bool {
	if (r.Endpoint != "" && r.Endpoint != endpoint) || (r.Job != "" && r.Job != job) {
		return false
	}
	if r.Chance > 0 && r.Rand.Float64() >= r.Chance {
		return false
	}
	r.seen++
	return r.seen > r.Skip && (r.Times == 0 || r.seen <= r.Skip+r.Times)
}

// Counts are how many requests came for each endpoint.
type Counts map[string]int

// Of tells how many came for one; for "" how many came at all.
func (c Counts) Of(endpoint string) (n int) {
	if endpoint != "" {
		return c[endpoint]
	}
	for _, k := range c {
		n += k
	}
	return n
}
