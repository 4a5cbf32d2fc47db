// Package rules checks the rules in deploy/prometheus, their tests and their
// runbooks. promtool tests when the alerts fire: see
// scripts/check-rules.
package rules

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"raytap/deploy/gen/promql"
)

const (
	rulesDir = "../../prometheus"
	metrics  = "../../../docs/metrics.md"
	runbooks = "../../../docs/runbooks.md"
	link     = "docs/runbooks.md#"
)

type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []rule
	}
}

type testFile struct {
	RuleFiles          []string `yaml:"rule_files"`
	EvaluationInterval string   `yaml:"evaluation_interval"`
	Tests              []struct {
		Name, Interval  string
		InputSeries     []any `yaml:"input_series"`
		PromQLExprTests []any `yaml:"promql_expr_test"`
		AlertRuleTests  []struct {
			EvalTime  string `yaml:"eval_time"`
			Alertname string
			ExpAlerts []any `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// glob returns the files that match a pattern, at least one.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(rulesDir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, rulesDir, err)
	}
	return files
}

// all returns the rules of all files, in order.
func all(t *testing.T) (rules []rule) {
	t.Helper()
	for _, file := range glob(t, "*.rules.yml") {
		var f ruleFile
		decode(t, file, &f)
		for _, g := range f.Groups {
			rules = append(rules, g.Rules...)
		}
	}
	return rules
}

func alerts(t *testing.T) (names []string) {
	for _, r := range all(t) {
		if r.Alert != "" {
			names = append(names, r.Alert)
		}
	}
	return names
}

func families(t *testing.T) []promql.Family {
	t.Helper()
	f, err := promql.ReadReference(metrics)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var (
	recordName = regexp.MustCompile(`^[a-z_]+:[a-z0-9_]+:[a-z0-9_]+$`)
	usedLabel  = regexp.MustCompile(`\$labels\.(\w+)`)
)

func TestRules_MetricsAndLabelsExist(t *testing.T) {
	checker := promql.NewChecker(families(t))
	for _, r := range all(t) {
		used, err := checker.Check(r.Expr)
		if err != nil {
			t.Errorf("%s%s: %v", r.Record, r.Alert, err)
		}
		if r.Record != "" {
			if !recordName.MatchString(r.Record) {
				t.Errorf("%s is not level:metric:operations", r.Record)
			}
			checker.Add(r.Record, used.Labels)
			continue
		}
		for name, text := range r.Annotations {
			for _, m := range usedLabel.FindAllStringSubmatch(text, -1) {
				if !slices.Contains(used.Labels, m[1]) {
					t.Errorf("%s: its %s uses the label %s, which the expression does not have", r.Alert, name, m[1])
				}
			}
		}
	}
}

func TestAlerts_SeverityAndAnnotations(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range all(t) {
		if r.Alert == "" {
			continue
		}
		if seen[r.Alert] {
			t.Errorf("alert %s is defined twice", r.Alert)
		}
		seen[r.Alert] = true
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has severity %q", r.Alert, r.Labels["severity"])
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s has no summary or no description", r.Alert)
		}
		if want := link + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("the runbook of %s is %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
		}
	}
}

func TestAlerts_Runbooks(t *testing.T) {
	text, err := os.ReadFile(runbooks)
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(text), "\n### ")[1:]
	var titles []string
	for _, s := range sections {
		title, body, _ := strings.Cut(s, "\n")
		titles = append(titles, title)
		for _, part := range []string{"**Meaning:**", "**Check:**", "**Fix:**"} {
			if !strings.Contains(body, part) {
				t.Errorf("the runbook of %s has no %s", title, part)
			}
		}
	}
	names := alerts(t)
	for _, name := range names {
		if !slices.Contains(titles, name) {
			t.Errorf("%s has no runbook", name)
		}
	}
	for _, title := range titles {
		if !slices.Contains(names, title) {
			t.Errorf("there is a runbook for %s, but no such alert", title)
		}
	}
}

func TestAlerts_FiringAndNotFiring(t *testing.T) {
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, file := range glob(t, "tests/*.yml") {
		var f testFile
		decode(t, file, &f)
		for _, test := range f.Tests {
			for _, a := range test.AlertRuleTests {
				if len(a.ExpAlerts) > 0 {
					fires[a.Alertname] = true
				} else {
					silent[a.Alertname] = true
				}
			}
		}
	}
	for _, name := range alerts(t) {
		if !fires[name] || !silent[name] {
			t.Errorf("%s: tested for firing %t, for not firing %t", name, fires[name], silent[name])
		}
	}
}

// Truncated lists and omitted series must cause an alert.
func TestAlerts_TruncationAndOverflow(t *testing.T) {
	checker := promql.NewChecker(families(t))
	var named []string
	for _, r := range all(t) {
		if r.Alert != "" {
			used, _ := checker.Check(r.Expr) // errors are checked in TestRules_MetricsAndLabelsExist
			named = append(named, used.Metrics...)
		}
	}
	for _, f := range families(t) {
		watched := strings.HasSuffix(f.Name, "_truncated") || strings.HasSuffix(f.Name, "_overflow") || strings.HasSuffix(f.Name, "_overflow_series")
		if watched && !slices.Contains(named, f.Name) {
			t.Errorf("no alert uses %s", f.Name)
		}
	}
}
