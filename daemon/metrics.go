package daemon

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"

	"raytap/collector"
	"raytap/shipper"
)

// metrics are those of the process itself, on the registry that the page
// serves beside the clusters'.
type metrics struct {
	registry *prometheus.Registry
	requests collector.Requests
	shipper  *shipper.Metrics

	clusters   prometheus.Gauge
	refused    prometheus.Gauge
	files      *fileMetrics
	reloadOK   prometheus.Gauge
	reloadTime prometheus.Gauge
	config     *prometheus.GaugeVec
}

func newMetrics() *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "raytap", Name: name, Help: help})
	}
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		requests:   collector.NewRequests(),
		shipper:    shipper.NewMetrics(),
		clusters:   gauge("clusters", "Watched clusters: those of the configuration and of cluster_files."),
		refused:    gauge("cluster_files_refused", "Clusters in cluster_files that are not watched, because their name is in use, max_clusters is reached, or a certificate cannot be read. The log shows which."),
		files:      newFileMetrics(),
		reloadOK:   gauge("config_last_reload_successful", "1 if the last attempt to load the configuration succeeded, 0 if it failed and the previous one is still in use."),
		reloadTime: gauge("config_last_reload_success_timestamp_seconds", "Unix time when the current configuration was loaded."),
		config: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "raytap", Name: "config_info",
			Help: "SHA-256 of the current configuration file, or of the address if there is no file; always 1."}, []string{"hash"}),
	}
	m.registry.MustRegister(
		newGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("raytap"),
		m.requests, m.shipper, m.clusters, m.refused, m.files, m.reloadOK, m.reloadTime, m.config,
	)
	return m
}

// watch shows the sink that lines go to, and what an output writes there.
func (m *metrics) watch(r *records, out *shipper.Output) {
	m.registry.MustRegister(newSinkMetrics(r, out))
}

// loaded notes that a configuration is in use from now on.
func (m *metrics) loaded(hash string) {
	m.config.Reset()
	m.config.WithLabelValues(hash).Set(1)
	m.reloadOK.Set(1)
	m.reloadTime.Set(float64(time.Now().UnixMilli()) / 1e3)
}

// fileMetrics shows the files of clusters. It is a prometheus.Collector.
type fileMetrics struct {
	of              atomic.Pointer[discovery] // nil: none yet
	valid, clusters *prometheus.Desc
}

func newFileMetrics() *fileMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("raytap_cluster_file_"+name, help, []string{"file"}, nil)
	}
	return &fileMetrics{
		valid:    desc("valid", "1 if the file's content is in use. 0 if it is invalid or cannot be read, and its last valid content is in use."),
		clusters: desc("clusters", "Clusters in the file's content that is in use."),
	}
}

// Describe implements prometheus.Collector.
func (m *fileMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.valid
	ch <- m.clusters
}

// Collect implements prometheus.Collector.
func (m *fileMetrics) Collect(ch chan<- prometheus.Metric) {
	files := m.of.Load()
	if files == nil {
		return
	}
	told := map[string]bool{}
	for _, t := range files.status() {
		name := strings.ToValidUTF8(t.path, "\uFFFD")
		if told[name] { // two modules are for it
			continue
		}
		told[name] = true
		valid := 0.
		if t.err == nil {
			valid = 1
		}
		ch <- prometheus.MustNewConstMetric(m.valid, prometheus.GaugeValue, valid, name)
		ch <- prometheus.MustNewConstMetric(m.clusters, prometheus.GaugeValue, float64(len(t.clusters)), name)
	}
}
