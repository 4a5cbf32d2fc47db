package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// byInstanceFilter matches the selected raytap instances; byClusterFilter their selected
// clusters, too.
const (
	byInstanceFilter = `instance=~"$instance"`
	byClusterFilter  = byInstanceFilter + `, ray_cluster=~"$ray_cluster"`
)

func self() *dashboard.DashboardBuilder {
	b := newDashboard("raytap-self", "raytap itself", "Tails, sink, requests to Ray and resource usage of raytap.").
		WithVariable(labelVariable("instance", "raytap", "raytap_build_info")).
		WithVariable(clusterVariable())
	return scrapes(writing(reading(overview(b))))
}

func overview(b *dashboard.DashboardBuilder) *dashboard.DashboardBuilder {
	lost := func(metric string) string {
		return `round(sum(increase(` + metric + `{` + byClusterFilter + `}[$__range])))`
	}
	return b.
		WithPanel(number("Instances", "raytap processes that Prometheus scrapes.", unitShort, `count(raytap_build_info{`+byInstanceFilter+`})`, steps(blue))).
		WithPanel(number("Max lag", "Time since the last successful read, for the log that was read longest ago.", unitSeconds,
			`max(raytap_shipper_read_age_seconds{`+byClusterFilter+`})`, steps(green, 60.0, yellow, 300.0, red))).
		WithPanel(number("Gaps", "Times that bytes of a log were no longer available.", unitShort, lost("raytap_shipper_gaps_total"), steps(green, 1.0, red))).
		WithPanel(number("Limits reached", "Stream limits of the configuration that jobs reached.", unitShort, lost("raytap_shipper_limits_total")+" or vector(0)", steps(green, 1.0, yellow))).
		WithPanel(number("Sink stalled", "Time that a write has been waiting for space, for permission, or for positions to be saved.", unitSeconds,
			`max(time() - raytap_sink_stalled_since_timestamp_seconds{`+byInstanceFilter+`}) or vector(0)`, steps(green, 1.0, red))).
		WithPanel(number("Configuration", "Whether the last reload succeeded.", unitShort,
			`min(raytap_config_last_reload_successful{`+byInstanceFilter+`})`, steps(green)).
			Mappings([]dashboard.ValueMapping{mapping(valueText{"1", "in use", green}, valueText{"0", "rejected", red})}))
}

func reading(b *dashboard.DashboardBuilder) *dashboard.DashboardBuilder {
	return b.
		WithRow(dashboard.NewRowBuilder("Tails")).
		WithPanel(lines("Lines", "Log lines turned into records.", unitLines,
			query{`sum by (ray_cluster) (rate(raytap_shipper_lines_total{` + byClusterFilter + `}[$__rate_interval]))`, "{{ray_cluster}}"})).
		WithPanel(lines("Lag", "Time since the last successful read, for the log that was read longest ago. Low while jobs print nothing and logs can be read.", unitSeconds,
			query{`max by (ray_cluster, instance) (raytap_shipper_read_age_seconds{` + byClusterFilter + `})`, "{{ray_cluster}} {{instance}}"})).
		WithPanel(stack("Tails", "Jobs whose log is tailed, by transport and state.", unitShort,
			query{`sum by (transport, state) (raytap_shipper_tails{` + byClusterFilter + `})`, "{{transport}} {{state}}"})).
		WithPanel(lines("Bytes read", "By transport. Replayed bytes verify a position and are not shipped again.", unitRate,
			query{`sum by (transport) (rate(raytap_shipper_read_bytes_total{` + byClusterFilter + `}[$__rate_interval]))`, "{{transport}}"},
			query{`sum by (transport) (rate(raytap_shipper_replayed_bytes_total{` + byClusterFilter + `}[$__rate_interval])) > 0`, "{{transport}} replayed"})).
		WithPanel(lines("WebSockets in use", "Of at most 100 per Ray cluster, including other clients.", unitShort,
			query{`sum by (ray_cluster) (raytap_shipper_stream_slots_in_use{` + byClusterFilter + `})`, "{{ray_cluster}}"})).
		WithPanel(lines("Ends of reads", "Connections that ended and reads that failed, by reason, per interval.", unitShort,
			query{`sum by (ray_cluster, reason) (increase(raytap_shipper_read_ends_total{` + byClusterFilter + `}[$__rate_interval])) > 0`, "{{ray_cluster}} {{reason}}"}).NoValue("No connection has ended"))
}

func writing(b *dashboard.DashboardBuilder) *dashboard.DashboardBuilder {
	return b.
		WithRow(dashboard.NewRowBuilder("Sink")).
		WithPanel(lines("Records", "Records accepted by the sink, including events.", unitLines,
			query{`rate(raytap_sink_records_total{` + byInstanceFilter + `}[$__rate_interval])`, "{{instance}}"})).
		WithPanel(lines("Sink errors", "By kind, per interval. Most of them are retried.", unitShort,
			query{`sum by (instance, kind) (increase(raytap_sink_errors_total{` + byInstanceFilter + `}[$__rate_interval]))`, "{{instance}} {{kind}}"})).
		WithPanel(lines("Write duration", "Including the wait for a slow reader.", unitSeconds,
			query{`histogram_quantile(0.5, sum by (le) (rate(raytap_shipper_write_duration_seconds_bucket{` + byInstanceFilter + `}[$__rate_interval])))`, "median"},
			query{`histogram_quantile(0.99, sum by (le) (rate(raytap_shipper_write_duration_seconds_bucket{` + byInstanceFilter + `}[$__rate_interval])))`, "p99"})).
		WithPanel(lines("Buffers", "Memory held by the buffers of all tails. Reading stops at the limit.", unitBytes,
			query{`raytap_shipper_memory_bytes{` + byInstanceFilter + `}`, "{{instance}}"},
			query{`raytap_shipper_memory_limit_bytes{` + byInstanceFilter + `}`, "{{instance}} limit"})).
		WithPanel(lines("Fsync duration", "Average, for a sink file. Standard output has no fsyncs.", unitSeconds,
			query{`rate(raytap_sink_fsync_seconds_total{` + byInstanceFilter + `}[$__rate_interval]) / (rate(raytap_sink_fsyncs_total{` + byInstanceFilter + `}[$__rate_interval]) > 0)`, "{{instance}}"}).NoValue("No fsyncs")).
		WithPanel(lines("Failed saves of positions", "Per interval. They are retried.", unitShort,
			query{`increase(raytap_shipper_positions_save_errors_total{` + byInstanceFilter + `}[$__rate_interval])`, "{{instance}}"}))
}

func scrapes(b *dashboard.DashboardBuilder) *dashboard.DashboardBuilder {
	return b.
		WithRow(dashboard.NewRowBuilder("Requests to Ray")).
		WithPanel(states("Collectors", "Whether each collector succeeded.", mapping(valueText{"1", "ok", green}, valueText{"0", "failed", red}),
			query{`min by (ray_cluster, collector) (raytap_collector_success{` + byClusterFilter + `})`, "{{ray_cluster}} {{collector}}"}).Span(12)).
		WithPanel(lines("Request duration", "99th percentile, by endpoint.", unitSeconds,
			query{`histogram_quantile(0.99, sum by (endpoint, le) (rate(raytap_api_request_duration_seconds_bucket{` + byClusterFilter + `}[$__rate_interval])))`, "{{endpoint}}"})).
		WithPanel(lines("Requests", "By HTTP status, or an error's code if there was no response.", "reqps",
			query{`sum by (ray_cluster, code) (rate(raytap_api_request_duration_seconds_count{` + byClusterFilter + `}[$__rate_interval]))`, "{{ray_cluster}} {{code}}"})).
		WithPanel(lines("Scrape duration", "As measured by Prometheus, and by collector.", unitSeconds,
			query{`scrape_duration_seconds{` + byInstanceFilter + `} and on (instance, job) raytap_build_info`, "{{instance}}"},
			query{`max by (collector) (raytap_collector_duration_seconds{` + byClusterFilter + `})`, "{{collector}}"})).
		WithPanel(lines("CPU usage", "1 is one core.", unitRatio,
			query{`rate(process_cpu_seconds_total{` + byInstanceFilter + `}[$__rate_interval]) and on (instance, job) raytap_build_info`, "{{instance}}"})).
		WithPanel(lines("Memory usage", "Resident memory.", unitBytes,
			query{`process_resident_memory_bytes{` + byInstanceFilter + `} and on (instance, job) raytap_build_info`, "{{instance}}"}))
}
