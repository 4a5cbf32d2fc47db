package collector

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"raytap/ray"
)

// This file: nodes, and the stats that their node agents report. A node that is not alive
// has no stats: Ray still lists its last ones.

type nodesSource interface {
	Nodes(context.Context) ([]ray.Node, error)
}

// maxRows is the number of nodes at which Ray truncates the list (2.60.0).
const maxRows = 10000

// maxPerNode is the maximum number of mounts, GPUs and TPUs of a node.
const maxPerNode = 64

var nodeStates = []string{string(ray.NodeAlive), string(ray.NodeDead)}

// unspecified is Ray's value for an unknown reason of a death.
const unspecified = "UNSPECIFIED"

// unexpected is Ray's value for a node that became silent.
const unexpected = "UNEXPECTED_TERMINATION"

// deathReasons are the reasons of a node's death in Ray 2.60.0 (NodeDeathInfo.Reason).
var deathReasons = []string{
	unspecified, "EXPECTED_TERMINATION", unexpected, "AUTOSCALER_DRAIN_PREEMPTED", "AUTOSCALER_DRAIN_IDLE",
}

const (
	nodesFresh = "node list" + fresh
	statsFresh = "stats in the node list, which each node agent reports every 5s" + fresh
)

// nodesView is the complete list.
type nodesView struct {
	nodes             []ray.Node
	overflow          int // nodes without series of their own
	resourcesOverflow int
}

// statsUnavailable reports whether the request for the nodes' stats, and for the reasons of
// deaths, failed.
func (v nodesView) statsUnavailable() bool {
	return slices.ContainsFunc(v.nodes, func(n ray.Node) bool { return n.StatsUnavailable })
}

var nodesTable = table[nodesView]{
	source: nodesFresh,
	rows: []row[nodesView]{
		{
			name: "nodes", help: "Nodes that Ray lists, by state. Ray keeps listing dead ones.", labels: []string{"state"},
			series: func(v nodesView, emit *emitter) {
				counts := make(map[string]int)
				for _, n := range v.nodes {
					counts[string(n.State)]++
				}
				countStates(nodeStates, counts, emit.state)
			},
		},
		{
			name: "nodes_dead", help: "Dead nodes that Ray lists, by the reason of their death, UNSPECIFIED if Ray does not report it. Absent while raytap_node_stats_unavailable is 1.", labels: []string{"reason"},
			series: func(v nodesView, emit *emitter) {
				if v.statsUnavailable() {
					return
				}
				counts := make(map[string]int)
				for _, n := range v.nodes {
					if n.State == ray.NodeDead {
						counts[deathReason(n)]++
					}
				}
				countStates(deathReasons, counts, emit.state)
			},
		},
		{
			name: "node_resources_overflow", help: "Resources that are not shown for any node because there are more than 100 names.",
			value: func(v nodesView) (float64, bool) { return float64(v.resourcesOverflow), true },
		},
		{
			name: "nodes_overflow", help: "Nodes without series of their own because there are more than collector.nodes.max. Live nodes are kept first.",
			value: func(v nodesView) (float64, bool) { return float64(v.overflow), true },
		},
		{
			name: "nodes_truncated", help: "1 if the list has 10,000 nodes, where Ray truncates it, 0 if it is complete.",
			value: func(v nodesView) (float64, bool) { return number(len(v.nodes) >= maxRows), true },
		},
		{
			name: "node_stats_unavailable", help: "1 if the nodes were listed, but the request for their stats failed. 0 otherwise.",
			value: func(v nodesView) (float64, bool) { return number(v.statsUnavailable()), true },
		},
	},
}

func deathReason(n ray.Node) string { return cmp.Or(n.DeathReason, unspecified) }

// nodeView is a node and the names of resources to show.
type nodeView struct {
	ray.Node
	keep map[string]bool
}

// newNodeTable returns the table of a node, with labels of node_info for the given keys of
// the node's labels in Ray.
func newNodeTable(keys []string) table[nodeView] {
	keys, labels := extraLabels("label_", keys)
	return table[nodeView]{source: nodesFresh, labels: []string{"node_id"}, rows: slices.Concat([]row[nodeView]{{
		name:   "node_info",
		help:   "A node's address and names; always 1. is_head is true for the head. Ray's labels of the node that are listed in collector.nodes.labels are labels label_KEY.",
		labels: slices.Concat([]string{"node_ip", "node_name", "host", "is_head"}, labels),
		series: func(n nodeView, emit *emitter) {
			emit.series(1, slices.Concat([]string{n.IP, n.Name, n.Host, strconv.FormatBool(n.Head)}, valuesOf(n.Labels, keys))...)
		},
	}}, nodeRows)}
}

var nodeRows = []row[nodeView]{
	{
		name: "node_state", help: "1 for the node's current state, 0 for the other.", labels: []string{"state"},
		series: func(n nodeView, emit *emitter) { stateSet(nodeStates, string(n.State), emit) },
	},
	{
		name: "node_start_timestamp_seconds", help: "Unix time when the node joined the cluster.",
		value: func(n nodeView) (float64, bool) { return unix(n.Start) },
	},
	{
		name: "node_end_timestamp_seconds", help: "Unix time when the node died, or when raytap first saw it dead if Ray does not report the time. Absent while it is alive.",
		value: func(n nodeView) (float64, bool) { return unix(n.End) },
	},
	{
		name: "node_death_info", help: "Reason of a dead node's death, UNSPECIFIED if Ray does not report it, POD_DELETED if it is unexpected for Ray but Kubernetes deleted the pod; always 1. Absent while the node is alive, and while raytap_node_stats_unavailable is 1.", labels: []string{"reason"},
		series: func(n nodeView, emit *emitter) {
			if n.State == ray.NodeDead && !n.StatsUnavailable {
				emit.series(1, deathReason(n.Node))
			}
		},
	},
	{
		name: "node_resources", help: "Logical resources of a live node, under their real names. Memory in bytes, others in units of the resource.",
		labels: []string{"resource"},
		series: func(n nodeView, emit *emitter) {
			if n.State == ray.NodeDead {
				return
			}
			for name, total := range n.Resources {
				if n.keep[name] {
					emit.series(total, name)
				}
			}
		},
	},
}

var statsTable = table[*ray.NodeStats]{
	source: statsFresh,
	labels: []string{"node_id"},
	rows: slices.Concat([]row[*ray.NodeStats]{
		{
			name: "node_stats_timestamp_seconds", help: "Unix time of the node's stats, by its own clock. Absent, like all stats, if it has not changed for one minute by raytap's clock.",
			value: func(s *ray.NodeStats) (float64, bool) { return unix(s.At) },
		},
		{
			name: "node_cpus", help: "Logical CPUs of the node.",
			value: func(s *ray.NodeStats) (float64, bool) { return float64(s.CPUs), s.CPUs > 0 },
		},
		{
			name: "node_cpu_usage_ratio", help: "CPU usage of the node, 0 (idle) to 1 (all logical CPUs busy).",
			value: func(s *ray.NodeStats) (float64, bool) { return s.CPURatio, s.CPUs > 0 && !s.CPUUnknown },
		},
		{
			name: "node_memory_bytes", help: "Memory of the node, or the limit of its container.",
			value: func(s *ray.NodeStats) (float64, bool) { return s.MemTotal, s.MemTotal > 0 },
		},
		{
			name: "node_memory_used_bytes", help: "Memory in use on the node.",
			value: func(s *ray.NodeStats) (float64, bool) { return s.MemUsed, s.MemTotal > 0 },
		},
		{
			name: "node_memory_available_bytes", help: "Memory available on the node.",
			value: func(s *ray.NodeStats) (float64, bool) { return s.MemAvailable, s.MemTotal > 0 },
		},
		{
			name: "node_object_store_used_bytes", help: "Object store memory in use on the node.",
			value: func(s *ray.NodeStats) (float64, bool) {
				if s.ObjectStore == nil {
					return 0, false
				}
				return s.ObjectStore.Used, true
			},
		},
		{
			name: "node_object_store_available_bytes", help: "Object store memory available on the node.",
			value: func(s *ray.NodeStats) (float64, bool) {
				if s.ObjectStore == nil {
					return 0, false
				}
				return s.ObjectStore.Available, true
			},
		},
		{
			name: "node_workers", help: "Worker processes of the node.",
			value: func(s *ray.NodeStats) (float64, bool) { return float64(s.Workers), !s.WorkersUnknown },
		},
		loadRow("node_load1", 0, "1 minute"), loadRow("node_load5", 1, "5 minutes"), loadRow("node_load15", 2, "15 minutes"),
		{
			name: "node_network_transmit_bytes_total", help: "Bytes sent since boot, on interfaces whose name begins with e.", counter: true,
			value: func(s *ray.NodeStats) (float64, bool) { return s.NetworkSent, s.HasNetwork },
		},
		{
			name: "node_network_receive_bytes_total", help: "Bytes received since boot, on interfaces whose name begins with e.", counter: true,
			value: func(s *ray.NodeStats) (float64, bool) { return s.NetworkRecv, s.HasNetwork },
		},
		diskRow("node_disk_bytes", "Size of the mounted file system.", func(d ray.Disk) float64 { return d.Total }),
		diskRow("node_disk_used_bytes", "Bytes in use on the mounted file system.", func(d ray.Disk) float64 { return d.Used }),
		diskRow("node_disk_free_bytes", "Bytes free on the mounted file system.", func(d ray.Disk) float64 { return d.Free }),
	}, gpuRows, tpuRows),
}

func loadRow(name string, i int, span string) row[*ray.NodeStats] {
	return row[*ray.NodeStats]{
		name: name, help: "Load average of the node over " + span + ".",
		value: func(s *ray.NodeStats) (float64, bool) { return s.LoadAvg[i], s.HasLoad },
	}
}

func diskRow(name, help string, get func(ray.Disk) float64) row[*ray.NodeStats] {
	return row[*ray.NodeStats]{name: name, help: help, labels: []string{"mount"}, maxSeries: maxPerNode,
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, d := range s.Disks {
				emit.series(get(d), d.Mount)
			}
		}}
}

type nodesCollector struct {
	source    nodesSource
	max       int
	retention time.Duration
	deaths    nodeDeaths
	deleted   func(ip string) time.Time // nil: not in Kubernetes
	nodes     bound[nodesView]
	node      bound[nodeView]
	stats     bound[*ray.NodeStats]
}

// newNodes returns a collector that shows dead nodes for a retention after their end.
func newNodes(source nodesSource, s settings, o NodesOptions, retention time.Duration) *nodesCollector {
	return &nodesCollector{
		source: source, max: cmp.Or(o.Max, defaultMaxNodes), deleted: o.PodDeleted, retention: cmp.Or(retention, defaultRetention),
		nodes: nodesTable.bind(s), node: newNodeTable(o.Labels).bind(s), stats: statsTable.bind(s),
	}
}

func (c *nodesCollector) collect(ctx context.Context, out *seriesBuffer) error {
	nodes, err := c.source.Nodes(ctx)
	if err != nil {
		return err
	}
	now := clusterNow(c.source)
	nodes = slices.Clone(nodes)
	c.deaths.setEnds(nodes, now)
	if c.deleted != nil {
		explainDeaths(nodes, c.deleted)
	}
	shown := slices.DeleteFunc(slices.Clone(nodes), func(n ray.Node) bool {
		return n.State == ray.NodeDead && now.Sub(n.End) > c.retention
	})
	fit := importantNodes(shown, c.max)
	names := nodeResources(nodes)
	c.nodes.emit(out, nodesView{nodes: nodes, overflow: len(shown) - len(fit), resourcesOverflow: names.overflow})
	for _, n := range fit {
		c.node.emit(out, nodeView{n, names.keep}, n.ID)
		if n.State == ray.NodeAlive && n.Stats != nil {
			c.stats.emit(out, n.Stats, n.ID)
		}
	}
	return nil
}

// nodeResources selects the names of resources to show for nodes.
func nodeResources(nodes []ray.Node) resourceNames {
	return selectResources(func(yield func(string)) {
		for _, n := range nodes {
			for name := range n.Resources {
				yield(name)
			}
		}
	})
}

// importantNodes returns the limit most important nodes: live ones (oldest first, so that a
// new node does not displace one), then dead ones (newest first). It reorders nodes.
func importantNodes(nodes []ray.Node, limit int) []ray.Node {
	if len(nodes) <= limit {
		return nodes
	}
	slices.SortFunc(nodes, func(a, b ray.Node) int {
		dead := func(n ray.Node) float64 { return number(n.State == ray.NodeDead) }
		return cmp.Or(cmp.Compare(dead(a), dead(b)), b.End.Compare(a.End), a.Start.Compare(b.Start), strings.Compare(a.ID, b.ID))
	})
	return nodes[:limit]
}
