package dashboard

import "raytap/ray"

// tpuRow is read from Ray's source (2.60.0), not measured: Ray reads it from
// the metrics of the TPU device plugin, where TPU_DEVICE_PLUGIN_ADDR names it.
// Shares are percent, memory is in bytes. What the plugin does not tell is 0.
type tpuRow struct {
	Index      number  `json:"index"`
	Name       *string `json:"name"`
	Type       *string `json:"tpuType"`     // "tpu-v6e-slice"
	Topology   *string `json:"tpuTopology"` // "2x4"
	TensorCore number  `json:"tensorcoreUtilization"`
	Bandwidth  number  `json:"hbmUtilization"`
	DutyCycle  number  `json:"dutyCycle"`
	MemUsed    number  `json:"memoryUsed"`
	MemTotal   number  `json:"memoryTotal"`
}

func (t tpuRow) tpu(place int) ray.TPU {
	out := ray.TPU{
		Index: place, Name: text(t.Name), Type: text(t.Type), Topology: text(t.Topology),
		TensorCore: t.TensorCore.percent(), Bandwidth: t.Bandwidth.percent(),
	}
	if index, ok := t.Index.count(); ok {
		out.Index = index
	}
	used, ok1 := t.MemUsed.bytes()
	total, ok2 := t.MemTotal.bytes()
	// A chip has memory: 0 says that its runtime told nothing, and then the duty
	// cycle is told no more than the memory is.
	if ok1 && ok2 && total > 0 {
		out.MemUsed, out.MemTotal, out.DutyCycle = used, total, t.DutyCycle.percent()
	}
	return out
}
