package kuberay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	contactDesc = prometheus.NewDesc("raytap_kubernetes_last_contact_timestamp_seconds",
		"Unix time when the API server of Kubernetes last answered about a resource; while nothing changes it does so about once a minute. Until it has answered, the time when raytap began to ask. Namespace * is all namespaces.",
		[]string{"resource", "namespace"}, nil)
	clustersDesc = prometheus.NewDesc("raytap_kubernetes_clusters",
		"RayClusters that a rule of kubernetes selects, by state. watched: the head is or was ready. waiting: there is no ready head yet. suspended: by its user or by Kueue. draining: it is being deleted, and the rest of its logs is read. refused: it cannot be watched. other_shard: another raytap watches it.",
		[]string{"state"}, nil)
)

// Describe implements prometheus.Collector.
func (*Source) Describe(ch chan<- *prometheus.Desc) {
	ch <- contactDesc
	ch <- clustersDesc
}

// Collect implements prometheus.Collector. A nil Source has no series.
func (s *Source) Collect(ch chan<- prometheus.Metric) {
	if s == nil {
		return
	}
	for _, w := range s.watches {
		contact, _, _ := w.status()
		if contact.IsZero() {
			contact = s.created
		}
		ch <- prometheus.MustNewConstMetric(contactDesc, prometheus.GaugeValue, float64(contact.UnixNano())/float64(time.Second), w.resource.name, w.namespace)
	}
	for kind, n := range s.counts() {
		ch <- prometheus.MustNewConstMetric(clustersDesc, prometheus.GaugeValue, float64(n), kind)
	}
}

// counts returns the number of clusters of each kind.
func (s *Source) counts() map[string]int {
	out := map[string]int{kindWatched: 0, kindWaiting: 0, kindSuspended: 0, kindDraining: 0, kindRefused: 0, kindOtherShard: 0}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		out[e.kind]++
	}
	return out
}
