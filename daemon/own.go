package daemon

import (
	"github.com/prometheus/client_golang/prometheus"

	"raytap/shipper"
	"raytap/shipper/sink"
)

// OwnMetrics gives the registry of a daemon that does nothing: what it describes
// is all that a page can show of raytap itself, whichever sink it has. For the
// reference of metrics, which is made from it.
func OwnMetrics() *prometheus.Registry {
	m := newMetrics()
	m.watch(&records{file: &sink.File{}, stats: &sink.Stats{}}, &shipper.Output{})
	return m.registry
}
