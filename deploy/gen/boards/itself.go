package boards

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// here selects the raytaps that the variables name; there their clusters, too.
const (
	here  = `instance=~"$instance"`
	there = here + `, ray_cluster=~"$ray_cluster"`
)

func itself() *dashboard.DashboardBuilder {
	b := board("raytap-self", "raytap itself", "Whether raytap keeps up: its reading, its writing, and what it asks of Ray.").
		WithVariable(values("instance", "raytap", "raytap_build_info")).
		WithVariable(byCluster())
	return scrapes(writing(reading(answers(b))))
}

func answers(b *dashboard.DashboardBuilder) *dashboard.DashboardBuilder {
	lost := func(metric string) string {
		return `round(sum(increase(` + metric + `{` + there + `}[$__range])))`
	}
	return b.
		WithPanel(number("raytaps", "Processes that Prometheus has scraped.", unitShort, `count(raytap_build_info{`+here+`})`, steps(blue))).
		WithPanel(number("Longest lag", "Time since the last successful read of a log, where it is longest.", unitSeconds,
			`max(raytap_shipper_read_age_seconds{`+there+`})`, steps(green, 60.0, yellow, 300.0, red))).
		WithPanel(number("Losses", "Times that bytes of a log could not be had any more.", unitShort, lost("raytap_shipper_gaps_total"), steps(green, 1.0, red))).
		WithPanel(number("Limits hit", "Stream limits that the configuration sets.", unitShort, lost("raytap_shipper_limits_total")+" or vector(0)", steps(green, 1.0, yellow))).
		WithPanel(number("Wait of the sink", "How long a write waits for room, for rights, or for positions to be saved.", unitSeconds,
			`max(time() - raytap_sink_stalled_since_timestamp_seconds{`+here+`}) or vector(0)`, steps(green, 1.0, red))).
		WithPanel(number("Configuration", "Whether the last one was taken.", unitShort,
			`min(raytap_config_last_reload_successful{`+here+`})`, steps(green)).
			Mappings([]dashboard.ValueMapping{mapping(shown{"1", "in use", green}, shown{"0", "refused", red})}))
}

func reading(b *dashboard.DashboardBuilder) *dashboard.DashboardBuilder {
	return b.
		WithRow(dashboard.NewRowBuilder("Reading logs")).
		WithPanel(lines("Lines", "Lines that were made into records.", unitLines,
			query{`sum by (ray_cluster) (rate(raytap_shipper_lines_total{` + there + `}[$__rate_interval]))`, "{{ray_cluster}}"})).
		WithPanel(lines("Lag", "Time since the last successful read of a log, where it is longest. Low while jobs are silent and logs readable.", unitSeconds,
			query{`max by (ray_cluster, instance) (raytap_shipper_read_age_seconds{` + there + `})`, "{{ray_cluster}} {{instance}}"})).
		WithPanel(stack("Streams", "Jobs whose log is followed, by the way it is read.", unitShort,
			query{`sum by (transport, state) (raytap_shipper_tails{` + there + `})`, "{{transport}} {{state}}"})).
		WithPanel(lines("Bytes read", "By way; read again are those that prove a position and are skipped.", unitRate,
			query{`sum by (transport) (rate(raytap_shipper_read_bytes_total{` + there + `}[$__rate_interval]))`, "{{transport}}"},
			query{`sum by (transport) (rate(raytap_shipper_replayed_bytes_total{` + there + `}[$__rate_interval])) > 0`, "{{transport}} again"})).
		WithPanel(lines("WebSockets held", "Of 100 that a Ray can bear, everybody's counted.", unitShort,
			query{`sum by (ray_cluster) (raytap_shipper_stream_slots_in_use{` + there + `})`, "{{ray_cluster}}"})).
		WithPanel(lines("Ends of connections", "And failed reads, by reason, per interval.", unitShort,
			query{`sum by (ray_cluster, reason) (increase(raytap_shipper_read_ends_total{` + there + `}[$__rate_interval])) > 0`, "{{ray_cluster}} {{reason}}"}).NoValue("No connection has ended"))
}

func writing(b *dashboard.DashboardBuilder) *dashboard.DashboardBuilder {
	return b.
		WithRow(dashboard.NewRowBuilder("Writing records")).
		WithPanel(lines("Records", "Records that the sink accepted, events among them.", unitLines,
			query{`rate(raytap_sink_records_total{` + here + `}[$__rate_interval])`, "{{instance}}"})).
		WithPanel(lines("Errors of the sink", "By kind, per interval. Most of them are waited out.", unitShort,
			query{`sum by (instance, kind) (increase(raytap_sink_errors_total{` + here + `}[$__rate_interval]))`, "{{instance}} {{kind}}"})).
		WithPanel(lines("Time of a write", "The wait for the sink's reader included.", unitSeconds,
			query{`histogram_quantile(0.5, sum by (le) (rate(raytap_shipper_write_duration_seconds_bucket{` + here + `}[$__rate_interval])))`, "half of them"},
			query{`histogram_quantile(0.99, sum by (le) (rate(raytap_shipper_write_duration_seconds_bucket{` + here + `}[$__rate_interval])))`, "99 %"})).
		WithPanel(lines("Buffers", "What the buffers of all streams hold, of what they may: at the bound reading stops.", unitBytes,
			query{`raytap_shipper_memory_bytes{` + here + `}`, "{{instance}}"},
			query{`raytap_shipper_memory_limit_bytes{` + here + `}`, "{{instance}} bound"})).
		WithPanel(lines("Time of an fsync", "Of the sink's file, on average. There are none on standard output.", unitSeconds,
			query{`rate(raytap_sink_fsync_seconds_total{` + here + `}[$__rate_interval]) / (rate(raytap_sink_fsyncs_total{` + here + `}[$__rate_interval]) > 0)`, "{{instance}}"}).NoValue("Nothing was synced")).
		WithPanel(lines("Positions", "Saves of what was shipped that failed, per interval. They are tried again.", unitShort,
			query{`increase(raytap_shipper_positions_save_errors_total{` + here + `}[$__rate_interval])`, "{{instance}}"}))
}

func scrapes(b *dashboard.DashboardBuilder) *dashboard.DashboardBuilder {
	return b.
		WithRow(dashboard.NewRowBuilder("Asking Ray")).
		WithPanel(states("Collectors", "Whether each part of a scrape got its answer.", mapping(shown{"1", "worked", green}, shown{"0", "failed", red}),
			query{`min by (ray_cluster, collector) (raytap_collector_success{` + there + `})`, "{{ray_cluster}} {{collector}}"}).Span(12)).
		WithPanel(lines("Time of a request to Ray", "The slowest of a hundred, by endpoint.", unitSeconds,
			query{`histogram_quantile(0.99, sum by (endpoint, le) (rate(raytap_api_request_duration_seconds_bucket{` + there + `}[$__rate_interval])))`, "{{endpoint}}"})).
		WithPanel(lines("Requests to Ray", "By HTTP status, or the code of the error where no status came.", "reqps",
			query{`sum by (ray_cluster, code) (rate(raytap_api_request_duration_seconds_count{` + there + `}[$__rate_interval]))`, "{{ray_cluster}} {{code}}"})).
		WithPanel(lines("Time of a scrape", "As Prometheus measured it, and the slowest collector of it.", unitSeconds,
			query{`scrape_duration_seconds{` + here + `} and on (instance, job) raytap_build_info`, "{{instance}}"},
			query{`max by (collector) (raytap_collector_duration_seconds{` + there + `})`, "{{collector}}"})).
		WithPanel(lines("CPU of raytap", "Of one core.", unitRatio,
			query{`rate(process_cpu_seconds_total{` + here + `}[$__rate_interval]) and on (instance, job) raytap_build_info`, "{{instance}}"})).
		WithPanel(lines("Memory of raytap", "Resident.", unitBytes,
			query{`process_resident_memory_bytes{` + here + `} and on (instance, job) raytap_build_info`, "{{instance}}"}))
}
