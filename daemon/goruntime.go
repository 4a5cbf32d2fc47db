package daemon

import (
	"context"
	"regexp"
	"runtime"
	runtimemetrics "runtime/metrics"
	"time"

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

// collectInterval is the longest time between two garbage collections.
const collectInterval = 10 * time.Second

// collectGarbage runs the garbage collector whenever it has not run for collectInterval,
// until ctx ends. The runtime (Go 1.26) does so after two minutes only: until then the memory
// of a peak, such as the start of thousands of tails, stays in use, and so do large stacks
// of goroutines that wait.
func collectGarbage(ctx context.Context) error {
	ticker := time.NewTicker(collectInterval)
	defer ticker.Stop()
	for last := collections(); ; last = collections() {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if collections() == last {
				runtime.GC()
			}
		}
	}
}

// collections returns how often the garbage collector has run.
func collections() uint64 {
	cycles := []runtimemetrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	runtimemetrics.Read(cycles)
	return cycles[0].Value.Uint64()
}
