package daemon

import (
	"strings"
	"sync/atomic"
	"time"

	shippermetrics "raytap/shipper/metrics"

	"raytap/shipper/writer"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/sirupsen/logrus"

	"raytap/collector"
	"raytap/discovery"
)

// metrics are those of raytap itself.
type metrics struct {
	registry *prometheus.Registry
	requests collector.Requests
	shipper  *shippermetrics.Metrics

	clusters prometheus.Gauge
	rejected prometheus.Gauge
	files    *fileMetrics
	shards   *shardState

	rayClusters rayClusterMetrics
	reloadOK    prometheus.Gauge
	reloadTime  prometheus.Gauge
	config      *prometheus.GaugeVec
}

func newMetrics(log logrus.FieldLogger) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "raytap", Name: name, Help: help})
	}
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		requests:   collector.NewRequests(),
		shipper:    shippermetrics.New(),
		clusters:   gauge("clusters", "Watched clusters: those of the configuration, of cluster_files and of Kubernetes."),
		rejected:   gauge("clusters_rejected", "Clusters in cluster_files and Kubernetes that are not watched, because their name is in use, max_clusters is reached, or a certificate cannot be read. The log shows which."),
		files:      newFileMetrics(),
		shards:     newShardState(log),
		reloadOK:   gauge("config_last_reload_successful", "1 if the last attempt to load the configuration succeeded, 0 if it failed and the previous one is still in use."),
		reloadTime: gauge("config_last_reload_success_timestamp_seconds", "Unix time when the current configuration was loaded."),
		config: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "raytap", Name: "config_info",
			Help: "SHA-256 of the current configuration file, or of the address if there is no file; always 1."}, []string{"hash"}),
	}
	m.registry.MustRegister(
		newGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("raytap"),
		m.requests, m.shipper, m.clusters, m.rejected, m.files, m.shards, &m.rayClusters, m.reloadOK, m.reloadTime, m.config,
	)
	return m
}

// addSink adds the metrics of the sink.
func (m *metrics) addSink(s *storage, out *writer.Writer) {
	m.registry.MustRegister(newSinkMetrics(s, out))
}

// loaded records that the configuration with this hash is in use.
func (m *metrics) loaded(hash string) {
	m.config.Reset()
	m.config.WithLabelValues(hash).Set(1)
	m.reloadOK.Set(1)
	m.reloadTime.Set(float64(time.Now().UnixMilli()) / 1e3)
}

// fileMetrics are the metrics of cluster_files. It is a prometheus.Collector.
type fileMetrics struct {
	files           atomic.Pointer[discovery.Files]
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
	files := m.files.Load()
	if files == nil {
		return
	}
	seen := map[string]bool{}
	for _, f := range files.Status() {
		name := strings.ToValidUTF8(f.Path, "\uFFFD")
		if seen[name] { // two modules use it
			continue
		}
		seen[name] = true
		valid := 0.
		if f.Err == nil {
			valid = 1
		}
		ch <- prometheus.MustNewConstMetric(m.valid, prometheus.GaugeValue, valid, name)
		ch <- prometheus.MustNewConstMetric(m.clusters, prometheus.GaugeValue, float64(f.Clusters), name)
	}
}
