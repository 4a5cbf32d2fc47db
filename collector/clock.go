package collector

import "time"

// clockSource is a source that knows how far the cluster's clock is ahead of ours.
type clockSource interface{ ClockAhead() time.Duration }

// clusterNow returns the time by the cluster's clock, as far as a source knows it:
// what Ray reports is compared with that.
func clusterNow(source any) time.Time {
	now := time.Now()
	if c, ok := source.(clockSource); ok {
		now = now.Add(c.ClockAhead())
	}
	return now
}
