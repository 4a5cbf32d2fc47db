package collector

import "time"

// clockSource is implemented by sources that know by how much the cluster's clock is
// ahead of raytap's.
type clockSource interface{ ClockAhead() time.Duration }

// clusterNow returns the time by the cluster's clock, to compare with times that Ray
// reports. It is raytap's own time if the source does not know the cluster's.
func clusterNow(source any) time.Time {
	now := time.Now()
	if c, ok := source.(clockSource); ok {
		now = now.Add(c.ClockAhead())
	}
	return now
}
