package dashboards

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"raytap/deploy/gen/promql"
)

func newChecker(t *testing.T) *promql.Checker {
	t.Helper()
	families, err := promql.ReadReference("../../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	return promql.NewChecker(families)
}

var (
	reference   = regexp.MustCompile(`\$\{?(\w+)(?:[.:][\w.]*)?\}?`)
	inLegend    = regexp.MustCompile(`\{\{(\w+)\}\}`)
	grouping    = regexp.MustCompile(`by \([^)]*\)`) // the first is the outermost
	uniqueLabel = regexp.MustCompile(`\{\{(ray_cluster|submission_id)\}\}`)
	labelQuery  = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)
	seriesOnly  = regexp.MustCompile(`^query_result\((.*)\)$`)
)

// builtIn are Grafana's own variables: time, intervals, a row's fields.
var builtIn = []string{"__range", "__rate_interval", "__from", "__to", "__url_time_range", "__data"}

// withDurations replaces Grafana's intervals, for the parser.
func withDurations(expr string) string {
	return strings.NewReplacer("$__rate_interval", "1m", "$__range", "6h").Replace(expr)
}

func TestQueries_MetricsAndLabelsExist(t *testing.T) {
	checker := newChecker(t)
	checked := 0
	for _, d := range docs(t) {
		for _, p := range d.Panels {
			if p.Datasource.Type != "prometheus" {
				continue
			}
			for _, q := range p.Targets {
				checked++
				used, err := checker.Check(withDurations(q.Expr))
				if err != nil {
					t.Errorf("%s, query %s: %v\n%s", p.named(d), q.RefID, err, q.Expr)
				}
				for _, m := range inLegend.FindAllStringSubmatch(q.LegendFormat, -1) {
					if !slices.Contains(used.Labels, m[1]) {
						t.Errorf("%s, query %s: its legend uses %s, which no series has", p.named(d), q.RefID, m[1])
					}
				}
				// Submission ids are unique; ids of drivers, nodes and applications may exist in several clusters.
				if by := grouping.FindString(q.Expr); strings.Contains(by, "ray_cluster") && q.LegendFormat != "" && !uniqueLabel.MatchString(q.LegendFormat) {
					t.Errorf("%s, query %s: its legend %q does not show the cluster", p.named(d), q.RefID, q.LegendFormat)
				}
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d queries were checked", checked)
	}
}

func TestVariables_MetricsAndLabelsExist(t *testing.T) {
	checker := newChecker(t)
	for _, d := range docs(t) {
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			query := v.Query.(map[string]any)["query"].(string)
			expr, label := "", v.Name
			if m := labelQuery.FindStringSubmatch(query); m != nil {
				expr, label = m[1], m[2]
			} else if m := seriesOnly.FindStringSubmatch(query); m != nil {
				expr = m[1]
			}
			used, err := checker.Check(expr)
			if err != nil || !slices.Contains(used.Labels, label) {
				t.Errorf("%s, variable %s, %q: %v", d.UID, v.Name, query, err)
			}
		}
	}
}

func TestVariables_DefinedAndUsed(t *testing.T) {
	for _, d := range docs(t) {
		used := map[string]bool{}
		note := func(text string) {
			for _, m := range reference.FindAllStringSubmatch(text, -1) {
				used[m[1]] = true
			}
		}
		for _, v := range d.Templating.List {
			if query, ok := v.Query.(map[string]any); ok {
				note(query["query"].(string))
			}
		}
		for _, p := range d.Panels {
			note(p.Datasource.UID)
			for _, q := range p.Targets {
				note(q.Expr)
			}
			for _, to := range dashboardLinks(p) {
				note(to)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(used)) {
			if !d.has(name) && !slices.Contains(builtIn, name) {
				t.Errorf("%s uses the variable %s, which it does not have", d.UID, name)
			}
		}
		for _, v := range d.Templating.List {
			if !used[v.Name] {
				t.Errorf("%s does not use its variable %s", d.UID, v.Name)
			}
		}
	}
}

func TestTables_Columns(t *testing.T) {
	checker := newChecker(t)
	for _, d := range docs(t) {
		for _, p := range d.Panels {
			if p.Type != "table" {
				continue
			}
			fields := []string{"Time"}
			for _, q := range p.Targets {
				if q.Format != "table" || !q.Instant {
					t.Errorf("%s, query %s is not an instant query of format table", p.named(d), q.RefID)
				}
				used, err := checker.Check(withDurations(q.Expr))
				if err != nil {
					t.Fatal(err)
				}
				fields = append(append(fields, "Value #"+q.RefID), used.Labels...)
			}
			shown := p.Transformations[len(p.Transformations)-1].Options
			for field := range shown.RenameByName {
				if !slices.Contains(fields, field) || shown.ExcludeByName[field] {
					t.Errorf("%s shows %s, which no query returns", p.named(d), field)
				}
			}
			for _, o := range p.FieldConfig.Overrides {
				if !slices.Contains(slices.Collect(maps.Values(shown.RenameByName)), o.Matcher.Options) {
					t.Errorf("%s has settings for the column %q, which does not exist", p.named(d), o.Matcher.Options)
				}
			}
		}
	}
}

// recordKeys are the keys of a record that deploy/pipelines stores as labels or structured
// metadata.
var recordKeys = []string{"ray_cluster", "source", "session", "submission_id", "log", "job_id", "job_name", "epoch", "seq", "event", "level", "status", "line_time", "lines",
	"stream", "worker_id", "pid", "node_id", "actor_name", "task_name", "application", "deployment", "replica", "worker_name", "relayed"}

func TestQueries_LokiKeysExist(t *testing.T) {
	var queries []string
	for _, d := range docs(t) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				if p.Datasource.Type == "loki" {
					queries = append(queries, q.Expr)
				}
			}
			for _, to := range dashboardLinks(p) {
				if strings.HasPrefix(to, "/explore?") {
					u, err := url.Parse(to)
					if err != nil {
						t.Fatal(err)
					}
					queries = append(queries, u.Query().Get("panes"))
				}
			}
		}
	}
	if len(queries) != 2 {
		t.Fatalf("%d queries of Loki", len(queries))
	}
	key := regexp.MustCompile(`[{|] ?(\w+)=~?\\?"`)
	for _, q := range queries {
		found := key.FindAllStringSubmatch(q, -1)
		if len(found) != 2 {
			t.Errorf("only %q of %s could be parsed", found, q)
		}
		for _, m := range found {
			if !slices.Contains(recordKeys, m[1]) {
				t.Errorf("%s uses %s, which no record has", q, m[1])
			}
		}
	}
}
