package collector

import (
	"strconv"

	"raytap/ray"
)

// This file: the TPUs of nodes.

var tpuRows = []row[*ray.NodeStats]{
	{
		name: "node_tpu_info", most: maxParts, help: "A TPU's name, type and the topology of its slice; 1.", labels: []string{"tpu", "tpu_name", "tpu_type", "tpu_topology"},
		series: func(s *ray.NodeStats, emit *emitter) {
			for _, t := range s.TPUs {
				emit.series(1, strconv.Itoa(t.Index), t.Name, t.Type, t.Topology)
			}
		},
	},
	tpuShare("node_tpu_tensorcore_usage_ratio", "Share of the TPU's tensor cores that is busy, 0 to 1.", func(t ray.TPU) *float64 { return t.TensorCore }),
	tpuShare("node_tpu_memory_bandwidth_usage_ratio", "Share of the TPU's memory bandwidth that is used, 0 to 1.", func(t ray.TPU) *float64 { return t.Bandwidth }),
	tpuShare("node_tpu_duty_cycle_ratio", "Share of time that the TPU is busy, 0 to 1; absent where its runtime does not tell.", func(t ray.TPU) *float64 { return t.DutyCycle }),
	tpuMemory("node_tpu_memory_bytes", "Memory of the TPU; absent where its runtime does not tell.", func(t ray.TPU) float64 { return t.MemTotal }),
	tpuMemory("node_tpu_memory_used_bytes", "Memory in use on the TPU; absent where its runtime does not tell.", func(t ray.TPU) float64 { return t.MemUsed }),
}

func tpuShare(name, help string, get func(ray.TPU) *float64) row[*ray.NodeStats] {
	return row[*ray.NodeStats]{name: name, most: maxParts, help: help, labels: []string{"tpu"}, series: func(s *ray.NodeStats, emit *emitter) {
		for _, t := range s.TPUs {
			if share := get(t); share != nil {
				emit.series(*share, strconv.Itoa(t.Index))
			}
		}
	}}
}

func tpuMemory(name, help string, get func(ray.TPU) float64) row[*ray.NodeStats] {
	return row[*ray.NodeStats]{name: name, most: maxParts, help: help, labels: []string{"tpu"}, series: func(s *ray.NodeStats, emit *emitter) {
		for _, t := range s.TPUs {
			if t.MemTotal > 0 {
				emit.series(get(t), strconv.Itoa(t.Index))
			}
		}
	}}
}
