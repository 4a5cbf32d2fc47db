package daemon

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestSelfMetrics(t *testing.T) {
	described := make(chan *prometheus.Desc, 1000)
	registry := SelfMetrics()
	registry.Describe(described)
	close(described)
	var all strings.Builder
	for d := range described {
		all.WriteString(d.String() + "\n")
	}
	// One metric of each part, and one of files only.
	for _, name := range []string{"raytap_clusters", "raytap_api_request_duration_seconds", "raytap_shipper_gaps_total", "raytap_sink_errors_total", "raytap_sink_file_size_bytes", "go_goroutines"} {
		if !strings.Contains(all.String(), `fqName: "`+name+`"`) {
			t.Errorf("%s is not described", name)
		}
	}
	if _, err := registry.Gather(); err != nil {
		t.Errorf("gather: %v", err)
	}
}
