package main

import (
	"bytes"
	"fmt"
	"strings"

	"raytap/collector"
)

// group is a section of the page. prefixes are those of its families' names,
// without the namespace.
type group struct {
	title    string
	about    string
	prefixes []string
}

var groups = []group{
	{"Clusters", "Whether a cluster answers, what it has, and what waits for it.", []string{"up", "cluster_", "autoscaler_", "pending_", "skipped_rows_", "skipped_fields_"}},
	{"Jobs", "Submissions and drivers. A `submission_id` names a job everywhere; for a DRIVER job, which has none, it is the job id. Names and ids are in `raytap_job_info`: join it with `group_left`.", []string{"job"}},
	{"Nodes", "A dead node has no readings, and goes after the jobs' retention.", []string{"node"}},
	{"Hardware", "Of clusters that are watched by an agent. What an agent counts as used is not what Ray's own bookkeeping does.", []string{"hardware_"}},
	{"Tasks, actors, placement groups", "By state. Finished tasks have no series: Ray forgets them as it likes.", []string{"task", "actor", "placement_group"}},
	{"Serve", "", []string{"serve_"}},
	{"The log half", "How the logs of jobs are followed. Those without `ray_cluster` are of the one writer behind all clusters.", []string{"shipper_", "node_agents_"}},
	{"The sink", "Where lines go. Those about files, fsyncs and rotations are there only for a file.", []string{"sink_"}},
	{"raytap itself", "How each part of a scrape went, raytap's own requests, its configuration and version.", []string{"collector_", "api_", "config_", "clusters", "cluster_file", "build_info"}},
}

// groupOf is the index of a family's section, the one with the longest prefix of
// its name; -1 where there is none.
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

Every family that raytap's page can have, by what it is about. Made from the
tables in the code by ` + "`make docs`" + `; do not edit.

- What is not known has no series; it is never 0. Where a cluster does not answer,
  ` + "`raytap_up`" + ` is 0 and its other values are gone.
- The label ` + "`ray_cluster`" + ` is the cluster's name in the configuration. Prometheus adds
  ` + "`job` and `instance`" + `.
- State sets have one series for each known state, 1 for the one that holds.
- Two raytaps on one cluster show the same gauges: ` + "`max by (...)`" + ` counts each once.

Beside these there are the usual ` + "`go_...`, `process_...` and `promhttp_...`" + ` of a Go program.
The examples are queries to start from; [deploy](../deploy) has alerts and dashboards.
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

// markdown keeps a help text from being read as markup.
func markdown(s string) string {
	return strings.NewReplacer("_", `\_`, "*", `\*`, "<", "&lt;", "|", `\|`).Replace(s)
}
