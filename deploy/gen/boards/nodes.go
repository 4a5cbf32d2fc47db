package boards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// picked selects the nodes that the variables name.
const picked = `ray_cluster=~"$ray_cluster", node_id=~"$node_id"`

func nodes() *dashboard.DashboardBuilder {
	b := board("raytap-nodes", "Ray: nodes", "The nodes of clusters, what their agents read, and which of them died.").
		WithVariable(byCluster()).
		WithVariable(named("node_id", "Node", `query_result(raytap_node_info{ray_cluster=~"$ray_cluster"})`).
			Regex(`/node_id="(?<value>[^"]+)".*node_ip="(?<text>[^"]+)"/`)).
		WithPanel(number("Alive", "", unitShort,
			`sum(max by (ray_cluster) (raytap_nodes{ray_cluster=~"$ray_cluster", state="ALIVE"}))`, steps(blue))).
		WithPanel(number("Died unexpectedly", "Nodes that Ray lists as dead for a reason that nobody asked for.", unitShort,
			`sum(max by (ray_cluster, reason) (raytap_nodes_dead{ray_cluster=~"$ray_cluster", reason=~"UNEXPECTED_TERMINATION|UNSPECIFIED"}))`, steps(green, 1.0, red))).
		WithPanel(number("Without readings", "Live nodes whose agent has told nothing for a minute.", unitShort,
			`count((max by (ray_cluster, node_id) (raytap_node_state{`+picked+`, state="ALIVE"}) == 1) unless max by (ray_cluster, node_id) (raytap_node_stats_timestamp_seconds{`+picked+`})) or vector(0)`, steps(green, 1.0, yellow))).
		WithPanel(number("Busiest CPU", "", unitRatio, `max(raytap_node_cpu_usage_ratio{`+picked+`})`, steps(green, 0.9, yellow))).
		WithPanel(number("Fullest memory", "Ray kills workers from 95 % on, by default.", unitRatio,
			`max(`+ratio("raytap_node_memory_used_bytes", "raytap_node_memory_bytes", "")+`)`, steps(green, 0.8, yellow, 0.95, red))).
		WithPanel(number("Fullest disk", "By node and mounted file system.", unitRatio,
			`max(`+ratio("raytap_node_disk_used_bytes", "raytap_node_disk_bytes", ", mount")+`)`, steps(green, 0.8, yellow, 0.95, red))).
		WithPanel(nodeTable()).
		WithPanel(share("CPU", "Share of all logical CPUs of the node that is busy.", 0.9, query{withName(`max by (ray_cluster, node_id) (raytap_node_cpu_usage_ratio{` + picked + `})`), nodeLegend})).
		WithPanel(share("Memory", "", 0.95, query{withName(ratio("raytap_node_memory_used_bytes", "raytap_node_memory_bytes", "")), nodeLegend})).
		WithPanel(share("Object store", "Shared memory for objects; beyond it they are spilled to disk.", 0.9, query{withName(
			`max by (ray_cluster, node_id) (raytap_node_object_store_used_bytes{` + picked + `} / (raytap_node_object_store_used_bytes{` + picked + `} + raytap_node_object_store_available_bytes{` + picked + `}))`), nodeLegend})).
		WithPanel(share("Disk", "By mounted file system.", 0.95, query{withName(ratio("raytap_node_disk_used_bytes", "raytap_node_disk_bytes", ", mount")), nodeLegend + " {{mount}}"})).
		WithPanel(share("GPU", "Share of time that each GPU is busy.", 0.99, query{withName(`max by (ray_cluster, node_id, gpu) (raytap_node_gpu_usage_ratio{` + picked + `})`), nodeLegend + " GPU {{gpu}}"}).NoValue(noGPU)).
		WithPanel(share("GPU memory", "", 0.95, query{withName(ratio("raytap_node_gpu_memory_used_bytes", "raytap_node_gpu_memory_bytes", ", gpu")), nodeLegend + " GPU {{gpu}}"}).NoValue(noGPU)).
		WithPanel(lines("Network", "Sent, and below the axis received, by interfaces whose name begins with e.", unitRate,
			query{withName(`max by (ray_cluster, node_id) (rate(raytap_node_network_transmit_bytes_total{` + picked + `}[$__rate_interval]))`), nodeLegend + " sent"},
			query{"-" + withName(`max by (ray_cluster, node_id) (rate(raytap_node_network_receive_bytes_total{`+picked+`}[$__rate_interval]))`), nodeLegend + " received"})).
		WithPanel(stack("Dead nodes", "That Ray lists, by the reason of their death. It forgets them after a while.", unitShort,
			query{`sum by (reason) (max by (ray_cluster, reason) (raytap_nodes_dead{ray_cluster=~"$ray_cluster"})) > 0`, "{{reason}}"}).NoValue("No node has died"))
	return hardware(b)
}

// hardware adds what only an agent tells.
func hardware(b *dashboard.DashboardBuilder) *dashboard.DashboardBuilder {
	const legend = "{{ray_cluster}} {{host}}"
	named := func(expr string) string {
		return expr + ` * on (ray_cluster, node_id) group_left (host) max by (ray_cluster, node_id, host) (raytap_hardware_node_info{` + picked + `})`
	}
	return b.
		WithRow(dashboard.NewRowBuilder("Clusters that an agent watches")).
		WithPanel(share("CPU cores", "In use, as the agent counts it.", 0.95,
			query{named(ratio("raytap_hardware_node_cpus_used", "raytap_hardware_node_cpus", "")), legend}).NoValue(noAgent)).
		WithPanel(share("Memory, by the agent", "In use, as the agent counts it.", 0.95,
			query{named(ratio("raytap_hardware_node_memory_used_bytes", "raytap_hardware_node_memory_bytes", "")), legend}).NoValue(noAgent)).
		WithPanel(share("GPU, by the agent", "Share of time that each GPU is busy.", 0.99,
			query{named("max by (ray_cluster, node_id, gpu) (raytap_hardware_node_gpu_usage_ratio{" + picked + "})"), legend + " GPU {{gpu}}"}).NoValue(noAgent)).
		WithPanel(share("GPU memory, by the agent", "", 0.95,
			query{named(ratio("raytap_hardware_node_gpu_memory_used_bytes", "raytap_hardware_node_gpu_memory_bytes", ", gpu")), legend + " GPU {{gpu}}"}).NoValue(noAgent))
}

// nodeLegend names a node. Ray's name of it is its address, unless it was given one.
const nodeLegend = "{{ray_cluster}} {{node_name}}"

const (
	noGPU   = "No GPU is read"
	noAgent = "No agent watches these clusters"
)

// ratio divides two readings of the nodes chosen; more are labels beside the node's.
func ratio(part, whole, more string) string {
	return fmt.Sprintf("max by (ray_cluster, node_id%s) (%s{%s} / (%s{%s} > 0))", more, part, picked, whole, picked)
}

// withName gives the series of a node its names.
func withName(expr string) string {
	return expr + ` * on (ray_cluster, node_id) group_left (node_name) max by (ray_cluster, node_id, node_name) (raytap_node_info{` + picked + `})`
}

func nodeTable() *table.PanelBuilder {
	of := func(metric, more string) string {
		return "max by (ray_cluster, node_id) (" + metric + "{" + picked + more + "})"
	}
	return grid("Nodes", "Dead ones stay for collector.jobs.retention after their end.",
		column{title: "Address", label: "node_ip"},
		column{title: "Name", label: "node_name"},
		column{title: "State", expr: of("raytap_node_state", `, state="ALIVE"`), props: badge(mapping(shown{"1", "alive", green}, shown{"0", "dead", red}))},
		column{expr: "max by (ray_cluster, node_id, node_ip, node_name, is_head) (raytap_node_info{" + picked + "})"},
		column{title: "Head", label: "is_head"},
		column{title: "CPU", expr: of("raytap_node_cpu_usage_ratio", ""), props: bar(0.9)},
		column{title: "Memory", expr: ratio("raytap_node_memory_used_bytes", "raytap_node_memory_bytes", ""), props: bar(0.95)},
		column{title: "Disk", expr: "max by (ray_cluster, node_id) (" + ratio("raytap_node_disk_used_bytes", "raytap_node_disk_bytes", ", mount") + ")", props: bar(0.95)},
		column{title: "CPUs held", expr: of("raytap_node_resources_used", `, resource="CPU"`)},
		column{title: "of CPUs", expr: of("raytap_node_resources", `, resource="CPU"`)},
		column{title: "Workers", expr: of("raytap_node_workers", "")},
		column{title: "Joined", expr: of("raytap_node_start_timestamp_seconds", "") + " * 1000", props: moment()},
		column{title: "Died", expr: of("raytap_node_end_timestamp_seconds", "") + " * 1000", props: moment()},
		column{title: "Reason", label: "reason"},
		column{expr: "max by (ray_cluster, node_id, reason) (raytap_node_death_info{" + picked + "})"},
		column{title: "Cluster", label: "ray_cluster"},
		column{title: "Id", label: "node_id"},
	).Height(10)
}
