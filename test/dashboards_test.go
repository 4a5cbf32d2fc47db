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

// board is a dashboard.
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

// fill replaces the variables in a query, like Grafana.
func fill(query, cluster string) string {
	return strings.NewReplacer(
		"$ray_cluster", cluster, "$submission_id", ".+", "$node_id", ".+", "$application", ".+", "$instance", ".+",
		"$__rate_interval", "1m", "$__range", "10m",
	).Replace(query)
}

// synapseQueries are the queries for metrics of Synapse agents only. All others use the
// real Ray.
var synapseQueries = map[string]bool{
	"raytap-nodes/CPU cores/A":          true,
	"raytap-nodes/Memory (agent)/A":     true,
	"raytap-nodes/GPU (agent)/A":        true,
	"raytap-nodes/GPU memory (agent)/A": true,
}

// noData are the queries without data, with the reason, by dashboard, panel and query.
var noData = map[string]string{
	"raytap-nodes/GPU/A":        "Ray reads the load of a real GPU only",
	"raytap-nodes/GPU memory/A": "Ray reads the memory of a real GPU only",
}

// panelQuery is a query of a panel.
type panelQuery struct{ id, expr string }

// boards returns the dashboards in deploy/grafana.
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

// panelQueries returns the queries of all dashboards, without variables.
func panelQueries(t *testing.T) (all []panelQuery) {
	t.Helper()
	for _, b := range boards(t) {
		for _, panel := range b.Panels {
			if panel.Datasource.Type != "prometheus" {
				continue
			}
			for _, q := range panel.Targets {
				id, cluster := strings.Join([]string{b.UID, panel.Title, q.RefID}, "/"), "e2e"
				if synapseQueries[id] {
					cluster = "agent"
				}
				all = append(all, panelQuery{id, fill(q.Expr, cluster)})
			}
		}
	}
	return all
}

// checkDashboards fails the test if a query of a dashboard has no data. It repeats each
// query until it has data, because that may come late or end soon.
func (p prometheus) checkDashboards(t *testing.T) {
	t.Helper()
	for _, b := range boards(t) {
		p.checkVariables(t, b)
	}
	empty := panelQueries(t)
	total := len(empty)
	_ = poll(2*time.Minute, func() error {
		empty = slices.DeleteFunc(empty, func(q panelQuery) bool {
			series, err := p.series(t, q.expr)
			if err != nil {
				t.Fatalf("%s: %v", q.id, err)
			}
			return len(series) > 0
		})
		if len(empty) > len(noData) {
			return errors.New("queries without data")
		}
		return nil
	})
	isEmpty := map[string]bool{}
	for _, q := range empty {
		isEmpty[q.id] = true
		if noData[q.id] == "" {
			t.Errorf("%s has no data: %s", q.id, q.expr)
		}
	}
	for id, reason := range noData {
		if !isEmpty[id] {
			t.Errorf("%s has data or does not exist: remove it from noData (%s)", id, reason)
		}
	}
	t.Logf("%d queries of the dashboards, %d of them without data here", total, len(empty))
}

var variableQuery = regexp.MustCompile(`^(?:label_values\((.*), (\w+)\)|query_result\((.*)\))$`)

func (p prometheus) checkVariables(t *testing.T, b board) {
	t.Helper()
	for _, v := range b.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := variableQuery.FindStringSubmatch(v.Definition)
		if m == nil {
			t.Fatalf("%s: variable %s has an unknown kind of query: %s", b.UID, v.Name, v.Definition)
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
