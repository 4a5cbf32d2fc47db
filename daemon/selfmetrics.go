package daemon

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"raytap/shipper/writer"

	"raytap/shipper/sink"
)

// SelfMetrics returns the registry of a daemon that does nothing. It describes all
// metrics that raytap can have of itself, with any sink.
func SelfMetrics() *prometheus.Registry {
	m := newMetrics(logrus.StandardLogger())
	m.addSink(&storage{file: &sink.File{}, stats: &sink.Stats{}}, &writer.Writer{})
	return m.registry
}
