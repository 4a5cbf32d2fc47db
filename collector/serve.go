package collector

import (
	"cmp"
	"context"
	"slices"

	"raytap/ray"
)

// This file: Ray Serve's applications, their deployments, and its proxies.

type serveSource interface {
	Serve(context.Context) (ray.ServeStatus, error)
}

const serveFresh = "Serve's controller" + fresh

type serveView struct {
	running  bool
	overflow int
}

var serveTable = table[serveView]{
	source: serveFresh,
	rows: []row[serveView]{
		{
			name: "serve_running", help: "1 if Serve runs on the cluster, 0 otherwise.",
			value: func(v serveView) (float64, bool) { return number(v.running), true },
		},
		{
			name: "serve_overflow", help: "Applications and deployments, and proxies, that are not shown because there are more than collector.serve.max. Unhealthy ones are kept first.",
			value: func(v serveView) (float64, bool) { return float64(v.overflow), true },
		},
	},
}

var applicationTable = table[ray.ServeApplication]{
	source: serveFresh,
	labels: []string{"application"},
	rows: []row[ray.ServeApplication]{
		{
			name: "serve_application_info", help: "An application's route and the source of its configuration; always 1.", labels: []string{"route_prefix", "source"},
			series: func(a ray.ServeApplication, emit *emitter) { emit.series(1, a.RoutePrefix, a.Source) },
		},
		{
			name: "serve_application_status", help: "1 for the application's current status, 0 for the others.", labels: []string{"status"},
			series: func(a ray.ServeApplication, emit *emitter) { stateSet(ray.ServeApplicationStatuses, a.Status, emit) },
		},
		{
			name: "serve_application_last_deployed_timestamp_seconds", help: "Unix time when the application was last deployed.",
			value: func(a ray.ServeApplication) (float64, bool) { return unix(a.LastDeployed) },
		},
	},
}

var deploymentTable = table[ray.ServeDeployment]{
	source: serveFresh,
	labels: []string{"application", "deployment"},
	rows: []row[ray.ServeDeployment]{
		{
			name: "serve_deployment_status", help: "1 for the deployment's current status, 0 for the others.", labels: []string{"status"},
			series: func(d ray.ServeDeployment, emit *emitter) { stateSet(ray.ServeDeploymentStatuses, d.Status, emit) },
		},
		{
			name: "serve_deployment_replicas", help: "Replicas of the deployment, by state.", labels: []string{"state"},
			series: func(d ray.ServeDeployment, emit *emitter) {
				countStates(ray.ServeReplicaStates, d.Replicas, emit.state)
			},
		},
		{
			name: "serve_deployment_target_replicas", help: "Target number of replicas of the deployment.",
			value: func(d ray.ServeDeployment) (float64, bool) { return optional(d.TargetReplicas) },
		},
		{
			name: "serve_deployment_recent_dead_replicas", help: "Replicas that died recently, as far as Serve keeps them (Ray 2.60 and later).",
			value: func(d ray.ServeDeployment) (float64, bool) { return optional(d.DeadReplicas) },
		},
	},
}

var proxyTable = table[ray.ServeProxy]{
	source: serveFresh,
	labels: []string{"node_id"},
	rows: []row[ray.ServeProxy]{
		{
			name: "serve_proxy_status", help: "1 for the current status of the node's proxy, 0 for the others.", labels: []string{"status"},
			series: func(p ray.ServeProxy, emit *emitter) { stateSet(ray.ServeProxyStatuses, p.Status, emit) },
		},
	},
}

func optional(n *int) (float64, bool) {
	if n == nil {
		return 0, false
	}
	return float64(*n), true
}

type serveCollector struct {
	source      serveSource
	max         int
	serve       bound[serveView]
	application bound[ray.ServeApplication]
	deployment  bound[ray.ServeDeployment]
	proxy       bound[ray.ServeProxy]
}

func newServe(source serveSource, s settings, o ServeOptions) *serveCollector {
	return &serveCollector{
		source: source, max: cmp.Or(o.Max, defaultMaxServe),
		serve: serveTable.bind(s), application: applicationTable.bind(s),
		deployment: deploymentTable.bind(s), proxy: proxyTable.bind(s),
	}
}

func (c *serveCollector) collect(ctx context.Context, out *seriesBuffer) error {
	status, err := c.source.Serve(ctx)
	if err != nil {
		return err
	}
	apps := slices.Clone(status.Applications)
	sortByRank(apps, func(a ray.ServeApplication) int {
		if a.Status == "RUNNING" {
			return 1
		}
		return 0
	}, func(a ray.ServeApplication) string { return a.Name })
	room, overflow := c.max, 0
	for _, app := range apps {
		if room == 0 {
			overflow += 1 + len(app.Deployments)
			continue
		}
		room--
		c.application.emit(out, app, app.Name)
		fits := min(room, len(app.Deployments))
		for _, d := range app.Deployments[:fits] {
			c.deployment.emit(out, d, app.Name, d.Name)
		}
		room -= fits
		overflow += len(app.Deployments) - fits
	}
	proxies := slices.Clone(status.Proxies)
	sortByRank(proxies, func(p ray.ServeProxy) int { return int(number(p.Status == "HEALTHY")) }, func(p ray.ServeProxy) string { return p.NodeID })
	fit := min(len(proxies), c.max)
	for _, p := range proxies[:fit] {
		c.proxy.emit(out, p, p.NodeID)
	}
	overflow += len(proxies) - fit
	c.serve.emit(out, serveView{running: status.Running, overflow: overflow})
	return nil
}
