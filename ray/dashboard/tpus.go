package dashboard

import "raytap/ray"

// tpuRow is taken from Ray's source (2.60.0), not measured: Ray reads the metrics of
// the TPU device plugin if TPU_DEVICE_PLUGIN_ADDR is set. Utilization is in percent,
// memory in bytes. Values that the plugin does not report are 0.
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
		Index: place, Name: deref(t.Name), Type: deref(t.Type), Topology: deref(t.Topology),
		TensorCore: t.TensorCore.percent(), Bandwidth: t.Bandwidth.percent(),
	}
	if index, ok := t.Index.count(); ok {
		out.Index = index
	}
	used, ok1 := t.MemUsed.bytes()
	total, ok2 := t.MemTotal.bytes()
	// A chip has memory: 0 means that its runtime reported nothing, so the duty cycle
	// is unknown as well.
	if ok1 && ok2 && total > 0 {
		out.MemUsed, out.MemTotal, out.DutyCycle = used, total, t.DutyCycle.percent()
	}
	return out
}
