package deploy

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// The labels and structured metadata in each configuration for Loki, as documented in
// docs/pipelines.md.
var (
	lokiLabels   = []string{"ray_cluster", "source"}
	lokiMetadata = []string{"actor_name", "application", "deployment", "epoch", "event", "event_label", "job_id", "job_name", "k8s_namespace", "level", "line_time", "lines", "log", "node_id", "owner_kind", "owner_name",
		"pid", "relayed", "replica", "seq", "session", "source_type", "status", "stream", "submission_id", "task_name", "worker_id", "worker_name"}
)

// mapping is how a configuration maps the keys of a record.
type mapping struct {
	labels, metadata []string
	time, line       string
}

// Vector's configuration is tested in test/pipelines, which runs its program.
func TestPipelines_LokiMapsSameKeys(t *testing.T) {
	for name, got := range map[string]mapping{"alloy.alloy": alloyMapping(t), "promtail.yaml": promtailMapping(t), "fluent-bit.yaml": fluentBitMapping(t)} {
		slices.Sort(got.labels)
		slices.Sort(got.metadata)
		if !slices.Equal(got.labels, lokiLabels) {
			t.Errorf("labels of %s: %v", name, got.labels)
		}
		if !slices.Equal(got.metadata, lokiMetadata) {
			t.Errorf("structured metadata of %s: %v", name, got.metadata)
		}
		if got.time != "time" || got.line != "message" {
			t.Errorf("%s takes the time from %q and the line from %q", name, got.time, got.line)
		}
	}
}

// checkExtracted checks that a configuration extracts exactly the keys that its stages use,
// each under its own name.
func checkExtracted(t *testing.T, program string, from map[string]string, names ...string) {
	t.Helper()
	for _, name := range names {
		if as, ok := from[name]; !ok || as != name && as != "" {
			t.Errorf("%s uses %s, but does not extract it", program, name)
		}
	}
	if len(from) != len(names) {
		t.Errorf("%s extracts %v and uses %v", program, slices.Sorted(maps.Keys(from)), names)
	}
}

func alloyMapping(t *testing.T) mapping {
	t.Helper()
	file := checkAlloy(read(t, "deploy/pipelines/alloy.alloy"), t.Fatalf)
	keys := func(name string) []string {
		return slices.Collect(maps.Keys(stage[map[string]string](t, file, name, "values")))
	}
	m := mapping{
		labels: keys("stage.labels"), metadata: keys("stage.structured_metadata"),
		time: stage[string](t, file, "stage.timestamp", "source"), line: stage[string](t, file, "stage.output", "source"),
	}
	checkExtracted(t, "alloy.alloy", stage[map[string]string](t, file, "stage.json", "expressions"),
		slices.Concat(m.labels, m.metadata, []string{m.time, m.line})...)
	return m
}

func promtailMapping(t *testing.T) mapping {
	t.Helper()
	stages := map[string]any{}
	scrape := parse(t, "promtail.yaml")["scrape_configs"].([]any)[0].(map[string]any)
	for _, s := range scrape["pipeline_stages"].([]any) {
		maps.Copy(stages, s.(map[string]any))
	}
	of := func(stage, key string) any { return stages[stage].(map[string]any)[key] }
	keys := func(v any) []string { return slices.Collect(maps.Keys(v.(map[string]any))) }
	m := mapping{
		labels: keys(stages["labels"]), metadata: keys(stages["structured_metadata"]),
		time: of("timestamp", "source").(string), line: of("output", "source").(string),
	}
	from := map[string]string{}
	for name, as := range of("json", "expressions").(map[string]any) {
		from[name], _ = as.(string)
	}
	checkExtracted(t, "promtail.yaml", from, slices.Concat(m.labels, m.metadata, []string{m.time, m.line})...)
	return m
}

// In Fluent Bit the line is the only key that is left after the removal of all others.
func fluentBitMapping(t *testing.T) (m mapping) {
	t.Helper()
	all := parse(t, "fluent-bit.yaml")
	pipeline := all["pipeline"].(map[string]any)
	output := pipeline["outputs"].([]any)[0].(map[string]any)
	split := func(key string) []string {
		parts := strings.Split(output[key].(string), ",")
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		return parts
	}
	for _, name := range split("label_keys") {
		m.labels = append(m.labels, strings.TrimPrefix(name, "$"))
	}
	for _, pair := range split("structured_metadata") {
		name, from, _ := strings.Cut(pair, "=")
		if from != "$"+name {
			t.Errorf("fluent-bit.yaml takes %s from %s", name, from)
		}
		m.metadata = append(m.metadata, name)
	}
	rest := map[string]bool{}
	for _, f := range pipeline["filters"].([]any) {
		allowed, _ := f.(map[string]any)["allowlist_key"].([]any)
		for _, name := range allowed {
			rest[name.(string)] = true
		}
	}
	for _, name := range slices.Concat(m.labels, m.metadata) {
		if !rest[name] {
			t.Errorf("fluent-bit.yaml drops %s before it is used", name)
		}
	}
	for _, name := range split("remove_keys") {
		delete(rest, name)
	}
	m.line = strings.Join(slices.Collect(maps.Keys(rest)), " ")
	parser := all["parsers"].([]any)[0].(map[string]any)
	m.time = parser["time_key"].(string)
	return m
}
