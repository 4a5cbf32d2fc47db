package promql

import (
	"slices"
	"testing"
)

const file = "../../../docs/metrics.md"

func TestReference_Examples(t *testing.T) {
	families, err := ReadReference(file)
	if err != nil {
		t.Fatal(err)
	}
	checker := NewChecker(families)
	for _, f := range families {
		used, err := checker.Check(f.Example)
		if err != nil {
			t.Errorf("the example of %s, %q: %v", f.Name, f.Example, err)
			continue
		}
		names := []string{f.Name}
		if f.Type == "histogram" {
			names = []string{f.Name + "_bucket", f.Name + "_sum", f.Name + "_count"}
		}
		if !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(used.Metrics, n) }) {
			t.Errorf("the example of %s does not use it: %q", f.Name, f.Example)
		}
	}
}

func TestChecker_Check(t *testing.T) {
	checker := NewChecker([]Family{
		{Name: "raytap_up", Type: "gauge", Labels: []string{"ray_cluster"}},
		{Name: "raytap_d", Type: "histogram", Labels: []string{"code"}},
	})
	for name, test := range map[string]struct {
		expr string
		ok   bool
	}{
		"a metric":                         {`raytap_up{ray_cluster="a"} == 0`, true},
		"a label of the target":            {`sum by (instance) (raytap_up{job="raytap"})`, true},
		"a bucket":                         {`histogram_quantile(0.9, sum by (le, code) (rate(raytap_d_bucket[5m])))`, true},
		"a label that the expression adds": {`max by (short) (label_replace(raytap_up, "short", "$1", "ray_cluster", "(.).*"))`, true},
		"no expression":                    {`raytap_up ==`, false},
		"no metric of that name":           {`raytap_down`, false},
		"no such label":                    {`raytap_up{cluster="a"}`, false},
		"grouped by no such label":         {`sum by (cluster) (raytap_up)`, false},
		"matched by no such label":         {`raytap_up and on (cluster) raytap_up`, false},
		"a histogram without its suffix":   {`raytap_d`, false},
		"within a subquery":                {`max_over_time(rate(raytap_nothing[1m])[5m:1m])`, false},
		"no name at all":                   {`{ray_cluster="a"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := checker.Check(test.expr); (err == nil) != test.ok {
				t.Errorf("%s: %v", test.expr, err)
			}
		})
	}
}
