package daemon

import (
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// goMemory matches the runtime's metrics of memory that are exposed, without the
// histograms by size.
var goMemory = regexp.MustCompile(`^/(memory/classes/.*|gc/heap/(allocs|frees|goal|live|objects)):(bytes|objects)$`)

// newGoCollector collects the metrics of the Go runtime that client_golang does by
// default, but with go_memory_classes_… and go_gc_heap_… instead of
// go_memstats_…: in OpenMetrics, go_memstats_alloc_bytes and
// go_memstats_alloc_bytes_total are one family of two types, for which strict
// parsers refuse the whole exposition.
func newGoCollector() prometheus.Collector {
	return collectors.NewGoCollector(
		collectors.WithGoCollectorMemStatsMetricsDisabled(),
		collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: goMemory}),
	)
}
