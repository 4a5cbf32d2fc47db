package dashboard

import (
	"reflect"
	"testing"

	"raytap/ray"
)

// The stats of a TPU are returned, except those that its runtime does not report.
func TestNodes_TPUUnits(t *testing.T) {
	const summary = `{"now":1,"cpu":1,"cpus":[1],"mem":[1,1,1,1],"tpus":[
 {"index":0,"name":"4804690994094478883-0","tpuType":"tpu-v6e-slice","tpuTopology":"2x4","tensorcoreUtilization":25.0,"hbmUtilization":50.0,"dutyCycle":75.0,"memoryUsed":1000,"memoryTotal":2000},
 {"index":1,"name":"4804690994094478883-1","tpuType":"tpu-v4","tpuTopology":"2x2","tensorcoreUtilization":0.0,"hbmUtilization":-1,"dutyCycle":0.0,"memoryUsed":0,"memoryTotal":0}
],"raylet":{"nodeId":"n","state":"ALIVE"}}`
	nodes, err := nodesClient(t, stateAnswer(1, 1, 1, 1, nodeOf("ALIVE")), summary).Nodes(t.Context())
	if err != nil || nodes[0].Stats == nil {
		t.Fatalf("%+v, %v", nodes, err)
	}
	of := func(v float64) *float64 { return &v }
	want := []ray.TPU{
		{Index: 0, Name: "4804690994094478883-0", Type: "tpu-v6e-slice", Topology: "2x4", TensorCore: of(0.25), Bandwidth: of(0.5), DutyCycle: of(0.75), MemUsed: 1000, MemTotal: 2000},
		{Index: 1, Name: "4804690994094478883-1", Type: "tpu-v4", Topology: "2x2", TensorCore: of(0)},
	}
	if got := nodes[0].Stats.TPUs; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
