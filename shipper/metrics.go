package shipper

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the shipper's own metrics, for all clusters and the output. It
// is a prometheus.Collector; register it once.
type Metrics struct {
	streams      *prometheus.GaugeVec   // cluster, way, state
	lines        *prometheus.CounterVec // cluster
	bytes        *prometheus.CounterVec // cluster, way
	replayed     *prometheus.CounterVec // cluster, way
	events       *prometheus.CounterVec // cluster, event
	ends         *prometheus.CounterVec // cluster, reason
	gaps         *prometheus.CounterVec // cluster
	endChecks    *prometheus.CounterVec // cluster, result
	limits       *prometheus.CounterVec // cluster, limit
	cut          *prometheus.CounterVec // cluster
	skipped      *prometheus.CounterVec // cluster
	givenUp      *prometheus.CounterVec // cluster
	steps        *prometheus.CounterVec // cluster, way
	discovered   *prometheus.GaugeVec   // cluster
	written      prometheus.Counter
	writtenBytes prometheus.Counter
	sinkErrors   prometheus.Counter
	writeSeconds prometheus.Histogram
	saveSeconds  prometheus.Histogram
	saveErrors   prometheus.Counter
	forgotten    prometheus.Counter
	recreated    prometheus.Counter
	saved        *prometheus.Desc
	lag          *prometheus.Desc
	slots        *prometheus.Desc
	refused      *prometheus.Desc // cluster, reason
	queue        *prometheus.Desc
	memory       *prometheus.Desc
	memoryMax    *prometheus.Desc

	mu       sync.Mutex
	output   *Output
	shippers map[*Shipper]bool
}

// NewMetrics makes the metrics.
func NewMetrics() *Metrics {
	const ns, sub, cluster = "raytap", "shipper", "ray_cluster"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help},
			append([]string{cluster}, labels...))
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help},
			append([]string{cluster}, labels...))
	}
	plain := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(ns, sub, name), help, labels, nil)
	}
	return &Metrics{
		streams: gauge("streams", "Jobs whose log is being shipped, by the way it is read (agent, websocket, file; of messages: websocket, sse, whole; none before the first) and state (reading, waiting).", "way", "state"),
		lines:   counter("lines_total", "Lines that were made into records."),
		bytes:   counter("read_bytes_total", "Bytes of logs read for the first time, by way.", "way"),
		replayed: counter("replayed_bytes_total",
			"Bytes of logs read again to prove a position and skipped, by way.", "way"),
		events: counter("events_total", "Event records, by event (start, gap, epoch, limit, end, reopened).", "event"),
		ends:   counter("stream_ends_total", "Ends of connections and failed reads of a job's log, by reason.", "reason"),
		gaps:   counter("gaps_total", "Losses: times that bytes of a log could not be had any more."),
		endChecks: counter("end_checks_total",
			"Checks of logs after the end of their runs, by result: same, grown (the log is read on, and an event reopened says so), failed.", "result"),
		limits:     counter("limits_total", "Stream limits hit, by limit.", "limit"),
		cut:        counter("oversized_lines_total", "Lines longer than max_message_size, cut or left out."),
		skipped:    counter("skipped_lines_total", "Lines left out because a limit says so, or because progress bars are thinned. The next record counts them."),
		givenUp:    counter("half_lines_dropped_total", "Half lines let go to free memory, and read again."),
		steps:      counter("way_steps_total", "Times that a stream left a way for another one, by the way left.", "way"),
		discovered: gauge("discovery_last_success_timestamp_seconds", "Unix time of the last look at the job list that succeeded."),
		written:    plain("records_written_total", "Records that the sink accepted, events among them."),
		writtenBytes: plain("written_bytes_total",
			"Bytes of records that the sink accepted."),
		sinkErrors: plain("sink_errors_total", "Writes that the sink refused."),
		writeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub,
			Name: "write_duration_seconds", Help: "Time of one write to the sink, the wait for its reader included.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 10, 6)}),
		saveSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub,
			Name: "positions_save_duration_seconds", Help: "Time of one save of the positions, its fsyncs included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 7)}),
		saveErrors: plain("positions_save_errors_total", "Saves of the positions that failed, and were tried again."),
		recreated: plain("positions_recreated_total",
			"Times that the positions file was removed, replaced or damaged while raytap ran, and was written again from memory."),
		forgotten: plain("positions_forgotten_total", "Positions of finished jobs let go: older than seven days, or beyond 10,000."),
		saved: desc("positions_last_saved_timestamp_seconds",
			"Unix time of the last save of the positions; absent without a positions file, and until the first."),
		lag: desc("read_age_seconds",
			"Time since the last successful read, of the stream where it is longest. It stays low while jobs are silent and logs are readable.", cluster),
		slots: desc("websocket_slots_held",
			"WebSocket tails that Ray counts, or may still count, against its limit of 100: those of the cluster's session, by whatever name. Of an agent: WebSockets and SSE streams.", cluster),
		refused: prometheus.NewDesc(prometheus.BuildFQName(ns, "", "node_agents_refused"),
			"Node agents that jobs' logs are not read from, by reason: token (with a token, and outside node_agents.allow: the agent must not see it), not_allowed (outside node_agents.allow, with mode on), not_live (no live node has the address), address (Ray gives none that can be used), off (node_agents.mode), denied (the agent answers 401 or 403). Logs come through the dashboard then. Each is tried again every 5 minutes, and is gone 10 minutes after the last job that asked for it; absent where there is none.",
			[]string{cluster, "reason"}, nil),
		queue:     desc("queue_batches", "Batches of records that wait for the sink."),
		memory:    desc("memory_bytes", "Bytes that the buffers of all streams hold."),
		memoryMax: desc("memory_limit_bytes", "Bytes that they may hold."),
		shippers:  map[*Shipper]bool{},
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.streams, m.lines, m.bytes, m.replayed, m.events, m.ends, m.gaps, m.endChecks, m.limits, m.cut,
		m.skipped, m.givenUp, m.steps, m.discovered, m.written, m.writtenBytes, m.sinkErrors, m.writeSeconds, m.saveSeconds, m.saveErrors, m.forgotten, m.recreated}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	ch <- m.lag
	ch <- m.slots
	ch <- m.refused
	ch <- m.saved
	ch <- m.queue
	ch <- m.memory
	ch <- m.memoryMax
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	m.mu.Lock()
	out := m.output
	ages := map[string]time.Duration{}
	held := map[string]int{}
	refused := map[[2]string]int{} // by cluster and reason
	now := time.Now()
	for s := range m.shippers {
		held[s.opts.Cluster] = s.slotsHeld()
		for reason, n := range s.hosts.refused(now) {
			refused[[2]string{s.opts.Cluster, reason}] += n
		}
		if age, ok := s.readAge(now); ok {
			ages[s.opts.Cluster] = max(age, ages[s.opts.Cluster])
		}
	}
	m.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for cluster, n := range held {
		gauge(m.slots, float64(n), cluster)
	}
	for of, n := range refused {
		gauge(m.refused, float64(n), of[0], of[1])
	}
	for cluster, age := range ages {
		gauge(m.lag, age.Seconds(), cluster)
	}
	if out != nil {
		if at := out.positions.lastSaved(); !at.IsZero() {
			gauge(m.saved, float64(at.UnixMilli())/1e3)
		}
		gauge(m.queue, float64(len(out.queue)))
		gauge(m.memory, float64(out.budget.usage()))
		gauge(m.memoryMax, float64(out.budget.size))
	}
}

func (m *Metrics) watch(o *Output) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.output = o
}

// join makes the counters of a cluster start at 0, so that the first increase
// is seen as one.
func (m *Metrics) join(s *Shipper) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shippers[s] = true
	c := s.opts.Cluster
	for _, v := range []*prometheus.CounterVec{m.lines, m.gaps, m.cut, m.skipped, m.givenUp} {
		v.WithLabelValues(c)
	}
	for _, e := range []string{EventStart, EventGap, EventEpoch, EventLimit, EventEnd, EventReopened} {
		m.events.WithLabelValues(c, e)
	}
	for _, result := range []string{"same", "grown", "failed"} {
		m.endChecks.WithLabelValues(c, result)
	}
	ways := []way{wayAgent, wayWebSocket, wayFile, wayWhole}
	if s.messages != nil {
		ways = []way{wayWebSocket, waySSE, wayWhole}
	}
	for _, w := range ways {
		m.bytes.WithLabelValues(c, w.String())
		m.replayed.WithLabelValues(c, w.String())
		m.steps.WithLabelValues(c, w.String())
	}
	for _, reason := range endReasons() {
		m.ends.WithLabelValues(c, reason)
	}
	for _, limit := range limitNames {
		m.limits.WithLabelValues(c, limit)
	}
}

// leave removes what a cluster that is gone has left.
func (m *Metrics) leave(s *Shipper) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.shippers, s)
	for o := range m.shippers {
		if o.opts.Cluster == s.opts.Cluster {
			return // a new one of the same name has taken over
		}
	}
	labels := prometheus.Labels{"ray_cluster": s.opts.Cluster}
	for _, c := range m.collectors() {
		if v, ok := c.(interface {
			DeletePartialMatch(prometheus.Labels) int
		}); ok {
			v.DeletePartialMatch(labels)
		}
	}
}
