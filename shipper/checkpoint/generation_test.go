package checkpoint

import (
	"encoding/json"
	"testing"

	"raytap/shipper/rotation"
)

func TestGeneration_JSON(t *testing.T) {
	sum := rotation.Sum{Size: 100, Hash: 1<<63 + 5}
	for name, want := range map[string]Generation{
		"of an older raytap": {},
		"at its start":       {Position: rotation.Position{After: 1 << 63}, Before: 7},
		"with a longer head": {Position: rotation.Position{Head: sum}},
		"full":               {Position: rotation.Position{After: 2, Own: 3, Raw: 100, Head: sum, Proof: sum}, Before: 9},
		"to be begun":        {Oldest: true},
	} {
		b, err := json.Marshal(toDriverFileJSON(want))
		if err != nil {
			t.Fatal(err)
		}
		var j *driverFileJSON
		if err := json.Unmarshal(b, &j); err != nil {
			t.Fatal(err)
		}
		if got, err := j.generation(); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
	for _, bad := range []string{
		`{"after":"x"}`, `{"raw":-1}`, `{"raw":5}`, `{"head":{"length":5000,"hash":"1"}}`, `{"proof":{"length":4,"hash":"1"},"raw":5}`,
	} {
		var j *driverFileJSON
		if err := json.Unmarshal([]byte(bad), &j); err != nil {
			t.Fatal(err)
		}
		if g, err := j.generation(); err == nil {
			t.Errorf("%s is taken for %+v", bad, g)
		}
	}
}
