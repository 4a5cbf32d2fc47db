package synapse

import (
	"strings"
	"testing"

	"raytap/ray/internal/pyjson"
)

// Sentinels are omitted.
func TestResources_Sentinels(t *testing.T) {
	read := func(raw string) gpuRow {
		var g gpuRow
		if err := pyjson.NewDecoder(strings.NewReader(raw)).Decode(&g); err != nil {
			t.Fatal(err)
		}
		return g
	}
	for _, raw := range []string{`{"utilization_gpu":-1}`, `{"utilization_gpu":65535}`, `{"utilization_gpu":null}`} {
		if g := read(raw).gpu(0); g.Utilization != nil {
			t.Errorf("%s is %v", raw, *g.Utilization)
		}
	}
	for _, raw := range []string{`{"memory_used":-1,"memory_total":80}`, `{"memory_used":1,"memory_total":-1}`, `{"memory_used":18446744073709551615,"memory_total":80}`} {
		if g := read(raw).gpu(0); g.MemUsed != 0 || g.MemTotal != 0 {
			t.Errorf("%s is %v of %v", raw, g.MemUsed, g.MemTotal)
		}
	}
	if g := read(`{"utilization_gpu":50,"memory_used":1,"memory_total":2}`).gpu(0); *g.Utilization != 0.5 || g.MemUsed != mib || g.MemTotal != 2*mib {
		t.Errorf("%+v", g)
	}
	for raw, want := range map[string]bool{
		`{"total":4,"used":1,"available":3}`: true, `{"total":4}`: true, `{"total":-1,"used":1,"available":3}`: false,
		`{"total":4,"used":-1}`: false, `{"total":18446744073709551615}`: false, `{}`: false,
	} {
		var r amountRow
		if err := pyjson.NewDecoder(strings.NewReader(raw)).Decode(&r); err != nil || (amountOf(&r) != nil) != want {
			t.Errorf("%s: %+v, %v", raw, amountOf(&r), err)
		}
	}
}
