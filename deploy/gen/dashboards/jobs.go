package dashboards

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/logs"
	"github.com/grafana/grafana-foundation-sdk/go/loki"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// selectedJobs matches the jobs selected by the variables.
const selectedJobs = `ray_cluster=~"$ray_cluster", submission_id=~"$submission_id"`

func jobs() *dashboard.DashboardBuilder {
	return newDashboard("raytap-jobs", "Ray: jobs", "Status of jobs, and their log lines.").
		WithVariable(clusterVariable()).
		WithVariable(labelVariable("submission_id", "Job", `raytap_job_info{ray_cluster=~"$ray_cluster"}`)).
		WithVariable(datasourceVariable("loki", "Loki", "loki")).
		WithPanel(number("Running", "", unitShort,
			`sum(max by (ray_cluster, type) (raytap_jobs{ray_cluster=~"$ray_cluster", status="RUNNING"}))`, steps(blue))).
		WithPanel(number("Pending", "", unitShort,
			`sum(max by (ray_cluster, type) (raytap_jobs{ray_cluster=~"$ray_cluster", status="PENDING"}))`, steps(green, 1.0, yellow))).
		WithPanel(number("Longest wait", "Longest time that a job has been PENDING.", unitSeconds,
			`max(raytap_job_pending_seconds{`+selectedJobs+`}) or vector(0)`, steps(green, 600.0, yellow, 1800.0, red))).
		WithPanel(number("Failed", "Failed jobs in the selected time range, as counted by raytap.", unitShort,
			`round(sum(max by (ray_cluster) (increase(raytap_jobs_finished_total{ray_cluster=~"$ray_cluster", status="FAILED"}[$__range]))))`, steps(green, 1.0, red))).
		WithPanel(number("Running on a dead node", "RUNNING jobs whose driver's node is dead. They may stay RUNNING indefinitely.", unitShort,
			`count(max by (ray_cluster, submission_id) (raytap_job_driver_node_dead{`+selectedJobs+`}) == 1) or vector(0)`, steps(green, 1.0, red))).
		WithPanel(number("Not shown", "Jobs beyond collector.jobs.max, without series of their own.", unitShort,
			`sum(max by (ray_cluster) (raytap_jobs_overflow{ray_cluster=~"$ray_cluster"}))`, steps(green, 1.0, yellow))).
		WithPanel(jobTable()).
		WithPanel(states("Status over time", "For the selected jobs.", codes(jobStatuses), jobCodes()).Height(10).NoValue("No jobs")).
		WithPanel(stack("Finished jobs", "Jobs that ended per interval, by final status, as counted by raytap.", unitShort,
			query{`round(sum by (status) (max by (ray_cluster, status) (increase(raytap_jobs_finished_total{ray_cluster=~"$ray_cluster"}[$__rate_interval]))))`, "{{status}}"}).
			DrawStyle(common.GraphDrawStyleBars).Interval("5m")).
		WithPanel(lines("Tasks", "Unfinished and failed tasks by job and state, top ten.", unitShort,
			query{`topk(10, sum by (ray_cluster, job_id, state) (max by (ray_cluster, job_id, state) (raytap_tasks{ray_cluster=~"$ray_cluster"})))`, "{{ray_cluster}} {{job_id}} {{state}}"}).NoValue("No tasks")).
		WithPanel(logs.NewPanelBuilder().Title("Log lines").
			Description("Log lines of the selected jobs, from Loki, with ray_cluster as a label and submission_id as structured metadata.").
			Datasource(lokiRef).Height(14).Span(24).
			ShowTime(true).WrapLogMessage(true).EnableLogDetails(true).SortOrder(common.LogsSortOrderDescending).DedupStrategy(common.LogsDedupStrategyNone).
			WithTarget(loki.NewDataqueryBuilder().RefId("A").Expr(lineQuery(`=~"$ray_cluster"`, `=~"$submission_id"`)).
				QueryType("range").MaxLines(1000)))
}

// jobCodes returns a query for the status of each job as a number.
func jobCodes() query {
	q := coded(jobStatuses, "ray_cluster, submission_id", "raytap_job_status", selectedJobs, "status")
	q.legend = "{{submission_id}}"
	return q
}

// lineQuery returns a LogQL query for the lines of jobs as deploy/pipelines stores them.
// Each argument is an operator and a value.
func lineQuery(cluster, job string) string {
	return "{ray_cluster" + cluster + "} | submission_id" + job
}

var variable = regexp.MustCompile(`%24%7B([\w.]+)%7D`)

// exploreURL returns the URL of Explore with the lines of the job of the same row.
func exploreURL() string {
	panes, _ := json.Marshal(map[string]any{"logs": map[string]any{ // cannot fail for strings and maps
		"datasource": "${loki}",
		"queries": []any{map[string]any{
			"refId": "A", "datasource": map[string]any{"type": "loki", "uid": "${loki}"},
			"expr": lineQuery(`="${__data.fields.Cluster}"`, `="${__data.fields.Job}"`),
		}},
		"range": map[string]any{"from": "${__from}", "to": "${__to}"},
	}})
	// ${...} must not be escaped: Grafana replaces it.
	escaped := strings.ReplaceAll(url.QueryEscape(string(panes)), "+", "%20")
	return "/explore?schemaVersion=1&orgId=1&panes=" + variable.ReplaceAllString(escaped, "$${${1}}")
}

func jobTable() *table.PanelBuilder {
	by := func(labels, expr string) string {
		return "max by (ray_cluster, submission_id" + labels + ") (" + expr + ")"
	}
	of := func(metric string) string { return by("", metric+"{"+selectedJobs+"}") }
	submitted, ended := of("raytap_job_submit_timestamp_seconds"), of("raytap_job_end_timestamp_seconds")
	running := by("", "raytap_job_status{"+selectedJobs+`, status=~"PENDING|RUNNING"} == 1`)
	return grid("Jobs", "Jobs that have not ended, and those that ended within collector.jobs.retention. A job's id links to its lines.",
		column{title: "Job", label: "submission_id", props: []dashboard.DynamicConfigValue{links(
			map[string]any{"title": "Log lines in Explore", "url": exploreURL()},
			map[string]any{"title": "Show only this job", "url": dashboardURL("raytap-jobs") + "&var-submission_id=${__data.fields.Job}"},
		)}},
		column{title: "Status", expr: jobCodes().expr, props: badge(codes(jobStatuses))},
		column{title: "Name", label: "job_name"},
		column{expr: by(", job_name, type", "raytap_job_info{"+selectedJobs+"}")},
		column{title: "Submitted", expr: submitted + " * 1000", props: dateTime()},
		column{title: "Ended", expr: ended + " * 1000", props: dateTime()},
		column{title: "Duration", expr: "(" + ended + " or time() * (" + running + ")) - " + submitted, props: []dashboard.DynamicConfigValue{unit(unitSeconds)}},
		column{title: "Exit code", expr: of("raytap_job_driver_exit_code"), props: warn(1, red)},
		column{title: "Error", label: "error_type"},
		column{expr: by(", error_type", "raytap_job_error_info{"+selectedJobs+"}")},
		column{title: "Type", label: "type"},
		column{title: "Cluster", label: "ray_cluster"},
	).Height(12)
}
