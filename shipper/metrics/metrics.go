// Package metrics holds the metrics of the shipper.
package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the shipper's own metrics, for all clusters and the writer. It is a
// prometheus.Collector: register it once. It is safe for concurrent use.
type Metrics struct {
	vectors
	fileVectors
	writerMetrics
	descs

	mu       sync.Mutex
	writer   func() WriterStats // nil before WatchWriter
	clusters map[*member]bool
	keep     time.Duration
	left     map[string]time.Time // names of which only counters are left, until then
}

// vectors are the metrics with the label ray_cluster that Cluster updates.
type vectors struct {
	tails         *prometheus.GaugeVec   // cluster, transport, state
	lines         *prometheus.CounterVec // cluster
	readBytes     *prometheus.CounterVec // cluster, transport
	replayedBytes *prometheus.CounterVec // cluster, transport
	events        *prometheus.CounterVec // cluster, event
	readEnds      *prometheus.CounterVec // cluster, reason
	gaps          *prometheus.CounterVec // cluster
	rotations
	endChecks      *prometheus.CounterVec // cluster, result
	limits         *prometheus.CounterVec // cluster, limit
	oversized      *prometheus.CounterVec // cluster
	skipped        *prometheus.CounterVec // cluster
	partialDropped *prometheus.CounterVec // cluster
	fallbacks      *prometheus.CounterVec // cluster, transport
	discovered     *prometheus.GaugeVec   // cluster
}

// fileVectors are those of the logs on nodes.
type fileVectors struct {
	looks        *prometheus.CounterVec // cluster, source
	filesSkipped *prometheus.CounterVec // cluster, reason
	budgetMisses *prometheus.CounterVec // cluster
}

// writerMetrics are the metrics that the writer updates.
type writerMetrics struct {
	WriteSeconds prometheus.Histogram // duration of writes to the sink
	SaveSeconds  prometheus.Histogram // duration of successful saves of the positions
	SaveErrors   prometheus.Counter   // failed saves of the positions
	Expired      prometheus.Counter   // positions that expired
	Recreated    prometheus.Counter   // times that the positions file was written again from memory
}

// descs describe the metrics that each scrape reads from the writer and the clusters.
type descs struct {
	saved       *prometheus.Desc
	readAge     *prometheus.Desc // cluster
	slots       *prometheus.Desc // cluster
	refused     *prometheus.Desc // cluster, reason
	files       *prometheus.Desc // cluster, source, state
	queue       *prometheus.Desc
	memory      *prometheus.Desc
	memoryLimit *prometheus.Desc
}

// rotations count what became of rotated logs.
type rotations struct {
	rotationsFollowed, generationsLost *prometheus.CounterVec // cluster
}

// New returns the metrics, without clusters and without a writer.
func New() *Metrics {
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
	return &Metrics{vectors: vectors{
		tails:     gauge("tails", "Jobs whose log is tailed, by transport (node_agent, websocket, file, snapshot; from a Synapse agent websocket, sse, snapshot; none before the first read) and state (reading, waiting).", "transport", "state"),
		lines:     counter("lines_total", "Log lines turned into records."),
		readBytes: counter("read_bytes_total", "Bytes of logs read for the first time, by transport.", "transport"),
		replayedBytes: counter("replayed_bytes_total",
			"Bytes of logs read again to verify a position and not shipped again, by transport.", "transport"),
		events:   counter("events_total", "Event records, by event (start, gap, epoch, limit, end, reopened, clock).", "event"),
		readEnds: counter("read_ends_total", "Connections that ended and reads of a job's log that failed, by reason.", "reason"),
		rotations: rotations{
			rotationsFollowed: counter("rotations_followed_total", "Times that a log was rotated and read on in its next file, without a loss. Only node agents show the older files of a log."),
			generationsLost:   counter("generations_lost_total", "Times that a log was rotated and the file that was read last is gone: deleted, or truncated without a copy."),
		},
		gaps: counter("gaps_total", "Times that bytes of a log were no longer available and are missing from the records."),
		endChecks: counter("end_checks_total",
			"Checks of a log after the end of its run, by result: same, grown (reading resumes, and an event reopened reports it), failed.", "result"),
		limits:         counter("limits_total", "Stream limits reached, by limit.", "limit"),
		oversized:      counter("oversized_lines_total", "Lines longer than max_message_size, truncated or dropped."),
		skipped:        counter("skipped_lines_total", "Lines dropped because of a limit, or to thin out progress bars. The next record counts them."),
		partialDropped: counter("partial_lines_dropped_total", "Partial lines dropped from buffers to free memory. They are read again later."),
		fallbacks:      counter("transport_fallbacks_total", "Times that a tail fell back from a transport to another one, by the transport that failed.", "transport"),
		discovered:     gauge("discovery_last_success_timestamp_seconds", "Unix time of the last successful request for the job list."),
	}, fileVectors: fileVectors{
		looks: counter("looks_total", "Looks at a log on a node, by source. Each is one request to a node agent if the log is as it was before, else about three.", "source"),
		filesSkipped: counter("files_skipped_total",
			"Logs on nodes that are not read, by reason: limit (more than 10,000 in a directory, or 20,000 in the cluster), unlisted (a directory with more than 50,000 files is listed only once an hour), unreachable (the first listing of a node failed; it is repeated).", "reason"),
		budgetMisses: counter("budget_misses_total", "Times that rotation deleted lines of a log on a node because more looks were due than the budget allows."),
	}, writerMetrics: writerMetrics{
		WriteSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub,
			Name: "write_duration_seconds", Help: "Duration of one write to the sink, including the wait for a slow reader.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 10, 6)}),
		SaveSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub,
			Name: "positions_save_duration_seconds", Help: "Duration of one save of the positions, fsyncs included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 7)}),
		SaveErrors: plain("positions_save_errors_total", "Failed saves of the positions. Each is retried."),
		Recreated: plain("positions_recreated_total",
			"Times that the positions file was removed, replaced or damaged while raytap ran, and was written again from memory."),
		Expired: plain("positions_expired_total", "Positions of finished jobs removed because they were older than seven days, or more than 10,000."),
	}, descs: descs{
		saved: desc("positions_last_saved_timestamp_seconds",
			"Unix time of the last save of the positions. Absent without a positions file, and before the first save."),
		readAge: desc("read_age_seconds",
			"Time since the last successful read, for the log that was read longest ago. It stays low while jobs print nothing and their logs can be read.", cluster),
		slots: desc("stream_slots_in_use",
			"WebSocket tails that Ray counts, or may still count, against its limit of 100: those of the cluster's session, under all names that it has in the configuration. With a Synapse agent: WebSocket and SSE connections.", cluster),
		refused: prometheus.NewDesc(prometheus.BuildFQName(ns, "", "node_agents_refused"),
			"Node agents that raytap does not read job logs from, by reason: token (requests carry a token, and node_agents.allow does not list the agent), not_allowed (not listed in node_agents.allow, with mode on), not_live (no live node has the address), address (Ray returns no usable address), off (node_agents.mode), denied (the agent answers 401 or 403). Their logs are read through the dashboard instead. An agent is tried again every 5 minutes, and is no longer counted 10 minutes after the last job that needed it. Absent where none is refused.",
			[]string{cluster, "reason"}, nil),
		files: desc("files", "Logs on nodes, by source and state: live, ended (the worker is dead; the log is looked at for 10 more minutes), excluded (by shipper.include or exclude), done (not read any more; of all sources together, under worker or the first one that is shipped).",
			cluster, "source", "state"),
		queue:       desc("queue_batches", "Batches of records that wait for the sink."),
		memory:      desc("memory_bytes", "Bytes held by the buffers of all tails."),
		memoryLimit: desc("memory_limit_bytes", "Maximum of raytap_shipper_memory_bytes."),
	}, clusters: map[*member]bool{}, left: map[string]time.Time{}}
}

// Keep sets how long the counters of a cluster stay after it has left: what was counted last is
// scraped then, too. 0, the default: they go at once.
func (m *Metrics) Keep(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep = d
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.tails, m.lines, m.readBytes, m.replayedBytes, m.events, m.readEnds, m.gaps, m.rotationsFollowed, m.generationsLost, m.endChecks, m.limits, m.oversized,
		m.skipped, m.partialDropped, m.fallbacks, m.discovered, m.looks, m.filesSkipped, m.budgetMisses, m.WriteSeconds, m.SaveSeconds, m.SaveErrors, m.Expired, m.Recreated}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{m.readAge, m.slots, m.refused, m.files, m.saved, m.queue, m.memory, m.memoryLimit} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.forget(time.Now())
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	writer := m.collectClusters(gauge)
	if writer == nil {
		return
	}
	w := writer()
	if !w.LastSaved.IsZero() {
		gauge(m.saved, float64(w.LastSaved.UnixMilli())/1e3)
	}
	gauge(m.queue, float64(w.Queue))
	gauge(m.memory, float64(w.Memory))
	gauge(m.memoryLimit, float64(w.MemoryLimit))
}

// collectClusters collects what the clusters report. Two clusters can have the same name
// for a moment, while the shipper of one takes over from that of the other.
func (m *Metrics) collectClusters(gauge func(*prometheus.Desc, float64, ...string)) (writer func() WriterStats) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	ages, slots, refused, files := map[string]time.Duration{}, map[string]int{}, map[[2]string]int{}, map[[3]string]int{}
	for c := range m.clusters {
		s := c.stats(now)
		slots[c.name] = s.SlotsInUse
		for reason, n := range s.AgentsRefused {
			refused[[2]string{c.name, reason}] += n
		}
		for of, n := range s.Files {
			files[[3]string{c.name, of.Source, of.State}] += n
		}
		if s.Tails > 0 {
			ages[c.name] = max(s.ReadAge, ages[c.name])
		}
	}
	for name, n := range slots {
		gauge(m.slots, float64(n), name)
	}
	for of, n := range refused {
		gauge(m.refused, float64(n), of[0], of[1])
	}
	for of, n := range files {
		gauge(m.files, float64(n), of[0], of[1], of[2])
	}
	for name, age := range ages {
		gauge(m.readAge, age.Seconds(), name)
	}
	return m.writer
}

// WriterStats are what the writer reports.
type WriterStats struct {
	LastSaved           time.Time // zero: the positions were not saved yet
	Queue               int       // batches that wait for the sink
	Memory, MemoryLimit int64     // bytes of all buffers
}

// WatchWriter makes the metrics report a writer's stats, in place of those of a writer
// before.
func (m *Metrics) WatchWriter(stats func() WriterStats) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writer = stats
}

// ClusterStats are what one cluster's shipper reports.
type ClusterStats struct {
	Tails         int            // logs that are tailed
	ReadAge       time.Duration  // since the last successful read of the log that was read longest ago
	SlotsInUse    int            // stream slots
	AgentsRefused map[string]int // number of node agents that are not read, by reason
	Files         map[FileState]int
}

// FileState is which logs on nodes are counted together.
type FileState struct{ Source, State string }

// LabelValues are the values that the labels of one cluster's counters can have. Join sets
// these counters to 0, so that rates include the first increase.
type LabelValues struct {
	Transports, Events, EndReasons, EndChecks, Limits []string
	Sources                                           []string // of logs on nodes; none if only driver logs are shipped
}

// member is a cluster that has joined and not left.
type member struct {
	name  string
	stats func(now time.Time) ClusterStats
}

// Join adds a cluster, whose stats each scrape queries. leave removes it and its metrics, the
// counters later: see Keep. Another cluster of the same name that joined before, or does until
// then, keeps them.
func (m *Metrics) Join(name string, values LabelValues, stats func(now time.Time) ClusterStats) (leave func()) {
	c := &member{name, stats}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clusters[c] = true
	delete(m.left, name)
	for _, v := range []*prometheus.CounterVec{m.lines, m.gaps, m.rotationsFollowed, m.generationsLost, m.oversized, m.skipped, m.partialDropped} {
		v.WithLabelValues(name)
	}
	for _, x := range []struct {
		values []string
		vecs   []*prometheus.CounterVec
	}{
		{values.Transports, []*prometheus.CounterVec{m.readBytes, m.replayedBytes, m.fallbacks}},
		{values.Events, []*prometheus.CounterVec{m.events}},
		{values.EndReasons, []*prometheus.CounterVec{m.readEnds}},
		{values.EndChecks, []*prometheus.CounterVec{m.endChecks}},
		{values.Limits, []*prometheus.CounterVec{m.limits}},
		{values.Sources, []*prometheus.CounterVec{m.looks}},
	} {
		for _, value := range x.values {
			for _, v := range x.vecs {
				v.WithLabelValues(name, value)
			}
		}
	}
	if len(values.Sources) > 0 {
		m.budgetMisses.WithLabelValues(name)
		for _, reason := range []string{"limit", "unlisted", "unreachable"} {
			m.filesSkipped.WithLabelValues(name, reason)
		}
	}
	return func() { m.leave(c) }
}

func (m *Metrics) leave(c *member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.clusters, c)
	for o := range m.clusters {
		if o.name == c.name {
			return // another one has taken over
		}
	}
	label := prometheus.Labels{"ray_cluster": c.name}
	m.tails.DeletePartialMatch(label)
	m.discovered.DeletePartialMatch(label)
	now := time.Now()
	m.left[c.name] = now.Add(m.keep)
	m.forgetLocked(now)
}

// forget removes the counters of clusters that have left long enough ago.
func (m *Metrics) forget(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgetLocked(now)
}

// forgetLocked is forget for a caller that holds m.mu.
func (m *Metrics) forgetLocked(now time.Time) {
	for name, until := range m.left {
		if now.Before(until) {
			continue
		}
		delete(m.left, name)
		for _, v := range m.collectors() {
			if v, ok := v.(interface {
				DeletePartialMatch(prometheus.Labels) int
			}); ok {
				v.DeletePartialMatch(prometheus.Labels{"ray_cluster": name})
			}
		}
	}
}
