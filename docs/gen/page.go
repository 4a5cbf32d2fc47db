package main

import (
	"bytes"
	"fmt"
	"strings"

	"raytap/collector"
)

// group is a section of the page. prefixes are the prefixes of its families' names,
// without the namespace.
type group struct {
	title    string
	about    string
	prefixes []string
}

var groups = []group{
	{"Clusters", "Whether a cluster is up, its resources, and pending demand.", []string{"up", "cluster_", "autoscaler_", "pending_", "skipped_rows_", "skipped_fields_"}},
	{"Jobs", "Submissions and drivers. `submission_id` identifies a job in all metrics; for a DRIVER job, which has none, it is the job id. Names and ids are labels of `raytap_job_info`: join it with `group_left`.", []string{"job"}},
	{"Nodes", "A dead node has no stats. It disappears after `collector.jobs.retention`.", []string{"node"}},
	{"Hardware", "For clusters with `api: synapse`. The Synapse agent counts usage of the machines, not of Ray's logical resources.", []string{"hardware_"}},
	{"Tasks, actors, placement groups", "By state. Finished tasks have no series: Ray evicts them at any time.", []string{"task", "actor", "placement_group"}},
	{"Ray Serve", "", []string{"serve_"}},
	{"Shipper", "Tails of job logs. Metrics without `ray_cluster` are about the writer that all clusters share.", []string{"shipper_", "node_agents_"}},
	{"Sink", "Where records are written. Metrics about files, fsyncs and rotations exist only for a file.", []string{"sink_"}},
	{"Kubernetes", "Only with `kubernetes` in the configuration.", []string{"kubernetes_"}},
	{"raytap itself", "Results of the collectors, raytap's own requests, its configuration and version.", []string{"collector_", "api_", "config_", "clusters", "cluster_file", "shard", "build_info"}},
}

// groupOf returns the index of a family's section, the one with the longest prefix of
// its name, or -1.
func groupOf(f collector.Family) int {
	name := strings.TrimPrefix(f.Name, "raytap_")
	found, longest := -1, 0
	for i, g := range groups {
		for _, p := range g.prefixes {
			if strings.HasPrefix(name, p) && len(p) > longest {
				found, longest = i, len(p)
			}
		}
	}
	return found
}

const head = `# Metrics

All metrics of raytap, by subject, each with an example query. Generated from the code by
` + "`make docs`" + `; do not edit.

- A value that is not known has no series; it is never 0. While a cluster is down,
  ` + "`raytap_up`" + ` is 0 and its other metrics are absent.
- The label ` + "`ray_cluster`" + ` is the cluster's name in the configuration. Prometheus adds
  ` + "`job` and `instance`" + `.
- State sets have one series for each known state: 1 for the current one, 0 for the others.
- Two raytap instances on one cluster have the same gauges: ` + "`max by (...)`" + ` counts each once.

In addition there are the usual ` + "`go_...`, `process_...` and `promhttp_...`" + ` metrics of a Go
program. [deploy](../deploy) has alerts and dashboards.
`

func writePage(b *bytes.Buffer, families []collector.Family) {
	b.WriteString(head)
	for i, g := range groups {
		writeSection(b, i, g, families)
	}
}

func writeSection(b *bytes.Buffer, index int, g group, families []collector.Family) {
	fmt.Fprintf(b, "\n## %s\n", g.title)
	if g.about != "" {
		fmt.Fprintf(b, "\n%s\n", g.about)
	}
	for _, f := range families {
		if groupOf(f) != index {
			continue
		}
		labels := "no labels"
		if len(f.Labels) > 0 {
			labels = "`" + strings.Join(f.Labels, "`, `") + "`"
		}
		fmt.Fprintf(b, "\n### %s\n\n%s; %s. %s\n", f.Name, f.Type, labels, markdown(f.Help))
		fmt.Fprintf(b, "\n```promql\n%s\n```\n", examples[f.Name])
	}
}

// markdown escapes a help text.
func markdown(s string) string {
	return strings.NewReplacer("_", `\_`, "*", `\*`, "<", "&lt;", "|", `\|`).Replace(s)
}
