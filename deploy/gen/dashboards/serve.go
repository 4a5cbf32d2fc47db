package dashboards

import (
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// selectedApps matches the applications selected by the variables.
const selectedApps = `ray_cluster=~"$ray_cluster", application=~"$application"`

var (
	applicationStatuses = []valueText{
		{"NOT_STARTED", "NOT_STARTED", grey}, {"DEPLOYING", "DEPLOYING", blue}, {"DEPLOY_FAILED", "DEPLOY_FAILED", red},
		{"RUNNING", "RUNNING", green}, {"UNHEALTHY", "UNHEALTHY", red}, {"DELETING", "DELETING", grey},
	}
	deploymentStatuses = []valueText{
		{"UPDATING", "UPDATING", blue}, {"HEALTHY", "HEALTHY", green}, {"UNHEALTHY", "UNHEALTHY", red},
		{"DEPLOY_FAILED", "DEPLOY_FAILED", red}, {"UPSCALING", "UPSCALING", blue}, {"DOWNSCALING", "DOWNSCALING", blue},
	}
)

const (
	targets  = "max by (ray_cluster, application, deployment) (raytap_serve_deployment_target_replicas{" + selectedApps + "})"
	running  = "max by (ray_cluster, application, deployment) (raytap_serve_deployment_replicas{" + selectedApps + `, state="RUNNING"})`
	replicas = "max by (ray_cluster, application, deployment, state) (raytap_serve_deployment_replicas{" + selectedApps + "})"
)

const noServe = "No Serve applications"

func serve() *dashboard.DashboardBuilder {
	applications := coded(applicationStatuses, "ray_cluster, application", "raytap_serve_application_status", selectedApps, "status")
	applications.legend = "{{ray_cluster}} {{application}}"
	deployments := coded(deploymentStatuses, "ray_cluster, application, deployment", "raytap_serve_deployment_status", selectedApps, "status")
	deployments.legend = "{{ray_cluster}} {{application}} {{deployment}}"
	return newDashboard("raytap-serve", "Ray: Serve", "Status of Serve applications and deployments, and their replicas.").
		WithVariable(clusterVariable()).
		WithVariable(labelVariable("application", "Application", `raytap_serve_application_info{ray_cluster=~"$ray_cluster"}`)).
		WithPanel(number("Clusters with Serve", "", unitShort,
			`sum(max by (ray_cluster) (raytap_serve_running{ray_cluster=~"$ray_cluster"}))`, steps(blue))).
		WithPanel(number("Applications running", "", unitShort,
			`sum(max by (ray_cluster, application) (raytap_serve_application_status{`+selectedApps+`, status="RUNNING"}))`, steps(green))).
		WithPanel(number("Applications failing", "UNHEALTHY or DEPLOY_FAILED.", unitShort,
			`sum(max by (ray_cluster, application, status) (raytap_serve_application_status{`+selectedApps+`, status=~"UNHEALTHY|DEPLOY_FAILED"}))`, steps(green, 1.0, red))).
		WithPanel(number("Replicas missing", "Target replicas of deployments that do not run.", unitShort,
			"sum(clamp_min("+targets+" - "+running+", 0))", steps(green, 1.0, red))).
		WithPanel(number("Replicas that died", "Recently, as far as Serve keeps them (Ray 2.60 and later).", unitShort,
			"sum(max by (ray_cluster, application, deployment) (raytap_serve_deployment_recent_dead_replicas{"+selectedApps+"}))", steps(green, 1.0, yellow))).
		WithPanel(number("Proxies unhealthy", "", unitShort,
			`sum(max by (ray_cluster, node_id) (raytap_serve_proxy_status{ray_cluster=~"$ray_cluster", status="UNHEALTHY"}))`, steps(green, 1.0, red))).
		WithPanel(serveTable(deployments.expr)).
		WithPanel(states("Applications", "", codes(applicationStatuses), applications).Span(12).NoValue(noServe)).
		WithPanel(states("Deployments", "", codes(deploymentStatuses), deployments).Span(12).NoValue(noServe)).
		WithPanel(lines("Replicas", "Running replicas and, as a separate series, the target.", unitShort,
			query{running, deployments.legend}, query{targets, deployments.legend + " target"}).NoValue(noServe)).
		WithPanel(stack("Replicas by state", "", unitShort, query{"sum by (state) (" + replicas + ") > 0", "{{state}}"}).NoValue(noServe))
}

func serveTable(status string) *table.PanelBuilder {
	of := func(metric string) string {
		return "max by (ray_cluster, application, deployment) (" + metric + "{" + selectedApps + "})"
	}
	return grid("Deployments", "A deployment without a reported target has no missing replicas.",
		column{title: "Application", label: "application"},
		column{title: "Deployment", label: "deployment"},
		column{title: "Status", expr: status, props: badge(codes(deploymentStatuses))},
		column{title: "Running", expr: running},
		column{title: "Target", expr: targets},
		column{title: "Missing", expr: "clamp_min(" + targets + " - " + running + ", 0)", props: warn(1, red)},
		column{title: "Died", expr: of("raytap_serve_deployment_recent_dead_replicas"), props: warn(1, yellow)},
		column{title: "Deployed", expr: running + " * 0 + on (ray_cluster, application) group_left () max by (ray_cluster, application) (raytap_serve_application_last_deployed_timestamp_seconds{" + selectedApps + "}) * 1000", props: dateTime()},
		column{title: "Cluster", label: "ray_cluster"},
	)
}
