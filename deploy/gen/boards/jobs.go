package boards

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

// chosen selects the jobs that the variables name.
const chosen = `ray_cluster=~"$ray_cluster", submission_id=~"$submission_id"`

func jobs() *dashboard.DashboardBuilder {
	return board("raytap-jobs", "Ray: jobs", "How jobs fare, and the lines that they print.").
		WithVariable(byCluster()).
		WithVariable(values("submission_id", "Job", `raytap_job_info{ray_cluster=~"$ray_cluster"}`)).
		WithVariable(source("loki", "Loki", "loki")).
		WithPanel(number("Running", "", unitShort,
			`sum(max by (ray_cluster, type) (raytap_jobs{ray_cluster=~"$ray_cluster", status="RUNNING"}))`, steps(blue))).
		WithPanel(number("Pending", "", unitShort,
			`sum(max by (ray_cluster, type) (raytap_jobs{ray_cluster=~"$ray_cluster", status="PENDING"}))`, steps(green, 1.0, yellow))).
		WithPanel(number("Longest wait", "Of the jobs that are PENDING now, the one that has waited longest.", unitSeconds,
			`max(raytap_job_pending_seconds{`+chosen+`}) or vector(0)`, steps(green, 600.0, yellow, 1800.0, red))).
		WithPanel(number("Failed", "Failures within the dashboard's time range, as raytap counted them.", unitShort,
			`round(sum(max by (ray_cluster) (increase(raytap_jobs_finished_total{ray_cluster=~"$ray_cluster", status="FAILED"}[$__range]))))`, steps(green, 1.0, red))).
		WithPanel(number("Running on a dead node", "RUNNING jobs whose driver's node is dead. They may stay so for ever.", unitShort,
			`count(max by (ray_cluster, submission_id) (raytap_job_driver_node_dead{`+chosen+`}) == 1) or vector(0)`, steps(green, 1.0, red))).
		WithPanel(number("Not shown", "Jobs beyond collector.jobs.max: they have no series of their own.", unitShort,
			`sum(max by (ray_cluster) (raytap_jobs_overflow{ray_cluster=~"$ray_cluster"}))`, steps(green, 1.0, yellow))).
		WithPanel(jobTable()).
		WithPanel(states("Status over time", "Of the jobs chosen above.", codes(jobStatuses), jobCodes()).Height(10).NoValue("No jobs")).
		WithPanel(stack("Ended", "Ends of jobs per interval, as raytap counted them.", unitShort,
			query{`round(sum by (status) (max by (ray_cluster, status) (increase(raytap_jobs_finished_total{ray_cluster=~"$ray_cluster"}[$__rate_interval]))))`, "{{status}}"}).
			DrawStyle(common.GraphDrawStyleBars).Interval("5m")).
		WithPanel(lines("Tasks", "Unfinished and failed tasks by the job that they belong to, the ten largest.", unitShort,
			query{`topk(10, sum by (ray_cluster, job_id, state) (max by (ray_cluster, job_id, state) (raytap_tasks{ray_cluster=~"$ray_cluster"})))`, "{{ray_cluster}} {{job_id}} {{state}}"}).NoValue("No tasks")).
		WithPanel(logs.NewPanelBuilder().Title("Lines").
			Description("What the chosen jobs print, from Loki, with ray_cluster as a label and submission_id as structured metadata.").
			Datasource(lokiRef).Height(14).Span(24).
			ShowTime(true).WrapLogMessage(true).EnableLogDetails(true).SortOrder(common.LogsSortOrderDescending).DedupStrategy(common.LogsDedupStrategyNone).
			WithTarget(loki.NewDataqueryBuilder().RefId("A").Expr(lineQuery(`=~"$ray_cluster"`, `=~"$submission_id"`)).
				QueryType("range").MaxLines(1000)))
}

// jobCodes is the status of each job as a number.
func jobCodes() query {
	q := coded(jobStatuses, "ray_cluster, submission_id", "raytap_job_status", chosen, "status")
	q.legend = "{{submission_id}}"
	return q
}

// lineQuery asks Loki for the lines of jobs as deploy/pipelines puts them there.
// Each argument is an operator and a value.
func lineQuery(cluster, job string) string {
	return "{ray_cluster" + cluster + "} | submission_id" + job
}

var variable = regexp.MustCompile(`%24%7B([\w.]+)%7D`)

// explore is the address of Loki's lines of the job of the same row.
func explore() string {
	panes, _ := json.Marshal(map[string]any{"logs": map[string]any{ // strings and maps always encode
		"datasource": "${loki}",
		"queries": []any{map[string]any{
			"refId": "A", "datasource": map[string]any{"type": "loki", "uid": "${loki}"},
			"expr": lineQuery(`="${__data.fields.Cluster}"`, `="${__data.fields.Job}"`),
		}},
		"range": map[string]any{"from": "${__from}", "to": "${__to}"},
	}})
	// Grafana fills in ${...}, which must therefore not be escaped.
	escaped := strings.ReplaceAll(url.QueryEscape(string(panes)), "+", "%20")
	return "/explore?schemaVersion=1&orgId=1&panes=" + variable.ReplaceAllString(escaped, "$${${1}}")
}

func jobTable() *table.PanelBuilder {
	by := func(labels, expr string) string {
		return "max by (ray_cluster, submission_id" + labels + ") (" + expr + ")"
	}
	of := func(metric string) string { return by("", metric+"{"+chosen+"}") }
	submitted, ended := of("raytap_job_submit_timestamp_seconds"), of("raytap_job_end_timestamp_seconds")
	running := by("", "raytap_job_status{"+chosen+`, status=~"PENDING|RUNNING"} == 1`)
	return grid("Jobs", "Those that have not ended, and those that ended within collector.jobs.retention. A job leads to its lines.",
		column{title: "Job", label: "submission_id", props: []dashboard.DynamicConfigValue{links(
			map[string]any{"title": "Lines in Explore", "url": explore()},
			map[string]any{"title": "This job alone", "url": pathTo("raytap-jobs") + "&var-submission_id=${__data.fields.Job}"},
		)}},
		column{title: "Status", expr: jobCodes().expr, props: badge(codes(jobStatuses))},
		column{title: "Name", label: "job_name"},
		column{expr: by(", job_name, type", "raytap_job_info{"+chosen+"}")},
		column{title: "Submitted", expr: submitted + " * 1000", props: moment()},
		column{title: "Ended", expr: ended + " * 1000", props: moment()},
		column{title: "Took", expr: "(" + ended + " or time() * (" + running + ")) - " + submitted, props: []dashboard.DynamicConfigValue{unit(unitSeconds)}},
		column{title: "Exit code", expr: of("raytap_job_driver_exit_code"), props: warn(1, red)},
		column{title: "Error", label: "error_type"},
		column{expr: by(", error_type", "raytap_job_error_info{"+chosen+"}")},
		column{title: "Type", label: "type"},
		column{title: "Cluster", label: "ray_cluster"},
	).Height(12)
}
