package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"raytap/shipper"
)

// sinkMetrics shows what the sink counts. It is a prometheus.Collector.
type sinkMetrics struct {
	records *records
	all     []sinkMetric
	errors  *prometheus.Desc
}

// sinkMetric is one row of the table. Its value is read at each scrape; false:
// there is none now.
type sinkMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*records) (float64, bool)
}

// newSinkMetrics makes the table: what every sink has, and what a file has. out
// alone writes to the sink.
func newSinkMetrics(r *records, out *shipper.Output) *sinkMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("raytap_sink_"+name, help, labels, nil)
	}
	m := &sinkMetrics{records: r, errors: desc("errors_total",
		"Errors of the sink, by kind: full (no space), denied (no permission), closed (the reader is gone), fsync, checkpoint (positions not saved), rotate, locked (another process has the file open), removed and truncated (by another process), other. Most of them are retried.", "kind")}
	add := func(name, help string, kind prometheus.ValueType, value func(*records) (float64, bool)) {
		m.all = append(m.all, sinkMetric{desc(name, help), kind, value})
	}
	counter := func(name, help string, value func(*records) float64) {
		add(name, help, prometheus.CounterValue, func(r *records) (float64, bool) { return value(r), true })
	}
	counter("bytes_total", "Bytes accepted by the sink.", func(r *records) float64 { return float64(r.stats.Bytes.Load()) })
	counter("records_total", "Records accepted by the sink, including events.", func(*records) float64 { return float64(out.Records()) })
	add("stalled_since_timestamp_seconds", "Unix time since when a write has been waiting for space, for permission, or for positions to be saved. Absent while none is waiting.",
		prometheus.GaugeValue, func(r *records) (float64, bool) {
			at := r.stalledSince(out)
			return float64(at.UnixNano()) / 1e9, !at.IsZero()
		})
	if r.file == nil {
		return m
	}
	counter("fsyncs_total", "Fsyncs of the sink file.", func(r *records) float64 { return float64(r.stats.Fsyncs.Load()) })
	counter("fsync_seconds_total", "Total duration of the fsyncs of the sink file.", func(r *records) float64 {
		return time.Duration(r.stats.FsyncNanos.Load()).Seconds()
	})
	counter("rotations_total", "Rotations of the sink file.", func(r *records) float64 { return float64(r.stats.Rotations.Load()) })
	counter("removed_files_total", "Rotated files that were removed because of max_files.", func(r *records) float64 { return float64(r.stats.Removed.Load()) })
	counter("reopens_total", "Times that the sink file was reopened after a signal or a reload.", func(r *records) float64 { return float64(r.stats.Reopens.Load()) })
	counter("torn_bytes_total", "Bytes of a partial last record that were removed from the sink file at startup.", func(r *records) float64 { return float64(r.recovered.TornBytes) })
	counter("recovered_records_total", "Records found in the sink file after the saved positions at startup.", func(r *records) float64 { return float64(r.recovered.Records) })
	add("file_number", "Number that the sink file will get when it is rotated.", prometheus.GaugeValue,
		func(r *records) (float64, bool) { return float64(r.file.Written().Number), true })
	add("file_size_bytes", "Size of the sink file up to its last complete record.", prometheus.GaugeValue,
		func(r *records) (float64, bool) { return float64(r.file.Written().Offset), true })
	return m
}

// Describe implements prometheus.Collector.
func (m *sinkMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, x := range m.all {
		ch <- x.desc
	}
	ch <- m.errors
}

// Collect implements prometheus.Collector.
func (m *sinkMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, x := range m.all {
		if v, ok := x.value(m.records); ok {
			ch <- prometheus.MustNewConstMetric(x.desc, x.kind, v)
		}
	}
	for kind, n := range m.records.stats.Errors {
		ch <- prometheus.MustNewConstMetric(m.errors, prometheus.CounterValue, float64(n), kind)
	}
}
