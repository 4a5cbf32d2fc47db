package daemon

import (
	"regexp"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// goMemory are the runtime's metrics of memory that are shown, without the
// histograms by size.
var goMemory = regexp.MustCompile(`^/(memory/classes/.*|gc/heap/(allocs|frees|goal|live|objects)):(bytes|objects)$`)

// newGoCollector shows the Go runtime: what client_golang shows by default, but
// the runtime's own metrics of memory (go_memory_classes_…, go_gc_heap_…) in
// place of the go_memstats_… of old. Of these go_memstats_alloc_bytes and
// go_memstats_alloc_bytes_total are one family of two types in OpenMetrics,
// where a counter's family has no _total: strict parsers refuse the whole page.
func newGoCollector() prometheus.Collector {
	return collectors.NewGoCollector(
		collectors.WithGoCollectorMemStatsMetricsDisabled(),
		collectors.WithGoCollectorRuntimeMetrics(collectors.GoRuntimeMetricsRule{Matcher: goMemory}),
	)
}
