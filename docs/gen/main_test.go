package main

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"raytap/collector"
)

func families(t *testing.T) []collector.Family {
	t.Helper()
	all, err := listFamilies()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The tests in deploy/gen check that the examples parse and use metrics that exist.
func TestMetrics_SectionAndExample(t *testing.T) {
	for _, f := range families(t) {
		if groupOf(f) < 0 {
			t.Errorf("%s is in no section: add a prefix to one in docs/gen/page.go", f.Name)
		}
		if examples[f.Name] == "" {
			t.Errorf("%s has no example: write one in docs/gen/examples.go, then make docs", f.Name)
		}
	}
}

func TestMetrics_ExamplesOfKnownFamilies(t *testing.T) {
	all := families(t)
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		if !slices.ContainsFunc(all, func(f collector.Family) bool { return f.Name == name }) {
			t.Errorf("docs/gen/examples.go has %s, which does not exist", name)
		}
	}
}

func TestPages_Current(t *testing.T) {
	for name, render := range pages {
		want, err := render("../..")
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s is out of date: run make docs", name)
		}
	}
}

func TestParseDesc(t *testing.T) {
	for name, test := range map[string]struct {
		desc   string
		help   string
		labels string
	}{
		"no labels":                  {`Desc{fqName: "raytap_x", help: "What.", constLabels: {}, variableLabels: {}}`, "What.", ""},
		"labels":                     {`Desc{fqName: "raytap_x", help: "What.", unit: "", constLabels: {}, variableLabels: {a,c(b)}}`, "What.", "a b"},
		"constant labels":            {`Desc{fqName: "raytap_x", help: "What.", constLabels: {a="1",b="}, {"}, variableLabels: {c}}`, "What.", "a b c"},
		"quotes within the help":     {`Desc{fqName: "raytap_x", help: "Say \"no\".", constLabels: {}, variableLabels: {a}}`, `Say "no".`, "a"},
		"a bracket within the label": {`Desc{fqName: "raytap_x", help: "What.", constLabels: {a="}, variableLabels: {x}"}, variableLabels: {b}}`, "What.", "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := parseDesc(test.desc)
			if err != nil {
				t.Fatal(err)
			}
			if labels := strings.Join(f.Labels, " "); f.Name != "raytap_x" || f.Help != test.help || labels != test.labels {
				t.Errorf("%+v", f)
			}
		})
	}
	if f, err := parseDesc("Desc{}"); err == nil {
		t.Errorf("an unknown format returned %+v", f)
	}
}
