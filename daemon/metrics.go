package daemon

import (
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
		clusters:   gauge("clusters", "Clusters that are configured."),
		reloadOK:   gauge("config_last_reload_successful", "1 if the last attempt to load the configuration succeeded, 0 if an older one is still in use."),
		reloadTime: gauge("config_last_reload_success_timestamp_seconds", "Unix time at which the configuration in use was loaded."),
		config: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "raytap", Name: "config_info",
			Help: "1, with the SHA-256 of the configuration file in use (of the address, where there is no file)."}, []string{"hash"}),
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("raytap"),
		m.requests, m.shipper, m.clusters, m.reloadOK, m.reloadTime, m.config,
	)
	return m
}

// watch shows the sink that lines go to, and what an output writes there.
func (m *metrics) watch(r *records, out *shipper.Output) {
	m.registry.MustRegister(newSinkMetrics(r, out))
}

// loaded notes that a configuration is in use from now on.
func (m *metrics) loaded(hash string, clusters int) {
	m.config.Reset()
	m.config.WithLabelValues(hash).Set(1)
	m.clusters.Set(float64(clusters))
	m.reloadOK.Set(1)
	m.reloadTime.Set(float64(time.Now().UnixMilli()) / 1e3)
}
