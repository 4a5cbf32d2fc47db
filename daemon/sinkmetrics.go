package daemon

import (
	"time"

	"raytap/shipper/writer"

	"github.com/prometheus/client_golang/prometheus"
)

// sinkMetrics are the metrics of the sink. It is a prometheus.Collector.
type sinkMetrics struct {
	storage *storage
	all     []sinkMetric
	errors  *prometheus.Desc
}

// sinkMetric is one row of the table. value is called at each scrape; false omits
// the metric.
type sinkMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*storage) (float64, bool)
}

// newSinkMetrics returns the table: metrics of every sink, and those of a file. out
// is the only writer of the sink.
func newSinkMetrics(s *storage, out *writer.Writer) *sinkMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("raytap_sink_"+name, help, labels, nil)
	}
	m := &sinkMetrics{storage: s, errors: desc("errors_total",
		"Errors of the sink, by kind: full (no space), denied (no permission), closed (the reader is gone), fsync, checkpoint (positions not saved), rotate, locked (another process has the file open), removed and truncated (by another process), other. Most of them are retried.", "kind")}
	add := func(name, help string, kind prometheus.ValueType, value func(*storage) (float64, bool)) {
		m.all = append(m.all, sinkMetric{desc(name, help), kind, value})
	}
	counter := func(name, help string, value func(*storage) float64) {
		add(name, help, prometheus.CounterValue, func(s *storage) (float64, bool) { return value(s), true })
	}
	counter("bytes_total", "Bytes accepted by the sink.", func(s *storage) float64 { return float64(s.stats.Bytes.Load()) })
	counter("records_total", "Records accepted by the sink, including events.", func(*storage) float64 { return float64(out.Records()) })
	add("stalled_since_timestamp_seconds", "Unix time since when a write has been waiting for space, for permission, or for positions to be saved. Absent while none is waiting.",
		prometheus.GaugeValue, func(s *storage) (float64, bool) {
			at := s.stalledSince(out)
			return float64(at.UnixNano()) / 1e9, !at.IsZero()
		})
	if s.file == nil {
		return m
	}
	counter("fsyncs_total", "Fsyncs of the sink file.", func(s *storage) float64 { return float64(s.stats.Fsyncs.Load()) })
	counter("fsync_seconds_total", "Total duration of the fsyncs of the sink file.", func(s *storage) float64 {
		return time.Duration(s.stats.FsyncNanos.Load()).Seconds()
	})
	counter("rotations_total", "Rotations of the sink file.", func(s *storage) float64 { return float64(s.stats.Rotations.Load()) })
	counter("removed_files_total", "Rotated files that were removed because of max_files.", func(s *storage) float64 { return float64(s.stats.Removed.Load()) })
	counter("reopens_total", "Times that the sink file was reopened after a signal or a reload.", func(s *storage) float64 { return float64(s.stats.Reopens.Load()) })
	counter("torn_bytes_total", "Bytes of a partial last record that were removed from the sink file at startup.", func(s *storage) float64 { return float64(s.recovered.TornBytes) })
	counter("recovered_records_total", "Records found in the sink file after the saved positions at startup.", func(s *storage) float64 { return float64(s.recovered.Records) })
	add("file_number", "Number that the sink file will get when it is rotated.", prometheus.GaugeValue,
		func(s *storage) (float64, bool) { return float64(s.file.Written().Number), true })
	add("file_size_bytes", "Size of the sink file up to its last complete record.", prometheus.GaugeValue,
		func(s *storage) (float64, bool) { return float64(s.file.Written().Offset), true })
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
		if v, ok := x.value(m.storage); ok {
			ch <- prometheus.MustNewConstMetric(x.desc, x.kind, v)
		}
	}
	for kind, n := range m.storage.stats.Errors {
		ch <- prometheus.MustNewConstMetric(m.errors, prometheus.CounterValue, float64(n), kind)
	}
}
