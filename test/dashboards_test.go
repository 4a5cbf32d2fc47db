//go:build e2e && linux

package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// board is what this test reads of a dashboard.
type board struct {
	UID        string
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		Title      string
		Datasource struct{ Type string }
		Targets    []struct{ Expr, RefID string }
	}
}

// fill stands in for Grafana, which fills in variables.
func fill(query, cluster string) string {
	return strings.NewReplacer(
		"$ray_cluster", cluster, "$submission_id", ".+", "$node_id", ".+", "$application", ".+", "$instance", ".+",
		"$__rate_interval", "1m", "$__range", "10m",
	).Replace(query)
}

// ofAgent are the queries about what only an agent tells; all others are asked of
// the real Ray.
var ofAgent = map[string]bool{
	"raytap-nodes/CPU cores/A":                true,
	"raytap-nodes/Memory, by the agent/A":     true,
	"raytap-nodes/GPU, by the agent/A":        true,
	"raytap-nodes/GPU memory, by the agent/A": true,
}

// silent are the queries that have nothing to show, with why, by dashboard, panel
// and query.
var silent = map[string]string{
	"raytap-nodes/GPU/A":        "Ray reads the load of a real GPU only",
	"raytap-nodes/GPU memory/A": "Ray reads the memory of a real GPU only",
}

// panelQuery is a query of a panel.
type panelQuery struct{ id, expr string }

// boards are the dashboards in deploy/grafana.
func boards(t *testing.T) (all []board) {
	t.Helper()
	files, err := filepath.Glob("../deploy/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, b)
	}
	return all
}

// panelQueries gives those of all dashboards, filled in.
func panelQueries(t *testing.T) (all []panelQuery) {
	t.Helper()
	for _, b := range boards(t) {
		for _, panel := range b.Panels {
			if panel.Datasource.Type != "prometheus" {
				continue
			}
			for _, q := range panel.Targets {
				id, cluster := strings.Join([]string{b.UID, panel.Title, q.RefID}, "/"), "e2e"
				if ofAgent[id] {
					cluster = "agent"
				}
				all = append(all, panelQuery{id, fill(q.Expr, cluster)})
			}
		}
	}
	return all
}

// checkDashboards fails the test if a query of a dashboard shows nothing. Each is
// asked until it speaks: what it tells of may be over soon, or begin late.
func (p prometheus) checkDashboards(t *testing.T) {
	t.Helper()
	for _, b := range boards(t) {
		p.checkVariables(t, b)
	}
	quiet := panelQueries(t)
	asked := len(quiet)
	_ = poll(2*time.Minute, func() error {
		quiet = slices.DeleteFunc(quiet, func(q panelQuery) bool {
			series, err := p.series(t, q.expr)
			if err != nil {
				t.Fatalf("%s: %v", q.id, err)
			}
			return len(series) > 0
		})
		if len(quiet) > len(silent) {
			return errors.New("some show nothing")
		}
		return nil
	})
	still := map[string]bool{}
	for _, q := range quiet {
		still[q.id] = true
		if silent[q.id] == "" {
			t.Errorf("%s shows nothing: %s", q.id, q.expr)
		}
	}
	for id, why := range silent {
		if !still[id] {
			t.Errorf("%s shows something, or is there no more (%s)", id, why)
		}
	}
	t.Logf("%d queries of the dashboards were asked, %d of them have nothing to show here", asked, len(quiet))
}

var ofVariable = regexp.MustCompile(`^(?:label_values\((.*), (\w+)\)|query_result\((.*)\))$`)

func (p prometheus) checkVariables(t *testing.T, b board) {
	t.Helper()
	for _, v := range b.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := ofVariable.FindStringSubmatch(v.Definition)
		if m == nil {
			t.Fatalf("%s: variable %s has a query of a kind that is not known: %s", b.UID, v.Name, v.Definition)
		}
		query := m[3]
		if query == "" {
			query = fmt.Sprintf("count by (%s) (%s)", m[2], m[1])
		}
		if series, err := p.series(t, fill(query, "e2e")); err != nil || len(series) == 0 {
			t.Errorf("%s: variable %s has %d values: %v", b.UID, v.Name, len(series), err)
		}
	}
}
