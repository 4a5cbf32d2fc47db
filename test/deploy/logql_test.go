package deploy

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// logql is a query parsed with Grafana's grammar.
type logql struct {
	Errors []int // offsets of syntax errors
	Names  []struct {
		Name    string
		Selects bool // the name is in {}, so it must be a label
	}
}

func parseLogQL(t *testing.T, queries []string) []logql {
	t.Helper()
	in, err := json.Marshal(queries)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(tool(t, "lezer-logql"))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var parsed []logql
	if err := json.Unmarshal(out, &parsed); err != nil || len(parsed) != len(queries) {
		t.Fatalf("%v: %s", err, out)
	}
	return parsed
}

// invalid reports whether a query has a syntax error, or a name that is neither a label
// nor structured metadata in deploy/pipelines.
func (l logql) invalid() bool {
	for _, n := range l.Names {
		if !slices.Contains(lokiLabels, n.Name) && (n.Selects || !slices.Contains(lokiMetadata, n.Name)) {
			return true
		}
	}
	return len(l.Errors) > 0 || len(l.Names) == 0
}

// files returns the files of the repository that match the patterns.
func files(t *testing.T, patterns ...string) []string {
	t.Helper()
	var all []string
	for _, p := range patterns {
		found, err := filepath.Glob(filepath.Join(root, p))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", p, len(found), err)
		}
		for _, name := range found {
			all = append(all, strings.TrimPrefix(name, root+"/"))
		}
	}
	return all
}

// dashboardQueries returns the expressions for Loki in a dashboard: of panels, and of links
// to Explore.
func dashboardQueries(t *testing.T, v any, loki bool) (queries []string) {
	t.Helper()
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			queries = append(queries, dashboardQueries(t, one, loki)...)
		}
	case map[string]any:
		if source, ok := v["datasource"].(map[string]any); ok {
			loki = source["type"] == "loki"
		}
		for name, one := range v {
			if text, ok := one.(string); ok && name == "expr" && loki {
				queries = append(queries, text)
			}
			queries = append(queries, dashboardQueries(t, one, loki)...)
		}
	case string:
		if !strings.HasPrefix(v, "/explore?") {
			return nil
		}
		link, err := url.Parse(v)
		if err != nil {
			t.Fatal(err)
		}
		var panes any
		if err := json.Unmarshal([]byte(link.Query().Get("panes")), &panes); err != nil {
			t.Fatalf("%v: %s", err, v)
		}
		return dashboardQueries(t, panes, false)
	}
	return queries
}

// documentedQueries returns the queries in a page of documentation: the lines after the
// comment "# Loki" in a code block.
func documentedQueries(page string) (queries []string) {
	loki := false
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, "```"):
			loki = line == "# Loki"
		case loki && line != "":
			queries = append(queries, line)
		}
	}
	return queries
}

func TestLogQL_QueriesAreValid(t *testing.T) {
	var queries, sources []string
	for _, name := range files(t, "deploy/grafana/dashboards/*.json") {
		var v any
		if err := json.Unmarshal([]byte(read(t, name)), &v); err != nil {
			t.Fatal(err)
		}
		for _, q := range dashboardQueries(t, v, false) {
			queries, sources = append(queries, q), append(sources, name)
		}
	}
	if len(queries) < 2 {
		t.Errorf("want at least 2 queries in the dashboards: %q", queries)
	}
	dashboards := len(queries)
	for _, name := range files(t, "docs/*.md", "deploy/*/README.md", "README.md") {
		for _, q := range documentedQueries(read(t, name)) {
			queries, sources = append(queries, q), append(sources, name)
		}
	}
	if len(queries) == dashboards {
		t.Error("the documentation has no query for Loki")
	}
	for i, parsed := range parseLogQL(t, queries) {
		if parsed.invalid() {
			t.Errorf("%s: %s has syntax errors at %v, or unknown labels or metadata: %v", sources[i], queries[i], parsed.Errors, parsed.Names)
		}
	}
	t.Logf("%d queries of dashboards, %d of the documentation", dashboards, len(queries)-dashboards)
}

func TestLogQL_DetectsErrors(t *testing.T) {
	queries := []string{
		`{ray_cluster="prod"} | submission_id=`,
		`{ray_cluster="prod" | submission_id="x"`,
		`{ray_cluster=prod}`,
		`{ray_cluster="prod"} || level="ERROR"`,
		`{submission_id="x"}`, // no label
		`{ray_cluster="prod"} | submission="x"`,
		``,
	}
	for i, parsed := range parseLogQL(t, queries) {
		if !parsed.invalid() {
			t.Errorf("%q is not detected", queries[i])
		}
	}
}
