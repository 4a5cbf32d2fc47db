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
	// base is how long a way may take where Ray answers at once.
	base = 2 * time.Minute
	// loadFactor is raytap's: an answer that took d is used for 50 d.
	loadFactor = 50
	// most bounds patience, so that a test fails with its own words, before the time
	// limit of all tests.
	most = 6 * time.Minute
)

// patience is how long to wait for what raytap learns from one of Ray's lists. On
// a busy machine a list can take seconds (about 4 s of the job list were seen when
// five raytaps started at once on half a core), and raytap then asks for it
// again only minutes later: no start and no end of a job is known before. The sum of
// what the requests of an endpoint took is no less than the slowest of them.
func patience(p page, endpoints ...string) time.Duration {
	slowest := 0.0
	for _, endpoint := range endpoints {
		sum := 0.0
		for _, m := range p["raytap_api_request_duration_seconds"].GetMetric() {
			if label(m, "endpoint") == endpoint {
				sum += m.GetHistogram().GetSampleSum()
			}
		}
		slowest = max(slowest, sum)
	}
	return min(base+time.Duration(math.Ceil(loadFactor*slowest))*time.Second, most)
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// patience of a way by its page as it is now; the whole where it cannot be had.
func (w *way) patience(endpoints ...string) time.Duration {
	p, err := getPage(w.url + "/metrics")
	if err != nil {
		return most
	}
	return patience(p, endpoints...)
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
		{[]string{"/api/jobs/"}, base + 100*time.Second},
		{[]string{"/api/jobs/", "/nodes"}, most},
		{[]string{"/other"}, base},
	} {
		if got := patience(page(p), tt.endpoints...); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.endpoints, got, tt.want)
		}
	}
}
