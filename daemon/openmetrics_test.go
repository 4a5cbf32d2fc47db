package daemon

import (
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"

	"raytap/collector"
)

// suffixes are those of OpenMetrics, by type.
var suffixes = map[string][]string{
	"counter":   {"_total", "_created"},
	"gauge":     {""},
	"summary":   {"", "_count", "_sum", "_created"},
	"histogram": {"_bucket", "_count", "_sum", "_created"},
}

// Only counters end in _total, and no name of a family or of its series is that of
// another family.
func TestMetrics_ValidOpenMetrics(t *testing.T) {
	types := map[string]string{}
	own, err := SelfMetrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range own {
		types[f.GetName()] = strings.ToLower(dto.MetricType_name[int32(f.GetType())])
	}
	if len(types) < 40 || types["go_goroutines"] == "" || types["process_start_time_seconds"] == "" {
		t.Errorf("%d families of its own: %v", len(types), types)
	}
	for _, f := range collector.Families() {
		if old, twice := types[f.Name]; twice && (old != f.Type || f.Type != "histogram") { // of the requests, which are both
			t.Errorf("%s is a duplicate", f.Name)
		}
		types[f.Name] = f.Type
	}
	of := map[string]string{} // series name or family name -> family
	for name, kind := range types {
		family, counts := strings.CutSuffix(name, "_total")
		if counts != (kind == "counter") {
			t.Errorf("the %s %s: only counters end in _total", kind, name)
		}
		if suffixes[kind] == nil {
			t.Errorf("%s is a %s", name, kind)
		}
		names := map[string]bool{family: true}
		for _, s := range suffixes[kind] {
			names[family+s] = true
		}
		for n := range names {
			if other := of[n]; other != "" {
				t.Errorf("%s is of the families %s and %s", n, name, other)
			}
			of[n] = name
		}
	}
}
