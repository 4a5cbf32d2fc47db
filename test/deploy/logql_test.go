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

// logql is what Grafana's own grammar makes of a query.
type logql struct {
	Errors []int // the places where it cannot be read
	Names  []struct {
		Name    string
		Selects bool // in {}, where names are those of labels
	}
}

func parseLogQL(t *testing.T, queries []string) []logql {
	t.Helper()
	in, err := json.Marshal(queries)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(tool(t, "lezer-logql"))
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	var parsed []logql
	if err := json.Unmarshal(out, &parsed); err != nil || len(parsed) != len(queries) {
		t.Fatalf("%v: %s", err, out)
	}
	return parsed
}

// wrong tells what is wrong with a query: it cannot be read, or names what
// deploy/pipelines makes neither a label nor structured metadata of.
func (l logql) wrong() bool {
	for _, n := range l.Names {
		if !slices.Contains(lokiLabels, n.Name) && (n.Selects || !slices.Contains(lokiMetadata, n.Name)) {
			return true
		}
	}
	return len(l.Errors) > 0 || len(l.Names) == 0
}

// files gives the files of the repository that patterns match.
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

// dashboardQueries are the expressions for Loki in a dashboard: of panels, and of
// links that open Explore.
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

// shown are the queries in a page: what follows the comment "# Loki" in a block.
func shown(page string) (queries []string) {
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
	var queries, places []string
	for _, name := range files(t, "deploy/grafana/dashboards/*.json") {
		var v any
		if err := json.Unmarshal([]byte(read(t, name)), &v); err != nil {
			t.Fatal(err)
		}
		for _, q := range dashboardQueries(t, v, false) {
			queries, places = append(queries, q), append(places, name)
		}
	}
	if len(queries) < 2 {
		t.Errorf("%q are all queries of the dashboards", queries)
	}
	dashboards := len(queries)
	for _, name := range files(t, "docs/*.md", "deploy/*/README.md", "README.md") {
		for _, q := range shown(read(t, name)) {
			queries, places = append(queries, q), append(places, name)
		}
	}
	if len(queries) == dashboards {
		t.Error("no page has a query for Loki")
	}
	for i, parsed := range parseLogQL(t, queries) {
		if parsed.wrong() {
			t.Errorf("%s: %s cannot be read at %v, or names what is no label or metadata: %v", places[i], queries[i], parsed.Errors, parsed.Names)
		}
	}
	t.Logf("%d queries of dashboards, %d of pages", dashboards, len(queries)-dashboards)
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
		if !parsed.wrong() {
			t.Errorf("%q is taken for right", queries[i])
		}
	}
}
