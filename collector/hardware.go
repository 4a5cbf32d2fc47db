package collector

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"raytap/ray"
)

// This file: a cluster's hardware as a Synapse agent reports it. The agent counts usage of
// the machines, not of Ray's logical resources: hence the separate families.

type hardwareSource interface {
	Resources(context.Context) (ray.ClusterResources, error)
}

const hardwareFresh = "the Synapse agent's cluster resources, which it may cache itself" + fresh + " Requires api: synapse."

// hardwareView is a response and the number of its nodes that are not shown.
type hardwareView struct {
	ray.ClusterResources
	overflow int
}

var hardwareTable = table[hardwareView]{
	source: hardwareFresh,
	rows: slices.Concat(
		[]row[hardwareView]{
			{
				name: "hardware_stale", help: "1 if the agent could not refresh its values and returned old ones, 0 otherwise.",
				value: func(v hardwareView) (float64, bool) { return number(v.Stale), true },
			},
			{
				name: "hardware_timestamp_seconds", help: "Unix time when the agent collected the values.",
				value: func(v hardwareView) (float64, bool) { return unix(v.At) },
			},
		},
		amountRows("hardware_cpus", "", "CPU cores of all nodes together", func(v hardwareView) *ray.Amount { return v.CPU }),
		amountRows("hardware_memory", "_bytes", "Memory of all nodes together", func(v hardwareView) *ray.Amount { return v.Memory }),
		amountRows("hardware_object_store", "_bytes", "Object store memory of all nodes together", func(v hardwareView) *ray.Amount { return v.ObjectStore }),
		[]row[hardwareView]{
			gpuTotal("hardware_gpus", "GPUs of all nodes together.", func(g *ray.GPUTotals) *float64 { return g.Total }),
			gpuTotal("hardware_gpus_available", "Free GPUs of all nodes together.", func(g *ray.GPUTotals) *float64 { return g.Available }),
			gpuTotal("hardware_gpu_memory_bytes", "Memory of all GPUs together.", func(g *ray.GPUTotals) *float64 { return g.MemoryTotal }),
			gpuTotal("hardware_gpu_memory_available_bytes", "Free memory of all GPUs together.", func(g *ray.GPUTotals) *float64 { return g.MemoryAvailable }),
			gpuTotal("hardware_gpu_max_usage_ratio", "Share of time that the busiest GPU is busy, 0 to 1.", func(g *ray.GPUTotals) *float64 { return g.MaxUtilization }),
			gpuTotal("hardware_gpu_mean_usage_ratio", "Mean share of time that GPUs are busy, 0 to 1.", func(g *ray.GPUTotals) *float64 { return g.AvgUtilization }),
			{
				name: "hardware_running_jobs", help: "Running jobs, as counted by the agent.",
				value: func(v hardwareView) (float64, bool) { return optional(v.RunningJobs) },
			},
			{
				name: "hardware_serve_replicas", help: "Replicas of all Serve deployments together, as counted by the agent.",
				value: func(v hardwareView) (float64, bool) { return optional(v.ServeReplicas) },
			},
			{
				name: "hardware_nodes", help: "Nodes by state, as counted by the agent. OTHER are those that it counts as neither alive nor dead.", labels: []string{"state"},
				series: func(v hardwareView, emit *emitter) {
					if n := v.NodeCounts; n != nil {
						emit.series(float64(n.Alive), string(ray.NodeAlive))
						emit.series(float64(n.Dead), string(ray.NodeDead))
						emit.series(float64(max(0, n.Total-n.Alive-n.Dead)), otherState)
					}
				},
			},
			{
				name: "hardware_nodes_overflow", help: "Nodes whose hardware is not shown because there are more than collector.nodes.max. Live nodes are kept first.",
				value: func(v hardwareView) (float64, bool) { return float64(v.overflow), true },
			},
		},
	),
}

var hardwareNodeTable = table[ray.NodeHardware]{
	source: hardwareFresh,
	labels: []string{"node_id"},
	rows: slices.Concat(
		[]row[ray.NodeHardware]{
			{
				name: "hardware_node_info", help: "A node's address, state and type of accelerator; always 1.",
				labels: []string{"node_ip", "host", "is_head", "state", "accelerator_type"},
				series: func(n ray.NodeHardware, emit *emitter) {
					emit.series(1, n.IP, n.Host, strconv.FormatBool(n.Head), string(n.State), n.AcceleratorType)
				},
			},
		},
		liveRows(amountRows("hardware_node_cpus", "", "CPU cores of the node", func(n ray.NodeHardware) *ray.Amount { return n.CPU })),
		liveRows(amountRows("hardware_node_memory", "_bytes", "Memory of the node", func(n ray.NodeHardware) *ray.Amount { return n.Memory })),
		hardwareGPURows,
	),
}

var hardwareGPURows = []row[ray.NodeHardware]{
	{
		name: "hardware_node_gpu_info", help: "A GPU's name and UUID; always 1.", labels: []string{"gpu", "gpu_name", "uuid"}, maxSeries: maxPerNode,
		series: eachGPU(func(g ray.GPU, emit *emitter) { emit.series(1, strconv.Itoa(g.Index), g.Name, g.UUID) }),
	},
	{
		name: "hardware_node_gpu_usage_ratio", help: "Share of time that the GPU is busy, 0 to 1. Absent if the agent does not report it.", labels: []string{"gpu"}, maxSeries: maxPerNode,
		series: eachGPU(func(g ray.GPU, emit *emitter) {
			if g.Utilization != nil {
				emit.series(*g.Utilization, strconv.Itoa(g.Index))
			}
		}),
	},
	{
		name: "hardware_node_gpu_memory_bytes", help: "Memory of the GPU.", labels: []string{"gpu"}, maxSeries: maxPerNode,
		series: eachGPU(func(g ray.GPU, emit *emitter) {
			if g.MemTotal > 0 {
				emit.series(g.MemTotal, strconv.Itoa(g.Index))
			}
		}),
	},
	{
		name: "hardware_node_gpu_memory_used_bytes", help: "Memory in use on the GPU.", labels: []string{"gpu"}, maxSeries: maxPerNode,
		series: eachGPU(func(g ray.GPU, emit *emitter) {
			if g.MemTotal > 0 {
				emit.series(g.MemUsed, strconv.Itoa(g.Index))
			}
		}),
	},
}

// amountRows returns the metrics of an amount. They are absent if it is nil.
func amountRows[T any](name, unit, what string, get func(T) *ray.Amount) []row[T] {
	one := func(name, help string, field func(*ray.Amount) float64) row[T] {
		return row[T]{name: name, help: help, value: func(v T) (float64, bool) {
			if a := get(v); a != nil {
				return field(a), true
			}
			return 0, false
		}}
	}
	return []row[T]{
		one(name+unit, what+".", func(a *ray.Amount) float64 { return a.Total }),
		one(name+"_used"+unit, what+" in use, as counted by the agent.", func(a *ray.Amount) float64 { return a.Used }),
		one(name+"_available"+unit, what+" available, as counted by the agent.", func(a *ray.Amount) float64 { return a.Available }),
	}
}

// liveRows makes rows absent for a dead node. It modifies rows.
func liveRows(rows []row[ray.NodeHardware]) []row[ray.NodeHardware] {
	for i := range rows {
		get := rows[i].value
		rows[i].value = func(n ray.NodeHardware) (float64, bool) {
			v, ok := get(n)
			return v, ok && n.State != ray.NodeDead
		}
	}
	return rows
}

func gpuTotal(name, help string, get func(*ray.GPUTotals) *float64) row[hardwareView] {
	return row[hardwareView]{name: name, help: help, value: func(v hardwareView) (float64, bool) {
		if v.GPU == nil || get(v.GPU) == nil {
			return 0, false
		}
		return *get(v.GPU), true
	}}
}

// eachGPU calls one for each GPU of a node that is not dead.
func eachGPU(one func(ray.GPU, *emitter)) func(ray.NodeHardware, *emitter) {
	return func(n ray.NodeHardware, emit *emitter) {
		if n.State == ray.NodeDead {
			return
		}
		for _, g := range n.GPUs {
			one(g, emit)
		}
	}
}

type hardwareCollector struct {
	source hardwareSource
	max    int
	all    bound[hardwareView]
	node   bound[ray.NodeHardware]
}

func newHardware(source hardwareSource, s settings, o NodesOptions) *hardwareCollector {
	return &hardwareCollector{
		source: source, max: cmp.Or(o.Max, defaultMaxNodes),
		all: hardwareTable.bind(s), node: hardwareNodeTable.bind(s),
	}
}

func (c *hardwareCollector) collect(ctx context.Context, out *seriesBuffer) error {
	resources, err := c.source.Resources(ctx)
	if err != nil {
		return err
	}
	nodes := slices.Clone(resources.Nodes)
	sortByRank(nodes, func(n ray.NodeHardware) int { return int(number(n.State == ray.NodeDead)) },
		func(n ray.NodeHardware) string { return n.ID })
	fit := nodes[:min(len(nodes), c.max)]
	c.all.emit(out, hardwareView{resources, len(nodes) - len(fit)})
	for _, n := range fit {
		c.node.emit(out, n, n.ID)
	}
	return nil
}
