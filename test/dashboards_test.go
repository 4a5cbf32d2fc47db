//go:build e2e && linux

package test

import (
	"encoding/json"
	"fmt"
	"net/url"
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

// filled stands in for Grafana, which fills in variables.
var filled = strings.NewReplacer(
	"$ray_cluster", "e2e", "$submission_id", ".+", "$node_id", ".+", "$application", ".+", "$instance", ".+",
	"$__rate_interval", "1m", "$__range", "10m",
)

// silent are the queries that have nothing to show on a Ray without a fault, a
// GPU and an agent, by dashboard, panel and query.
var silent = map[string]string{
	"raytap-clusters/GPUs in use/A":            "no GPU",
	"raytap-clusters/What each cluster does/H": "no GPU",
	"raytap-nodes/GPU/A":                       "no GPU",
	"raytap-nodes/GPU memory/A":                "no GPU",
	"raytap-nodes/Nodes/J":                     "no node has died",
	"raytap-nodes/Nodes/K":                     "no node has died",
	"raytap-nodes/Dead nodes/A":                "no node has died",
	"raytap-nodes/CPU cores/A":                 "no agent",
	"raytap-nodes/Memory, by the agent/A":      "no agent",
	"raytap-nodes/GPU, by the agent/A":         "no agent",
	"raytap-nodes/GPU memory, by the agent/A":  "no agent",
	"raytap-self/Bytes read/B":                 "no connection broke, so nothing was read again",
	"raytap-self/Ends of connections/A":        "no connection broke",
}

// checkDashboards fails the test if a query of a dashboard has nothing to show.
func (p prometheus) checkDashboards(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("../deploy/grafana/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	known, asked, empty := map[string]bool{}, 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b board
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		p.checkVariables(t, b)
		for _, panel := range b.Panels {
			if panel.Datasource.Type != "prometheus" {
				continue
			}
			for _, q := range panel.Targets {
				id := strings.Join([]string{b.UID, panel.Title, q.RefID}, "/")
				known[id] = true
				asked++
				n, err := p.count(t, filled.Replace(q.Expr))
				if err != nil {
					t.Errorf("%s: %v", id, err)
					continue
				}
				if n > 0 {
					continue
				}
				if empty++; silent[id] == "" {
					t.Errorf("%s shows nothing: %s", id, q.Expr)
				}
			}
		}
	}
	for id := range silent {
		if !known[id] {
			t.Errorf("there is no query %s any more", id)
		}
	}
	t.Logf("%d queries of %d dashboards were asked, %d of them have nothing to show here", asked, len(files), empty)
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
		if n, err := p.count(t, filled.Replace(query)); err != nil || n == 0 {
			t.Errorf("%s: variable %s has %d values: %v", b.UID, v.Name, n, err)
		}
	}
}

// count is the number of series that a query gives.
func (p prometheus) count(t *testing.T, query string) (int, error) {
	t.Helper()
	var answer struct {
		Data struct{ Result []any }
	}
	err := p.ask(t, "/api/v1/query?"+url.Values{"query": {query}}.Encode(), &answer)
	return len(answer.Data.Result), err
}

func (p prometheus) ask(t *testing.T, path string, answer any) error {
	t.Helper()
	body, err := get(t.Context(), p.url+path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, answer)
}

// ruleFiles are those in deploy/prometheus, as YAML.
func ruleFiles(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("../deploy/prometheus/*.rules.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no rules: %v", err)
	}
	for i := range files {
		if files[i], err = filepath.Abs(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(files)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checkRules fails the test if a rule cannot be evaluated, if the failed job has
// no alert, or if anything else has one.
func (p prometheus) checkRules(t *testing.T, failed string) {
	t.Helper()
	eventually(t, 30*time.Second, "the failed job has an alert", func() error {
		var answer struct {
			Data struct {
				Groups []struct {
					Rules []struct {
						Name, Health, LastError string
						Alerts                  []struct {
							State  string
							Labels map[string]string
						}
					}
				}
			}
		}
		if err := p.ask(t, "/api/v1/rules", &answer); err != nil {
			return err
		}
		var firing []string
		rules := 0
		for _, group := range answer.Data.Groups {
			for _, rule := range group.Rules {
				rules++
				if rule.Health != "ok" || rule.LastError != "" {
					return fmt.Errorf("rule %s is %s: %s", rule.Name, rule.Health, rule.LastError)
				}
				for _, a := range rule.Alerts {
					if a.State == "firing" {
						firing = append(firing, rule.Name+" "+a.Labels["submission_id"])
					}
				}
			}
		}
		want := "RayJobFailed " + failed
		if rules == 0 || !slices.Contains(firing, want) {
			return fmt.Errorf("of %d rules these fire: %q", rules, firing)
		}
		for _, f := range firing {
			// Other tests' jobs fail on the same head.
			if !strings.HasPrefix(f, "RayJobFailed ") {
				return fmt.Errorf("%s fires", f)
			}
		}
		return nil
	})
}

// checkReference fails the test if the page has a family of which docs/metrics.md
// does not tell.
func checkReference(t *testing.T, page page) {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for name, family := range page {
		if !strings.HasPrefix(name, "raytap_") {
			continue
		}
		checked++
		kind := strings.ToLower(family.GetType().String())
		_, section, ok := strings.Cut(string(text), "\n### "+name+"\n\n"+kind+"; ")
		if !ok {
			t.Errorf("docs/metrics.md has no %s %s", kind, name)
			continue
		}
		told, _, _ := strings.Cut(section, ".")
		for _, label := range family.GetMetric()[0].GetLabel() {
			if !strings.Contains(told, "`"+label.GetName()+"`") {
				t.Errorf("docs/metrics.md does not tell of the label %s of %s", label.GetName(), name)
			}
		}
	}
	t.Logf("%d families of the page are in docs/metrics.md", checked)
}
