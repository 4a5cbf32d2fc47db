package dashboards

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const outputDir = "../../grafana/dashboards"

// doc is the part of a dashboard that the tests need.
type doc struct {
	UID           string
	Title         string
	SchemaVersion int
	Links         []struct{ Tags []string }
	Tags          []string
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any
		}
	}
	Panels []panel
}

type panel struct {
	ID         int
	Type       string
	Title      string
	GridPos    struct{ X, Y, W, H int }
	Datasource struct{ Type, UID string }
	Targets    []struct {
		Expr, RefID, LegendFormat, Format string
		Instant, Range                    bool
	}
	Transformations []struct {
		ID      string
		Options struct {
			RenameByName  map[string]string
			ExcludeByName map[string]bool
		}
	}
	FieldConfig struct {
		Defaults  struct{ Unit string }
		Overrides []struct {
			Matcher    struct{ ID, Options string }
			Properties []struct {
				ID    string
				Value any
			}
		}
	}
}

func (p panel) named(d doc) string { return fmt.Sprintf("%s, panel %q", d.UID, p.Title) }

// docs returns the dashboards in deploy/grafana.
func docs(t *testing.T) map[string]doc {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(outputDir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards in %s: %v", outputDir, err)
	}
	all := map[string]doc{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d doc
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(file)] = d
	}
	return all
}

func TestDashboards_Current(t *testing.T) {
	want, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for name := range docs(t) {
		if want[name] == nil {
			t.Errorf("%s is obsolete: delete it", name)
		}
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(outputDir, name))
		if err != nil || string(got) != string(text) {
			t.Errorf("%s is out of date: run make docs (%v)", name, err)
		}
	}
}

// Checks against Grafana's schema, including panel options and queries.
func TestDashboards_Schema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for name := range docs(t) {
		text, err := os.ReadFile(filepath.Join(outputDir, name))
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard.Dashboard
		// Without errors it returns an empty list of errors, which is not nil.
		if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" {
			t.Errorf("%s: %v", name, err)
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// panelTypes are types of Grafana that are not deprecated.
var panelTypes = []string{"row", "stat", "timeseries", "table", "state-timeline", "logs"}

func TestDashboards_Complete(t *testing.T) {
	for name, d := range docs(t) {
		if d.UID+".json" != name || d.SchemaVersion < 42 || !slices.Contains(d.Tags, tag) {
			t.Errorf("%s has uid %q, schema version %d, tags %q", name, d.UID, d.SchemaVersion, d.Tags)
		}
		ids := map[int]bool{}
		for _, p := range d.Panels {
			if !slices.Contains(panelTypes, p.Type) || p.Title == "" || p.ID == 0 || ids[p.ID] {
				t.Errorf("%s: type %q, id %d", p.named(d), p.Type, p.ID)
			}
			ids[p.ID] = true
			if p.Type == "row" {
				continue
			}
			source := map[string]string{"prometheus": "${datasource}", "loki": "${loki}"}[p.Datasource.Type]
			if source == "" || p.Datasource.UID != source || len(p.Targets) == 0 {
				t.Errorf("%s has datasource %+v and %d queries", p.named(d), p.Datasource, len(p.Targets))
			}
			if (p.Type == "stat" || p.Type == "timeseries") && p.FieldConfig.Defaults.Unit == "" {
				t.Errorf("%s has no unit", p.named(d))
			}
			refs := map[string]bool{}
			for _, q := range p.Targets {
				if refs[q.RefID] || q.RefID == "" || p.Datasource.Type == "prometheus" && q.Instant == q.Range {
					t.Errorf("%s: query %q, instant %t, range %t", p.named(d), q.RefID, q.Instant, q.Range)
				}
				refs[q.RefID] = true
			}
		}
	}
}

func TestPanels_Layout(t *testing.T) {
	for _, d := range docs(t) {
		taken := map[[2]int]string{}
		for _, p := range d.Panels {
			g := p.GridPos
			if g.X < 0 || g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
				t.Errorf("%s has the invalid position %+v", p.named(d), g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						t.Fatalf("%s overlaps %q", p.named(d), other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}

// dashboardLinks returns the URLs in a panel's links.
func dashboardLinks(p panel) (all []string) {
	for _, o := range p.FieldConfig.Overrides {
		for _, prop := range o.Properties {
			list, _ := prop.Value.([]any)
			for _, l := range list {
				if to, ok := l.(map[string]any)["url"].(string); ok && prop.ID == "links" {
					all = append(all, to)
				}
			}
		}
	}
	return all
}

func TestPanels_Links(t *testing.T) {
	all := docs(t)
	found := 0
	for _, d := range all {
		for _, p := range d.Panels {
			for _, to := range dashboardLinks(p) {
				rest, ok := strings.CutPrefix(to, "/d/")
				if !ok {
					continue // Explore
				}
				found++
				uid, query, _ := strings.Cut(rest, "?")
				target, ok := all[uid+".json"]
				if !ok {
					t.Errorf("%s links to %q, which does not exist", p.named(d), to)
				}
				for part := range strings.SplitSeq(query, "&") {
					name, _, _ := strings.Cut(part, "=")
					if v, ok := strings.CutPrefix(name, "var-"); ok && !target.has(v) {
						t.Errorf("%s links to %s, which has no variable %s", p.named(d), uid, v)
					}
				}
			}
		}
	}
	if found == 0 {
		t.Error("no panel has a link")
	}
}

func (d doc) has(variable string) bool {
	for _, v := range d.Templating.List {
		if v.Name == variable {
			return true
		}
	}
	return false
}
