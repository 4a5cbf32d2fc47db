package boards

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// pathTo is the address of another dashboard for the cluster of the same row.
func pathTo(uid string) string {
	return "/d/" + uid + "?var-ray_cluster=${__data.fields.Cluster}&${datasource:queryparam}&${__url_time_range}"
}

func clusters() *dashboard.DashboardBuilder {
	return board("raytap-clusters", "Ray: clusters", "Which clusters answer, what runs on them, and what waits.").
		WithVariable(byCluster()).
		WithPanel(number("Clusters up", "Clusters that answered raytap at the last scrape.", unitShort,
			`sum(max by (ray_cluster) (raytap_up{ray_cluster=~"$ray_cluster"}))`, steps(green))).
		WithPanel(number("Clusters down", "Clusters that do not answer: none of their values is shown.", unitShort,
			`sum(1 - max by (ray_cluster) (raytap_up{ray_cluster=~"$ray_cluster"}))`, steps(green, 1.0, red))).
		WithPanel(number("Nodes alive", "", unitShort,
			`sum(max by (ray_cluster) (raytap_nodes{ray_cluster=~"$ray_cluster", state="ALIVE"}))`, steps(blue))).
		WithPanel(number("Jobs running", "Submissions, and drivers that connected by themselves.", unitShort,
			`sum(max by (ray_cluster, type) (raytap_jobs{ray_cluster=~"$ray_cluster", status="RUNNING"}))`, steps(blue))).
		WithPanel(number("Jobs failed", "Failures within the dashboard's time range, as raytap counted them.", unitShort,
			`round(sum(max by (ray_cluster) (increase(raytap_jobs_finished_total{ray_cluster=~"$ray_cluster", status="FAILED"}[$__range]))))`,
			steps(green, 1.0, red))).
		WithPanel(number("Resources waited for", "How many resources of how many clusters something waits for. Empty where no cluster tells.", unitShort,
			`sum(max by (ray_cluster, resource) (raytap_pending_demand{ray_cluster=~"$ray_cluster"}) > bool 0)`,
			steps(green, 1.0, yellow))).
		WithPanel(clusterTable()).
		WithPanel(states("Clusters", "Whether each cluster answered.", upDown,
			query{`max by (ray_cluster) (raytap_up{ray_cluster=~"$ray_cluster"})`, "{{ray_cluster}}"}).Height(5)).
		WithPanel(share("CPUs in use", "Logical CPUs that tasks and actors hold, of those that the nodes have.", 0.95,
			query{used("CPU"), "{{ray_cluster}}"})).
		WithPanel(share("GPUs in use", "Logical GPUs that tasks and actors hold, of those that the nodes have.", 0.95,
			query{used("GPU"), "{{ray_cluster}}"}).NoValue("No GPUs")).
		WithPanel(lines("Waiting demand", "What pending tasks, actors and placement groups wait for. Memory is left out.", unitShort,
			query{`sum by (ray_cluster, resource) (max by (ray_cluster, resource) (raytap_pending_demand{ray_cluster=~"$ray_cluster", resource!~".*memory"}) + max by (ray_cluster, resource) (raytap_pending_placement_group_demand{ray_cluster=~"$ray_cluster", resource!~".*memory"})) > 0`,
				"{{ray_cluster}} {{resource}}"}).NoValue("Nothing waits")).
		WithPanel(stack("Unfinished tasks", "By state; exact also where Ray cuts its lists. Finished ones are not counted.", unitShort,
			query{`sum by (state) (max by (ray_cluster, state) (raytap_tasks_by_state{ray_cluster=~"$ray_cluster"})) > 0`, "{{state}}"}).NoValue("No unfinished tasks")).
		WithPanel(stack("Jobs", "Submissions that have not ended.", unitShort,
			query{`sum by (ray_cluster, status) (max by (ray_cluster, status) (raytap_jobs{ray_cluster=~"$ray_cluster", type="SUBMISSION", status=~"PENDING|RUNNING"}))`, "{{ray_cluster}} {{status}}"})).
		WithPanel(stack("Nodes", "Nodes that are alive.", unitShort,
			query{`max by (ray_cluster) (raytap_nodes{ray_cluster=~"$ray_cluster", state="ALIVE"})`, "{{ray_cluster}}"}))
}

// used is the share of a logical resource that is held, by cluster.
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
	return grid("What each cluster does", "A row leads to the cluster's jobs.",
		column{title: "Cluster", label: "ray_cluster", props: []dashboard.DynamicConfigValue{links(
			map[string]any{"title": "Jobs", "url": pathTo("raytap-jobs")},
			map[string]any{"title": "Nodes", "url": pathTo("raytap-nodes")},
			map[string]any{"title": "Serve", "url": pathTo("raytap-serve")},
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
