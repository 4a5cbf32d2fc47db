package daemon

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"raytap/config"
)

// patterns compiles patterns.
func patterns(t *testing.T, all ...string) []config.Pattern {
	t.Helper()
	out := make([]config.Pattern, len(all))
	for i, s := range all {
		if err := out[i].UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// families returns the names of the metrics in an exposition.
func families(page string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(page, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestExcludeMetrics_EveryFamily(t *testing.T) {
	h := open(t, configure(t, heads(t, "prod"), "prod"), nil)
	var page string
	h.until("the cluster is up", func() bool {
		_, page = h.get("/metrics")
		return strings.Contains(page, `raytap_up{ray_cluster="prod"} 1`)
	})
	known := familyNames()
	shown := families(page)
	for _, name := range shown {
		if !slices.Contains(known, name) {
			t.Errorf("%s is unknown: a pattern for it would cause a warning", name)
		}
	}
	for _, name := range []string{"go_goroutines", "promhttp_metric_handler_errors_total", "raytap_api_request_duration_seconds", "raytap_build_info", "raytap_shipper_lines_total", "raytap_sink_records_total", "raytap_up"} {
		if !slices.Contains(shown, name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
	c := h.d.cfg
	c.Collector.ExcludeMetrics = patterns(t, ".*_total", "raytap_(api_.*|up)", "go_.*")
	if code, text := h.reload(c, nil); code != http.StatusOK {
		t.Fatalf("reload: %d %s", code, text)
	}
	h.until("the cluster is collected again", func() bool {
		_, page = h.get("/metrics")
		return strings.Contains(page, "raytap_nodes{")
	})
	left := families(page)
	for _, name := range left {
		if excludes(c.Collector.ExcludeMetrics, name) {
			t.Errorf("%s is excluded but exposed", name)
		}
	}
	if !slices.Contains(left, "raytap_clusters") || !slices.Contains(left, "raytap_nodes") {
		t.Errorf("metrics that are not excluded are missing: %v", left)
	}
}

func TestExcludeMetrics_Probe(t *testing.T) {
	hs := heads(t, "prod")
	c := probing(t, "127.0.0.1:*")
	c.Collector.ExcludeMetrics = patterns(t, "raytap_(api_.*|up)")
	h := open(t, c, nil)
	code, page := h.get("/probe?target=" + hostOf(hs["prod"]))
	if code != http.StatusOK || !strings.Contains(page, "raytap_nodes{") || excludes(c.Collector.ExcludeMetrics, families(page)...) {
		t.Errorf("got %d:\n%s", code, page)
	}
}

func TestWarnings_PatternWithoutMatch(t *testing.T) {
	c := configure(t, heads(t, "prod"), "prod")
	c.Collector.ExcludeMetrics = patterns(t, "raytap_node_load.*", "raytap_nod", "raytap_api_request_duration_seconds", "raytap_api_request_duration_seconds_bucket", "go_.*")
	warned := Warnings(c)
	if len(warned) != 2 || !strings.HasPrefix(warned[0], `collector.exclude_metrics[1]: "raytap_nod" matches no metric`) ||
		!strings.HasPrefix(warned[1], `collector.exclude_metrics[3]: "raytap_api_request_duration_seconds_bucket" `) {
		t.Errorf("got %q", warned)
	}
	h := open(t, c, nil)
	if got := strings.Count(h.lines(), "matches no metric"); got != 2 {
		t.Errorf("the start warns %d times:%s", got, h.lines())
	}
	if code, text := h.reload(c, nil); code != http.StatusOK {
		t.Fatalf("reload: %d %s", code, text)
	}
	if got := strings.Count(h.lines(), "matches no metric"); got != 4 {
		t.Errorf("the start and a reload warn %d times:%s", got, h.lines())
	}
}

// Where the logs of workers are shipped, the start says what pipelines need, once; so does a
// reload that adds them.
func TestWarnings_Key(t *testing.T) {
	c := configure(t, heads(t, "prod"), "prod")
	c.Shipper.Enabled = true
	h := open(t, c, nil)
	for i, sources := range [][]string{{"driver"}, {"driver", "worker"}, {"driver", "worker"}, {"worker"}, {"driver"}, {"worker"}} {
		want := []int{0, 1, 1, 1, 1, 2}[i]
		if c.Shipper.Sources = sources; i > 0 {
			if code, text := h.reload(c, nil); code != http.StatusOK {
				t.Fatalf("reload: %d %s", code, text)
			}
		}
		if got := strings.Count(h.lines(), "distinguished by the key log"); got != want {
			t.Errorf("%v: %d warnings, want %d", sources, got, want)
		}
		if got := slices.Contains(Warnings(c), keyWarning); got != slices.Contains(sources, "worker") {
			t.Errorf("%v: config check warns: %t", sources, got)
		}
	}
}
