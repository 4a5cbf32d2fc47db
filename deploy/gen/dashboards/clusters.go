package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// dashboardURL returns the URL of another dashboard, for the cluster of the same row.
func dashboardURL(uid string) string {
	return "/d/" + uid + "?var-ray_cluster=${__data.fields.Cluster}&${datasource:queryparam}&${__url_time_range}"
}

func clusters() *dashboard.DashboardBuilder {
	return newDashboard("raytap-clusters", "Ray: clusters", "Which clusters are up, what runs on them, and pending demand.").
		WithVariable(clusterVariable()).
		WithPanel(number("Clusters up", "Clusters that answered raytap in the last scrape.", unitShort,
			`sum(max by (ray_cluster) (raytap_up{ray_cluster=~"$ray_cluster"}))`, steps(green))).
		WithPanel(number("Clusters down", "Clusters that do not answer. Their other metrics are absent.", unitShort,
			`sum(1 - max by (ray_cluster) (raytap_up{ray_cluster=~"$ray_cluster"}))`, steps(green, 1.0, red))).
		WithPanel(number("Nodes alive", "", unitShort,
			`sum(max by (ray_cluster) (raytap_nodes{ray_cluster=~"$ray_cluster", state="ALIVE"}))`, steps(blue))).
		WithPanel(number("Jobs running", "Submissions, and drivers that connected without one.", unitShort,
			`sum(max by (ray_cluster, type) (raytap_jobs{ray_cluster=~"$ray_cluster", status="RUNNING"}))`, steps(blue))).
		WithPanel(number("Jobs failed", "Failed jobs in the selected time range, as counted by raytap.", unitShort,
			`round(sum(max by (ray_cluster) (increase(raytap_jobs_finished_total{ray_cluster=~"$ray_cluster", status="FAILED"}[$__range]))))`,
			steps(green, 1.0, red))).
		WithPanel(number("Pending resources", "Number of resources with pending demand, over all clusters. Empty if no cluster has a status.", unitShort,
			`sum(max by (ray_cluster, resource) (raytap_pending_demand{ray_cluster=~"$ray_cluster"}) > bool 0)`,
			steps(green, 1.0, yellow))).
		WithPanel(clusterTable()).
		WithPanel(states("Clusters", "Whether each cluster was up.", upDown,
			query{`max by (ray_cluster) (raytap_up{ray_cluster=~"$ray_cluster"})`, "{{ray_cluster}}"}).Height(5)).
		WithPanel(share("CPUs in use", "Share of the nodes' logical CPUs that tasks and actors hold.", 0.95,
			query{used("CPU"), "{{ray_cluster}}"})).
		WithPanel(share("GPUs in use", "Share of the nodes' logical GPUs that tasks and actors hold.", 0.95,
			query{used("GPU"), "{{ray_cluster}}"}).NoValue("No GPUs")).
		WithPanel(lines("Pending demand", "Resources requested by pending tasks, actors and placement groups, except memory.", unitShort,
			query{`sum by (ray_cluster, resource) (max by (ray_cluster, resource) (raytap_pending_demand{ray_cluster=~"$ray_cluster", resource!~".*memory"}) + max by (ray_cluster, resource) (raytap_pending_placement_group_demand{ray_cluster=~"$ray_cluster", resource!~".*memory"})) > 0`,
				"{{ray_cluster}} {{resource}}"}).NoValue("No pending demand")).
		WithPanel(stack("Unfinished tasks", "By state. Exact even if Ray truncates its lists. Finished tasks are not counted.", unitShort,
			query{`sum by (state) (max by (ray_cluster, state) (raytap_tasks_by_state{ray_cluster=~"$ray_cluster"})) > 0`, "{{state}}"}).NoValue("No unfinished tasks")).
		WithPanel(stack("Jobs", "Submissions that are pending or running.", unitShort,
			query{`sum by (ray_cluster, status) (max by (ray_cluster, status) (raytap_jobs{ray_cluster=~"$ray_cluster", type="SUBMISSION", status=~"PENDING|RUNNING"}))`, "{{ray_cluster}} {{status}}"})).
		WithPanel(stack("Nodes", "Live nodes.", unitShort,
			query{`max by (ray_cluster) (raytap_nodes{ray_cluster=~"$ray_cluster", state="ALIVE"})`, "{{ray_cluster}}"}))
}

// used returns a query for the share of a logical resource that is in use, by cluster.
func used(resource string) string {
	of := func(metric string) string {
		return `max by (ray_cluster) (` + metric + `{ray_cluster=~"$ray_cluster", resource="` + resource + `"})`
	}
	return of("raytap_cluster_resources_used") + " / (" + of("raytap_cluster_resources") + " > 0)"
}

func clusterTable() *table.PanelBuilder {
	count := func(metric, selector string) string {
		return `sum by (ray_cluster) (max by (ray_cluster, type) (` + metric + `{ray_cluster=~"$ray_cluster", ` + selector + `}))`
	}
	return grid("Clusters", "The cluster's name links to its jobs, nodes and Serve.",
		column{title: "Cluster", label: "ray_cluster", props: []dashboard.DynamicConfigValue{links(
			map[string]any{"title": "Jobs", "url": dashboardURL("raytap-jobs")},
			map[string]any{"title": "Nodes", "url": dashboardURL("raytap-nodes")},
			map[string]any{"title": "Serve", "url": dashboardURL("raytap-serve")},
		)}},
		column{title: "State", expr: `max by (ray_cluster) (raytap_up{ray_cluster=~"$ray_cluster"})`, props: badge(upDown)},
		column{expr: `max by (ray_cluster, ray_version, session) (raytap_cluster_info{ray_cluster=~"$ray_cluster"})`},
		column{title: "Ray", label: "ray_version"},
		column{title: "Nodes", expr: `max by (ray_cluster) (raytap_nodes{ray_cluster=~"$ray_cluster", state="ALIVE"})`},
		column{title: "Running", expr: count("raytap_jobs", `status="RUNNING"`)},
		column{title: "Pending", expr: count("raytap_jobs", `status="PENDING"`), props: warn(1, yellow)},
		column{title: "Failed", expr: `round(max by (ray_cluster) (increase(raytap_jobs_finished_total{ray_cluster=~"$ray_cluster", status="FAILED"}[$__range])))`, props: warn(1, red)},
		column{title: "CPU", expr: used("CPU"), props: bar(0.95)},
		column{title: "GPU", expr: used("GPU"), props: bar(0.95)},
		column{title: "Memory", expr: used("memory"), props: bar(0.95)},
		column{title: "Session", label: "session"},
	)
}
