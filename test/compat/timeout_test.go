//go:build e2e && linux

package compat

import (
	"bytes"
	"math"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// baseTimeout is the timeout if Ray responds immediately.
	baseTimeout = 2 * time.Minute
	// loadFactor is the one of raytap: it caches a list that took d for 50 d.
	loadFactor = 50
	// maxTimeout limits listTimeout, so that a test fails with its own message before the
	// timeout of go test.
	maxTimeout = 6 * time.Minute
)

// listTimeout returns how long to wait until raytap has a current list. On a busy machine
// a list can take seconds (about 4 s were measured for the job list when five raytaps
// started at once on half a core), and raytap then requests it again only minutes later:
// until then it knows of no start and no end of a job. The sum of the durations of all
// requests to an endpoint is an upper limit of the slowest one.
func listTimeout(m metrics, endpoints ...string) time.Duration {
	slowest := 0.0
	for _, endpoint := range endpoints {
		sum := 0.0
		for _, series := range m["raytap_api_request_duration_seconds"].GetMetric() {
			if label(series, "endpoint") == endpoint {
				sum += series.GetHistogram().GetSampleSum()
			}
		}
		slowest = max(slowest, sum)
	}
	return min(baseTimeout+time.Duration(math.Ceil(loadFactor*slowest))*time.Second, maxTimeout)
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// listTimeout returns the timeout according to the setup's current metrics, maxTimeout if
// they are not available.
func (s *setup) listTimeout(endpoints ...string) time.Duration {
	p, err := getMetrics(s.url + "/metrics")
	if err != nil {
		return maxTimeout
	}
	return listTimeout(p, endpoints...)
}

func TestListTimeout(t *testing.T) {
	text := `# TYPE raytap_api_request_duration_seconds histogram
raytap_api_request_duration_seconds_bucket{code="200",endpoint="/api/jobs/",le="+Inf"} 2
raytap_api_request_duration_seconds_sum{code="200",endpoint="/api/jobs/"} 1.5
raytap_api_request_duration_seconds_count{code="200",endpoint="/api/jobs/"} 2
raytap_api_request_duration_seconds_bucket{code="500",endpoint="/api/jobs/",le="+Inf"} 1
raytap_api_request_duration_seconds_sum{code="500",endpoint="/api/jobs/"} 0.5
raytap_api_request_duration_seconds_count{code="500",endpoint="/api/jobs/"} 1
raytap_api_request_duration_seconds_bucket{code="200",endpoint="/nodes",le="+Inf"} 1
raytap_api_request_duration_seconds_sum{code="200",endpoint="/nodes"} 60
raytap_api_request_duration_seconds_count{code="200",endpoint="/nodes"} 1
`
	parser := expfmt.NewTextParser(model.UTF8Validation)
	p, err := parser.TextToMetricFamilies(bytes.NewReader([]byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		endpoints []string
		want      time.Duration
	}{
		{[]string{"/api/jobs/"}, baseTimeout + 100*time.Second},
		{[]string{"/api/jobs/", "/nodes"}, maxTimeout},
		{[]string{"/other"}, baseTimeout},
	} {
		if got := listTimeout(metrics(p), tt.endpoints...); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.endpoints, got, tt.want)
		}
	}
}
