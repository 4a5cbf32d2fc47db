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

// This file: the nodes, what they are and what their agents read. A node that
// is not alive has no readings: Ray keeps showing its last ones.

type nodesSource interface {
	Nodes(context.Context) ([]ray.Node, error)
}

// maxRows is where Ray cuts a list of nodes (2.60.0).
const maxRows = 10000

// maxParts bounds the mounts and the GPUs of a node that are shown.
const maxParts = 64

var nodeStates = []string{string(ray.NodeAlive), string(ray.NodeDead)}

// unspecified is Ray's own word for a death whose reason it does not know.
const unspecified = "UNSPECIFIED"

// deathReasons are the reasons of a node's death that Ray 2.60.0 knows
// (NodeDeathInfo.Reason).
var deathReasons = []string{
	unspecified, "EXPECTED_TERMINATION", "UNEXPECTED_TERMINATION", "AUTOSCALER_DRAIN_PREEMPTED", "AUTOSCALER_DRAIN_IDLE",
}

const (
	nodesFresh = "node list" + fresh
	statsFresh = "readings of the node's agent, which reports every 5s, in the node list" + fresh
)

// nodesView is the whole list.
type nodesView struct {
	nodes             []ray.Node
	overflow          int // nodes without series of their own
	resourcesOverflow int
}

// unread reports whether the readings of the nodes could not be asked for, and
// with them the reasons of deaths.
func (v nodesView) unread() bool {
	return slices.ContainsFunc(v.nodes, func(n ray.Node) bool { return n.StatsUnavailable })
}

var nodesTable = table[nodesView]{
	source: nodesFresh,
	rows: []row[nodesView]{
		{
			name: "nodes", help: "Nodes that Ray lists, by state. Ray goes on listing dead ones.", labels: []string{"state"},
			series: func(v nodesView, emit *emitter) {
				counts := make(map[string]int)
				for _, n := range v.nodes {
					counts[string(n.State)]++
				}
				countStates(nodeStates, counts, emit.state)
			},
		},
		{
			name: "nodes_dead", help: "Dead nodes that Ray lists, by the reason of their death; UNSPECIFIED where it is not told. Absent while node_stats_unavailable is 1.", labels: []string{"reason"},
			series: func(v nodesView, emit *emitter) {
				if v.unread() {
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
			name: "node_resources_overflow", help: "Names of resources that no node shows because there are more than 100.",
			value: func(v nodesView) (float64, bool) { return float64(v.resourcesOverflow), true },
		},
		{
			name: "nodes_overflow", help: "Nodes that have no series of their own because there are more than nodes.max. Live ones are kept first.",
			value: func(v nodesView) (float64, bool) { return float64(v.overflow), true },
		},
		{
			name: "nodes_truncated", help: "1 if the list has 10,000 nodes, at which Ray cuts it, 0 if it is complete.",
			value: func(v nodesView) (float64, bool) { return number(len(v.nodes) >= maxRows), true },
		},
		{
			name: "node_stats_unavailable", help: "1 if the nodes could be listed but what their agents read could not be asked for, 0 if it could.",
			value: func(v nodesView) (float64, bool) { return number(v.unread()), true },
		},
	},
}

func deathReason(n ray.Node) string { return cmp.Or(n.DeathReason, unspecified) }

// nodeView is a node with the names of resources that are shown.
type nodeView struct {
	ray.Node
	keep map[string]bool
}

// newNodeTable has node_info carry the node's own labels of these keys.
func newNodeTable(keys []string) table[nodeView] {
	keys, labels := extraLabels("label_", keys)
	return table[nodeView]{source: nodesFresh, labels: []string{"node_id"}, rows: slices.Concat([]row[nodeView]{{
		name:   "node_info",
		help:   "A node's address and names; 1. is_head is true for the head. Ray's labels of the node that nodes.labels names are labels label_KEY.",
		labels: slices.Concat([]string{"node_ip", "node_name", "host", "is_head"}, labels),
		series: func(n nodeView, emit *emitter) {
			emit.series(1, slices.Concat([]string{n.IP, n.Name, n.Host, strconv.FormatBool(n.Head)}, valuesOf(n.Labels, keys))...)
		},
	}}, nodeRows)}
}

var nodeRows = []row[nodeView]{
	{
		name: "node_state", help: "1 for the state that the node is in, 0 for the other.", labels: []string{"state"},
		series: func(n nodeView, emit *emitter) { stateSet(nodeStates, string(n.State), emit) },
	},
	{
		name: "node_start_timestamp_seconds", help: "Unix time the node joined the cluster.",
		value: func(n nodeView) (float64, bool) { return unix(n.Start) },
	},
	{
		name: "node_end_timestamp_seconds", help: "Unix time the node died; where Ray does not tell it, when raytap first saw the node dead. Absent while it lives.",
		value: func(n nodeView) (float64, bool) { return unix(n.End) },
	},
	{
		name: "node_death_info", help: "1 with the reason of a dead node's death, UNSPECIFIED where it is not told; absent while it lives, and while node_stats_unavailable is 1.", labels: []string{"reason"},
		series: func(n nodeView, emit *emitter) {
			if n.State == ray.NodeDead && !n.StatsUnavailable {
				emit.series(1, deathReason(n.Node))
			}
		},
	},
	{
		name: "node_resources", help: "Logical resources of a live node under their real names; memory in bytes, others in units of the resource.",
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
			name: "node_stats_timestamp_seconds", help: "Unix time of the node's readings, by its own clock. Absent, as all readings are, once it has not changed for a minute by raytap's clock.",
			value: func(s *ray.NodeStats) (float64, bool) { return unix(s.At) },
		},
		{
			name: "node_cpus", help: "Logical CPUs of the node.",
			value: func(s *ray.NodeStats) (float64, bool) { return float64(s.CPUs), s.CPUs > 0 },
		},
		{
			name: "node_cpu_usage_ratio", help: "Share of all logical CPUs that is busy, 0 to 1.",
			value: func(s *ray.NodeStats) (float64, bool) { return s.CPURatio, s.CPUs > 0 && !s.CPUUnknown },
		},
		{
			name: "node_memory_bytes", help: "Memory that the node has (its container's limit, if it has one).",
			value: func(s *ray.NodeStats) (float64, bool) { return s.MemTotal, s.MemTotal > 0 },
		},
		{
			name: "node_memory_used_bytes", help: "Memory in use on the node.",
			value: func(s *ray.NodeStats) (float64, bool) { return s.MemUsed, s.MemTotal > 0 },
		},
		{
			name: "node_memory_available_bytes", help: "Memory that the node can still give.",
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
			name: "node_object_store_available_bytes", help: "Object store memory that is free on the node.",
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
			name: "node_network_transmit_bytes_total", help: "Bytes sent since boot, by interfaces whose name begins with e.", counter: true,
			value: func(s *ray.NodeStats) (float64, bool) { return s.NetworkSent, s.HasNetwork },
		},
		{
			name: "node_network_receive_bytes_total", help: "Bytes received since boot, by interfaces whose name begins with e.", counter: true,
			value: func(s *ray.NodeStats) (float64, bool) { return s.NetworkRecv, s.HasNetwork },
		},
		diskRow("node_disk_bytes", "Size of the mounted file system.", func(d ray.Disk) float64 { return d.Total }),
		diskRow("node_disk_used_bytes", "Bytes in use on the mounted file system.", func(d ray.Disk) float64 { return d.Used }),
		diskRow("node_disk_free_bytes", "Bytes free on the mounted file system.", func(d ray.Disk) float64 { return d.Free }),
	}, gpuRows, tpuRows),
}

var gpuRows = []row[*ray.NodeStats]{
	{
		name: "node_gpu_info", most: maxParts, help: "A GPU's name and UUID; 1.", labels: []string{"gpu", "gpu_name", "uuid"},
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, g := range s.GPUs {
				emit.series(1, strconv.Itoa(g.Index), g.Name, g.UUID)
			}
		},
	},
	{
		name: "node_gpu_usage_ratio", most: maxParts, help: "Share of time that the GPU is busy, 0 to 1; absent where the driver does not tell.", labels: []string{"gpu"},
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, g := range s.GPUs {
				if g.Utilization != nil {
					emit.series(*g.Utilization, strconv.Itoa(g.Index))
				}
			}
		},
	},
	{
		name: "node_gpu_memory_bytes", most: maxParts, help: "Memory of the GPU.", labels: []string{"gpu"},
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, g := range s.GPUs {
				if g.MemTotal > 0 {
					emit.series(g.MemTotal, strconv.Itoa(g.Index))
				}
			}
		},
	},
	{
		name: "node_gpu_memory_used_bytes", most: maxParts, help: "Memory in use on the GPU.", labels: []string{"gpu"},
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, g := range s.GPUs {
				if g.MemTotal > 0 {
					emit.series(g.MemUsed, strconv.Itoa(g.Index))
				}
			}
		},
	},
}

func loadRow(name string, i int, span string) row[*ray.NodeStats] {
	return row[*ray.NodeStats]{
		name: name, help: "Load average of the node over " + span + ".",
		value: func(s *ray.NodeStats) (float64, bool) { return s.LoadAvg[i], s.HasLoad },
	}
}

func diskRow(name, help string, get func(ray.Disk) float64) row[*ray.NodeStats] {
	return row[*ray.NodeStats]{name: name, help: help, labels: []string{"mount"}, most: maxParts,
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
	deaths    deaths
	nodes     bound[nodesView]
	node      bound[nodeView]
	stats     bound[*ray.NodeStats]
}

// newNodes shows dead nodes for a retention, counted from their end.
func newNodes(source nodesSource, s settings, o NodesOptions, retention time.Duration) *nodesCollector {
	return &nodesCollector{
		source: source, max: orDefault(o.Max, defaultMaxNodes), retention: orDefault(retention, defaultRetention),
		nodes: nodesTable.bind(s), node: newNodeTable(o.Labels).bind(s), stats: statsTable.bind(s),
	}
}

func (c *nodesCollector) collect(ctx context.Context, out *sink) error {
	nodes, err := c.source.Nodes(ctx)
	if err != nil {
		return err
	}
	now := clusterNow(c.source)
	nodes = slices.Clone(nodes)
	c.deaths.date(nodes, now)
	shown := slices.DeleteFunc(slices.Clone(nodes), func(n ray.Node) bool {
		return n.State == ray.NodeDead && now.Sub(n.End) > c.retention
	})
	fit := importantNodes(shown, c.max)
	picked := nodeResources(nodes)
	c.nodes.emit(out, nodesView{nodes: nodes, overflow: len(shown) - len(fit), resourcesOverflow: picked.over})
	for _, n := range fit {
		c.node.emit(out, nodeView{n, picked.keep}, n.ID)
		if n.State == ray.NodeAlive && n.Stats != nil {
			c.stats.emit(out, n.Stats, n.ID)
		}
	}
	return nil
}

// nodeResources chooses the names of resources that are shown of nodes.
func nodeResources(nodes []ray.Node) names {
	return pickResources(func(yield func(string)) {
		for _, n := range nodes {
			for name := range n.Resources {
				yield(name)
			}
		}
	})
}

// importantNodes gives the limit most important nodes, reordering nodes: the
// live ones, of which the oldest first so that a new one does not push one out,
// then the dead ones, of which the newest.
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
