package collector

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	requestsName = namespace + "_api_request_duration_seconds"
	requestsHelp = "Duration of raytap's requests to the cluster's API, by endpoint and HTTP status (or an error's code if there was no response). For streams, until the response headers."
)

var requestsLabels = []string{clusterLabel, "endpoint", "code"}

// Requests is a histogram of the requests that raytap sends, for all clusters. It is a
// prometheus.Collector, and safe for concurrent use.
type Requests struct{ *prometheus.HistogramVec }

// NewRequests returns an empty histogram.
func NewRequests() Requests {
	return Requests{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: requestsName, Help: requestsHelp,
		Buckets: []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, requestsLabels)}
}

// Observer returns a function that records the requests to a cluster. endpoint must be one
// of a fixed set, never a path with an id in it.
func (r Requests) Observer(cluster string) func(endpoint string, code int, took time.Duration) {
	cluster = label(cluster)
	return func(endpoint string, code int, took time.Duration) {
		r.WithLabelValues(cluster, label(endpoint), strconv.Itoa(code)).Observe(took.Seconds())
	}
}

// Forget removes the series of a cluster.
func (r Requests) Forget(cluster string) {
	r.DeletePartialMatch(prometheus.Labels{clusterLabel: label(cluster)})
}

func requestFamilies() []Family {
	return []Family{{Name: requestsName, Help: requestsHelp, Type: "histogram", Labels: slices.Clone(requestsLabels)}}
}
