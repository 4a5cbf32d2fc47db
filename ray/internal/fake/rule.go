package fake

import "math/rand/v2"

// Rule selects the requests that a fault applies to. Its zero value selects all. Callers
// hold a lock.
type Rule struct {
	Endpoint, Job string     // "" = any
	Skip, Times   int        // skips the first matching requests; then applies to so many, 0 = all
	Chance        float64    // probability, drawn from Rand; 0 = always
	Rand          *rand.Rand // required with a Chance

	seen int
}

// Applies reports whether the rule selects the next request, for this endpoint and job.
func (r *Rule) Applies(endpoint, job string) bool {
	if (r.Endpoint != "" && r.Endpoint != endpoint) || (r.Job != "" && r.Job != job) {
		return false
	}
	if r.Chance > 0 && r.Rand.Float64() >= r.Chance {
		return false
	}
	r.seen++
	return r.seen > r.Skip && (r.Times == 0 || r.seen <= r.Skip+r.Times)
}

// Counts are numbers of requests by endpoint.
type Counts map[string]int

// Of returns the number of requests for an endpoint, "" for all.
func (c Counts) Of(endpoint string) (n int) {
	if endpoint != "" {
		return c[endpoint]
	}
	for _, k := range c {
		n += k
	}
	return n
}
