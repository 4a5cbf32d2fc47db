package shipper

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"raytap/shipper/record"
)

// Metrics are the shipper's own metrics, for all clusters and the output. It
// is a prometheus.Collector; register it once.
type Metrics struct {
	streams      *prometheus.GaugeVec   // cluster, transport, state
	lines        *prometheus.CounterVec // cluster
	bytes        *prometheus.CounterVec // cluster, transport
	replayed     *prometheus.CounterVec // cluster, transport
	events       *prometheus.CounterVec // cluster, event
	ends         *prometheus.CounterVec // cluster, reason
	gaps         *prometheus.CounterVec // cluster
	endChecks    *prometheus.CounterVec // cluster, result
	limits       *prometheus.CounterVec // cluster, limit
	cut          *prometheus.CounterVec // cluster
	skipped      *prometheus.CounterVec // cluster
	givenUp      *prometheus.CounterVec // cluster
	steps        *prometheus.CounterVec // cluster, transport
	discovered   *prometheus.GaugeVec   // cluster
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
		streams: gauge("tails", "Jobs whose log is tailed, by transport (node_agent, websocket, file, snapshot; from a Synapse agent websocket, sse, snapshot; none before the first read) and state (reading, waiting).", "transport", "state"),
		lines:   counter("lines_total", "Log lines turned into records."),
		bytes:   counter("read_bytes_total", "Bytes of logs read for the first time, by transport.", "transport"),
		replayed: counter("replayed_bytes_total",
			"Bytes of logs read again to verify a position and not shipped again, by transport.", "transport"),
		events: counter("events_total", "Event records, by event (start, gap, epoch, limit, end, reopened, clock).", "event"),
		ends:   counter("read_ends_total", "Connections that ended and reads of a job's log that failed, by reason.", "reason"),
		gaps:   counter("gaps_total", "Times that bytes of a log were no longer available and are missing from the records."),
		endChecks: counter("end_checks_total",
			"Checks of a log after the end of its run, by result: same, grown (reading resumes, and an event reopened reports it), failed.", "result"),
		limits:     counter("limits_total", "Stream limits reached, by limit.", "limit"),
		cut:        counter("oversized_lines_total", "Lines longer than max_message_size, truncated or dropped."),
		skipped:    counter("skipped_lines_total", "Lines dropped because of a limit, or to thin out progress bars. The next record counts them."),
		givenUp:    counter("partial_lines_dropped_total", "Partial lines dropped from buffers to free memory. They are read again later."),
		steps:      counter("transport_fallbacks_total", "Times that a tail fell back from a transport to another one, by the transport that failed.", "transport"),
		discovered: gauge("discovery_last_success_timestamp_seconds", "Unix time of the last successful request for the job list."),
		writeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub,
			Name: "write_duration_seconds", Help: "Duration of one write to the sink, including the wait for a slow reader.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 10, 6)}),
		saveSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub,
			Name: "positions_save_duration_seconds", Help: "Duration of one save of the positions, fsyncs included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 7)}),
		saveErrors: plain("positions_save_errors_total", "Failed saves of the positions. Each is retried."),
		recreated: plain("positions_recreated_total",
			"Times that the positions file was removed, replaced or damaged while raytap ran, and was written again from memory."),
		forgotten: plain("positions_expired_total", "Positions of finished jobs removed because they were older than seven days, or more than 10,000."),
		saved: desc("positions_last_saved_timestamp_seconds",
			"Unix time of the last save of the positions. Absent without a positions file, and before the first save."),
		lag: desc("read_age_seconds",
			"Time since the last successful read, for the log that was read longest ago. It stays low while jobs print nothing and their logs can be read.", cluster),
		slots: desc("stream_slots_in_use",
			"WebSocket tails that Ray counts, or may still count, against its limit of 100: those of the cluster's session, under all names that it has in the configuration. With a Synapse agent: WebSocket and SSE connections.", cluster),
		refused: prometheus.NewDesc(prometheus.BuildFQName(ns, "", "node_agents_refused"),
			"Node agents that raytap does not read job logs from, by reason: token (requests carry a token, and node_agents.allow does not list the agent), not_allowed (not listed in node_agents.allow, with mode on), not_live (no live node has the address), address (Ray returns no usable address), off (node_agents.mode), denied (the agent answers 401 or 403). Their logs are read through the dashboard instead. An agent is tried again every 5 minutes, and is no longer counted 10 minutes after the last job that needed it. Absent where none is refused.",
			[]string{cluster, "reason"}, nil),
		queue:     desc("queue_batches", "Batches of records that wait for the sink."),
		memory:    desc("memory_bytes", "Bytes held by the buffers of all tails."),
		memoryMax: desc("memory_limit_bytes", "Maximum of raytap_shipper_memory_bytes."),
		shippers:  map[*Shipper]bool{},
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.streams, m.lines, m.bytes, m.replayed, m.events, m.ends, m.gaps, m.endChecks, m.limits, m.cut,
		m.skipped, m.givenUp, m.steps, m.discovered, m.writeSeconds, m.saveSeconds, m.saveErrors, m.forgotten, m.recreated}
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
		for reason, n := range s.tails.agents.refused(now) {
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
	for _, e := range []string{record.EventStart, record.EventGap, record.EventEpoch, record.EventLimit, record.EventEnd, record.EventReopened} {
		m.events.WithLabelValues(c, e)
	}
	for _, result := range []string{"same", "grown", "failed"} {
		m.endChecks.WithLabelValues(c, result)
	}
	ways := []Transport{transportNodeAgent, transportWebSocket, transportFile, transportSnapshot}
	if s.tails.message != nil {
		ways = []Transport{transportWebSocket, transportSSE, transportSnapshot}
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
