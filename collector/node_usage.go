package collector

import (
	"cmp"
	"slices"

	"raytap/ray"
)

// This file: usage of each node's logical resources. The cluster status reports it,
// still 10 s after a node's death; the node list shows which nodes are alive. With
// autoscaler v2 the node list has both.

type nodeUsageSource interface {
	nodesSource
	statusSource
}

// nodeUsage is the usage of one live node.
type nodeUsage struct {
	used map[string]ray.Usage
	keep map[string]bool // names of resources to show
}

var nodeUsageTable = table[nodeUsage]{
	source: statusFresh,
	labels: []string{"node_id"},
	rows: []row[nodeUsage]{
		{
			name:   "node_resources_used",
			help:   "Logical resources in use on a live node, under their real names. Memory in bytes (with autoscaler v2 rounded to 0.01 of its unit), others in units of the resource.",
			labels: []string{"resource"},
			series: func(u nodeUsage, emit *emitter) {
				for name, usage := range u.used {
					if u.keep[name] {
						emit.series(usage.Used, name)
					}
				}
			},
		},
	},
}

func collectNodeUsage(source nodeUsageSource, s settings, o NodesOptions) collectFunc {
	limit, t := cmp.Or(o.Max, defaultMaxNodes), nodeUsageTable.bind(s)
	return collectTwo(source, nodeUsageSource.Nodes, nodeUsageSource.ClusterStatus, func(out *seriesBuffer, nodes []ray.Node, status ray.ClusterStatus) {
		// The same selections as for node_resources, so that one can be divided by the other.
		names := nodeResources(nodes)
		live := slices.DeleteFunc(slices.Clone(nodes), func(n ray.Node) bool { return n.State != ray.NodeAlive })
		for _, n := range importantNodes(live, limit) {
			used, exact := status.ByNode[n.ID]
			if !exact && status.ByNode == nil && status.Usage != nil {
				used = n.Usage // autoscaler v2 reports it in the node list instead
			}
			t.emit(out, nodeUsage{used, names.keep}, n.ID)
		}
	})
}
