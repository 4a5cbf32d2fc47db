package metrics

import "github.com/prometheus/client_golang/prometheus"

// Cluster provides the metrics of one cluster. Each call looks up its metric, because
// the metrics of a cluster that leaves are removed. It is safe for concurrent use.
type Cluster struct {
	metrics *Metrics
	name    string
}

// ForCluster returns the metrics of a cluster.
func (m *Metrics) ForCluster(name string) *Cluster { return &Cluster{m, name} }

// Lines counts lines that became records.
func (c *Cluster) Lines() prometheus.Counter { return c.metrics.lines.WithLabelValues(c.name) }

// Gaps counts gaps: bytes of a log that were lost.
func (c *Cluster) Gaps() prometheus.Counter { return c.metrics.gaps.WithLabelValues(c.name) }

// RotationsFollowed counts the times that a tail went on with the next file of a rotated log.
func (c *Cluster) RotationsFollowed() prometheus.Counter {
	return c.metrics.rotationsFollowed.WithLabelValues(c.name)
}

// GenerationsLost counts the times that no file of a log was the one that was read last.
func (c *Cluster) GenerationsLost() prometheus.Counter {
	return c.metrics.generationsLost.WithLabelValues(c.name)
}

// Oversized counts lines that were truncated or dropped.
func (c *Cluster) Oversized() prometheus.Counter {
	return c.metrics.oversized.WithLabelValues(c.name)
}

// Skipped counts lines that were dropped because of a limit or as progress output.
func (c *Cluster) Skipped() prometheus.Counter {
	return c.metrics.skipped.WithLabelValues(c.name)
}

// PartialDropped counts partial lines that were dropped to free memory.
func (c *Cluster) PartialDropped() prometheus.Counter {
	return c.metrics.partialDropped.WithLabelValues(c.name)
}

// Tails returns the number of tails that use a transport and are in a state.
func (c *Cluster) Tails(transport, state string) prometheus.Gauge {
	return c.metrics.tails.WithLabelValues(c.name, transport, state)
}

// ReadBytes counts bytes that were read for the first time.
func (c *Cluster) ReadBytes(transport string) prometheus.Counter {
	return c.metrics.readBytes.WithLabelValues(c.name, transport)
}

// ReplayedBytes counts bytes that were read again.
func (c *Cluster) ReplayedBytes(transport string) prometheus.Counter {
	return c.metrics.replayedBytes.WithLabelValues(c.name, transport)
}

// Fallbacks counts the times that a transport failed and a tail fell back to another one.
func (c *Cluster) Fallbacks(transport string) prometheus.Counter {
	return c.metrics.fallbacks.WithLabelValues(c.name, transport)
}

// Events counts event records.
func (c *Cluster) Events(event string) prometheus.Counter {
	return c.metrics.events.WithLabelValues(c.name, event)
}

// ReadEnds counts the ends of reads.
func (c *Cluster) ReadEnds(reason string) prometheus.Counter {
	return c.metrics.readEnds.WithLabelValues(c.name, reason)
}

// EndChecks counts the checks of logs after the end of their runs.
func (c *Cluster) EndChecks(result string) prometheus.Counter {
	return c.metrics.endChecks.WithLabelValues(c.name, result)
}

// Limits counts the stream limits that were reached.
func (c *Cluster) Limits(limit string) prometheus.Counter {
	return c.metrics.limits.WithLabelValues(c.name, limit)
}

// Looks counts looks at logs on nodes.
func (c *Cluster) Looks(source string) prometheus.Counter {
	return c.metrics.looks.WithLabelValues(c.name, source)
}

// FilesSkipped counts logs on nodes that are not read.
func (c *Cluster) FilesSkipped(reason string) prometheus.Counter {
	return c.metrics.filesSkipped.WithLabelValues(c.name, reason)
}

// BudgetMisses counts losses because the budget of looks was used up.
func (c *Cluster) BudgetMisses() prometheus.Counter {
	return c.metrics.budgetMisses.WithLabelValues(c.name)
}

// DiscoveredNow sets the time of the last job list to now.
func (c *Cluster) DiscoveredNow() {
	c.metrics.discovered.WithLabelValues(c.name).SetToCurrentTime()
}
