package collector

import (
	"context"
	"slices"

	"raytap/ray"
)

// This file: what is used of each node's logical resources. The cluster status
// tells it, and still does so 10 s after a node's death; the node list tells
// who is alive. With autoscaler v2 the node list tells both.

type usageSource interface {
	nodesSource
	statusSource
}

// usageView is what is used of one live node.
type usageView struct {
	used map[string]ray.Usage
	keep map[string]bool
}

var usageTable = table[usageView]{
	source: statusFresh,
	labels: []string{"node_id"},
	rows: []row[usageView]{
		{
			name:   "node_resources_used",
			help:   "Logical resources in use on a live node, under their real names; memory in bytes (with autoscaler v2 rounded to 0.01 of its unit), others in units of the resource.",
			labels: []string{"resource"},
			series: func(v usageView, emit *emitter) {
				for name, u := range v.used {
					if v.keep[name] {
						emit.series(u.Used, name)
					}
				}
			},
		},
	},
}

type usageCollector struct {
	source usageSource
	max    int
	table  bound[usageView]
}

func newUsage(source usageSource, s settings, o NodesOptions) *usageCollector {
	return &usageCollector{source: source, max: orDefault(o.Max, defaultMaxNodes), table: usageTable.bind(s)}
}

func (c *usageCollector) collect(ctx context.Context, out *sink) error {
	nodes, err := c.source.Nodes(ctx)
	if err != nil {
		return err
	}
	status, err := c.source.ClusterStatus(ctx)
	if err != nil {
		return err
	}
	// The same choices as for node_resources, so that the two can be divided.
	picked := nodeResources(nodes)
	live := slices.DeleteFunc(slices.Clone(nodes), func(n ray.Node) bool { return n.State != ray.NodeAlive })
	for _, n := range importantNodes(live, c.max) {
		used, exact := status.ByNode[n.ID]
		if !exact && status.ByNode == nil && status.Usage != nil {
			used = n.Usage // autoscaler v2 does not tell it in its status
		}
		c.table.emit(out, usageView{used, picked.keep}, n.ID)
	}
	return nil
}
