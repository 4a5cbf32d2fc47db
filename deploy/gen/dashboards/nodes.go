package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// selectedNodes matches the nodes selected by the variables.
const selectedNodes = `ray_cluster=~"$ray_cluster", node_id=~"$node_id"`

func nodes() *dashboard.DashboardBuilder {
	b := newDashboard("raytap-nodes", "Ray: nodes", "Nodes, their usage, and which of them died.").
		WithVariable(clusterVariable()).
		WithVariable(queryVariable("node_id", "Node", `query_result(raytap_node_info{ray_cluster=~"$ray_cluster"})`).
			Regex(`/node_id="(?<value>[^"]+)".*node_ip="(?<text>[^"]+)"/`)).
		WithPanel(number("Alive", "", unitShort,
			`sum(max by (ray_cluster) (raytap_nodes{ray_cluster=~"$ray_cluster", state="ALIVE"}))`, steps(blue))).
		WithPanel(number("Died unexpectedly", "Dead nodes that Ray lists, except those that were terminated on purpose.", unitShort,
			`sum(max by (ray_cluster, reason) (raytap_nodes_dead{ray_cluster=~"$ray_cluster", reason=~"UNEXPECTED_TERMINATION|UNSPECIFIED"}))`, steps(green, 1.0, red))).
		WithPanel(number("Without stats", "Live nodes whose agent has not reported stats for a minute.", unitShort,
			`count((max by (ray_cluster, node_id) (raytap_node_state{`+selectedNodes+`, state="ALIVE"}) == 1) unless max by (ray_cluster, node_id) (raytap_node_stats_timestamp_seconds{`+selectedNodes+`})) or vector(0)`, steps(green, 1.0, yellow))).
		WithPanel(number("Highest CPU usage", "", unitRatio, `max(raytap_node_cpu_usage_ratio{`+selectedNodes+`})`, steps(green, 0.9, yellow))).
		WithPanel(number("Highest memory usage", "By default, Ray kills workers at 95 %.", unitRatio,
			`max(`+ratio("raytap_node_memory_used_bytes", "raytap_node_memory_bytes", "")+`)`, steps(green, 0.8, yellow, 0.95, red))).
		WithPanel(number("Highest disk usage", "By node and mounted file system.", unitRatio,
			`max(`+ratio("raytap_node_disk_used_bytes", "raytap_node_disk_bytes", ", mount")+`)`, steps(green, 0.8, yellow, 0.95, red))).
		WithPanel(nodeTable()).
		WithPanel(share("CPU", "CPU usage of the node.", 0.9, query{withName(`max by (ray_cluster, node_id) (raytap_node_cpu_usage_ratio{` + selectedNodes + `})`), nodeLegend})).
		WithPanel(share("Memory", "", 0.95, query{withName(ratio("raytap_node_memory_used_bytes", "raytap_node_memory_bytes", "")), nodeLegend})).
		WithPanel(share("Object store", "Shared memory for objects. Objects that do not fit are spilled to disk.", 0.9, query{withName(
			`max by (ray_cluster, node_id) (raytap_node_object_store_used_bytes{` + selectedNodes + `} / (raytap_node_object_store_used_bytes{` + selectedNodes + `} + raytap_node_object_store_available_bytes{` + selectedNodes + `}))`), nodeLegend})).
		WithPanel(share("Disk", "By mounted file system.", 0.95, query{withName(ratio("raytap_node_disk_used_bytes", "raytap_node_disk_bytes", ", mount")), nodeLegend + " {{mount}}"})).
		WithPanel(share("GPU", "Share of time that each GPU is busy.", 0.99, query{withName(`max by (ray_cluster, node_id, gpu) (raytap_node_gpu_usage_ratio{` + selectedNodes + `})`), nodeLegend + " GPU {{gpu}}"}).NoValue(noGPU)).
		WithPanel(share("GPU memory", "", 0.95, query{withName(ratio("raytap_node_gpu_memory_used_bytes", "raytap_node_gpu_memory_bytes", ", gpu")), nodeLegend + " GPU {{gpu}}"}).NoValue(noGPU)).
		WithPanel(lines("Network", "Sent (above the axis) and received (below), on interfaces whose name begins with e.", unitRate,
			query{withName(`max by (ray_cluster, node_id) (rate(raytap_node_network_transmit_bytes_total{` + selectedNodes + `}[$__rate_interval]))`), nodeLegend + " sent"},
			query{"-" + withName(`max by (ray_cluster, node_id) (rate(raytap_node_network_receive_bytes_total{`+selectedNodes+`}[$__rate_interval]))`), nodeLegend + " received"})).
		WithPanel(stack("Dead nodes", "Dead nodes that Ray lists, by reason. Ray removes them after some time.", unitShort,
			query{`sum by (reason) (max by (ray_cluster, reason) (raytap_nodes_dead{ray_cluster=~"$ray_cluster"})) > 0`, "{{reason}}"}).NoValue("No node has died"))
	return hardware(b)
}

// hardware adds the metrics that only a Synapse agent reports.
func hardware(b *dashboard.DashboardBuilder) *dashboard.DashboardBuilder {
	const legend = "{{ray_cluster}} {{host}}"
	named := func(expr string) string {
		return expr + ` * on (ray_cluster, node_id) group_left (host) max by (ray_cluster, node_id, host) (raytap_hardware_node_info{` + selectedNodes + `})`
	}
	return b.
		WithRow(dashboard.NewRowBuilder("Hardware (Synapse agents)")).
		WithPanel(share("CPU cores", "In use, as counted by the agent.", 0.95,
			query{named(ratio("raytap_hardware_node_cpus_used", "raytap_hardware_node_cpus", "")), legend}).NoValue(noAgent)).
		WithPanel(share("Memory (agent)", "In use, as counted by the agent.", 0.95,
			query{named(ratio("raytap_hardware_node_memory_used_bytes", "raytap_hardware_node_memory_bytes", "")), legend}).NoValue(noAgent)).
		WithPanel(share("GPU (agent)", "Share of time that each GPU is busy.", 0.99,
			query{named("max by (ray_cluster, node_id, gpu) (raytap_hardware_node_gpu_usage_ratio{" + selectedNodes + "})"), legend + " GPU {{gpu}}"}).NoValue(noAgent)).
		WithPanel(share("GPU memory (agent)", "", 0.95,
			query{named(ratio("raytap_hardware_node_gpu_memory_used_bytes", "raytap_hardware_node_gpu_memory_bytes", ", gpu")), legend + " GPU {{gpu}}"}).NoValue(noAgent))
}

// nodeLegend identifies a node. Ray's default for its name is its address.
const nodeLegend = "{{ray_cluster}} {{node_name}}"

const (
	noGPU   = "No GPU stats"
	noAgent = "No cluster with a Synapse agent"
)

// ratio returns a query for the ratio of two metrics of the selected nodes; more are
// labels in addition to the node's.
func ratio(part, whole, more string) string {
	return fmt.Sprintf("max by (ray_cluster, node_id%s) (%s{%s} / (%s{%s} > 0))", more, part, selectedNodes, whole, selectedNodes)
}

// withName adds the node's name to the series of a query.
func withName(expr string) string {
	return expr + ` * on (ray_cluster, node_id) group_left (node_name) max by (ray_cluster, node_id, node_name) (raytap_node_info{` + selectedNodes + `})`
}

func nodeTable() *table.PanelBuilder {
	of := func(metric, more string) string {
		return "max by (ray_cluster, node_id) (" + metric + "{" + selectedNodes + more + "})"
	}
	return grid("Nodes", "Dead nodes are shown for collector.jobs.retention after their death.",
		column{title: "Address", label: "node_ip"},
		column{title: "Name", label: "node_name"},
		column{title: "State", expr: of("raytap_node_state", `, state="ALIVE"`), props: badge(mapping(valueText{"1", "alive", green}, valueText{"0", "dead", red}))},
		column{expr: "max by (ray_cluster, node_id, node_ip, node_name, is_head) (raytap_node_info{" + selectedNodes + "})"},
		column{title: "Head", label: "is_head"},
		column{title: "CPU", expr: of("raytap_node_cpu_usage_ratio", ""), props: bar(0.9)},
		column{title: "Memory", expr: ratio("raytap_node_memory_used_bytes", "raytap_node_memory_bytes", ""), props: bar(0.95)},
		column{title: "Disk", expr: "max by (ray_cluster, node_id) (" + ratio("raytap_node_disk_used_bytes", "raytap_node_disk_bytes", ", mount") + ")", props: bar(0.95)},
		column{title: "CPUs used", expr: of("raytap_node_resources_used", `, resource="CPU"`)},
		column{title: "CPUs total", expr: of("raytap_node_resources", `, resource="CPU"`)},
		column{title: "Workers", expr: of("raytap_node_workers", "")},
		column{title: "Joined", expr: of("raytap_node_start_timestamp_seconds", "") + " * 1000", props: dateTime()},
		column{title: "Died", expr: of("raytap_node_end_timestamp_seconds", "") + " * 1000", props: dateTime()},
		column{title: "Reason", label: "reason"},
		column{expr: "max by (ray_cluster, node_id, reason) (raytap_node_death_info{" + selectedNodes + "})"},
		column{title: "Cluster", label: "ray_cluster"},
		column{title: "ID", label: "node_id"},
	).Height(10)
}
