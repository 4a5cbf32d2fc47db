package collector

import (
	"strconv"

	"raytap/ray"
)

// This file: GPUs and TPUs of nodes.

var gpuRows = []row[*ray.NodeStats]{
	{
		name: "node_gpu_info", maxSeries: maxPerNode, help: "A GPU's name and UUID; always 1.", labels: []string{"gpu", "gpu_name", "uuid"},
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, g := range s.GPUs {
				emit.series(1, strconv.Itoa(g.Index), g.Name, g.UUID)
			}
		},
	},
	{
		name: "node_gpu_usage_ratio", maxSeries: maxPerNode, help: "Share of time that the GPU is busy, 0 to 1. Absent if the driver does not report it.", labels: []string{"gpu"},
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, g := range s.GPUs {
				if g.Utilization != nil {
					emit.series(*g.Utilization, strconv.Itoa(g.Index))
				}
			}
		},
	},
	{
		name: "node_gpu_memory_bytes", maxSeries: maxPerNode, help: "Memory of the GPU.", labels: []string{"gpu"},
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, g := range s.GPUs {
				if g.MemTotal > 0 {
					emit.series(g.MemTotal, strconv.Itoa(g.Index))
				}
			}
		},
	},
	{
		name: "node_gpu_memory_used_bytes", maxSeries: maxPerNode, help: "Memory in use on the GPU.", labels: []string{"gpu"},
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, g := range s.GPUs {
				if g.MemTotal > 0 {
					emit.series(g.MemUsed, strconv.Itoa(g.Index))
				}
			}
		},
	},
}

var tpuRows = []row[*ray.NodeStats]{
	{
		name: "node_tpu_info", maxSeries: maxPerNode, help: "A TPU's name, type and the topology of its slice; always 1.", labels: []string{"tpu", "tpu_name", "tpu_type", "tpu_topology"},
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, t := range s.TPUs {
				emit.series(1, strconv.Itoa(t.Index), t.Name, t.Type, t.Topology)
			}
		},
	},
	tpuShare("node_tpu_tensorcore_usage_ratio", "Utilization of the TPU's tensor cores, 0 to 1.", func(t ray.TPU) *float64 { return t.TensorCore }),
	tpuShare("node_tpu_memory_bandwidth_usage_ratio", "Utilization of the TPU's memory bandwidth, 0 to 1.", func(t ray.TPU) *float64 { return t.Bandwidth }),
	tpuShare("node_tpu_duty_cycle_ratio", "Share of time that the TPU is busy, 0 to 1. Absent if its runtime does not report it.", func(t ray.TPU) *float64 { return t.DutyCycle }),
	tpuMemory("node_tpu_memory_bytes", "Memory of the TPU. Absent if its runtime does not report it.", func(t ray.TPU) float64 { return t.MemTotal }),
	tpuMemory("node_tpu_memory_used_bytes", "Memory in use on the TPU. Absent if its runtime does not report it.", func(t ray.TPU) float64 { return t.MemUsed }),
}

func tpuShare(name, help string, get func(ray.TPU) *float64) row[*ray.NodeStats] {
	return row[*ray.NodeStats]{name: name, maxSeries: maxPerNode, help: help, labels: []string{"tpu"}, series: func(s *ray.NodeStats, emit *emitter) {
		for _, t := range s.TPUs {
			if share := get(t); share != nil {
				emit.series(*share, strconv.Itoa(t.Index))
			}
		}
	}}
}

func tpuMemory(name, help string, get func(ray.TPU) float64) row[*ray.NodeStats] {
	return row[*ray.NodeStats]{name: name, maxSeries: maxPerNode, help: help, labels: []string{"tpu"}, series: func(s *ray.NodeStats, emit *emitter) {
		for _, t := range s.TPUs {
			if t.MemTotal > 0 {
				emit.series(get(t), strconv.Itoa(t.Index))
			}
		}
	}}
}
