package cli

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"raytap/ray"
)

// documented has the view that each section of docs/commands.md documents.
var documented = map[string]any{
	"Job": jobView{}, "Log file": logFileView{}, "Node": nodeView{}, "Stats": statsView{}, "Disk": diskView{}, "Object store": objectStoreView{}, "GPU": gpuView{},
	"Accelerators": acceleratorsView{}, "Node's GPU": nodeGPUView{}, "TPU": tpuView{}, "Node's TPU": nodeTPUView{}, "Task": taskView{}, "Application": applicationView{}, "Deployment": deploymentView{},
	"Resources": resourcesView{}, "Amount": amountView{}, "GPU totals": gpuTotalsView{}, "Node counts": nodeCountsView{},
	"Node's hardware": hardwareView{}, "Health": healthView{}, "Plan": planView{}, "Planned application": plannedView{},
}

// fields returns the fields of a view, without those of an embedded view.
func fields(view any) []string {
	var out []string
	for field := range fieldsOf(reflect.TypeOf(view)) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func fieldsOf(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); !f.Anonymous && !yield(f) {
				return
			}
		}
	}
}

func TestSchema_Documented(t *testing.T) {
	page, err := os.ReadFile("../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	_, schema, _ := strings.Cut(string(page), "\n## JSON and YAML\n")
	code := regexp.MustCompile("`([a-z_]+)`")
	listed := map[string][]string{}
	for _, section := range strings.Split(schema, "\n### ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		for line := range strings.Lines(body) {
			if cells := strings.Split(line, "|"); strings.HasPrefix(line, "| `") {
				for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
					listed[title] = append(listed[title], m[1])
				}
			}
		}
		slices.Sort(listed[title])
	}
	for _, title := range slices.Sorted(maps.Keys(documented)) {
		if want := fields(documented[title]); !slices.Equal(listed[title], want) {
			t.Errorf("%s: docs/commands.md has %q, the schema %q", title, listed[title], want)
		}
		delete(listed, title)
	}
	for title := range listed {
		t.Errorf("docs/commands.md describes %q, which is not in the schema", title)
	}
}

// Every view is in documented.
func TestSchema_AllViewsListed(t *testing.T) {
	known := map[reflect.Type]bool{}
	for _, view := range documented {
		known[reflect.TypeOf(view)] = true
	}
	for typ := range known {
		for field := range fieldsOf(typ) {
			of := field.Type
			for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
				of = of.Elem()
			}
			if of.Kind() == reflect.Struct && of.PkgPath() == typ.PkgPath() && !known[of] {
				t.Errorf("%s.%s is a %s, which docs/commands.md does not describe", typ.Name(), field.Name, of.Name())
			}
		}
	}
}

// Every field of a domain type is in its view, or omitted on purpose.
func TestSchema_DomainFields(t *testing.T) {
	inner := map[string][]string{
		"ray.NodeStats": {"HasLoad", "HasNetwork", "CPUUnknown", "WorkersUnknown"}, // expressed by absent fields
		"ray.Node":      {"Usage"},                                                 // of some Ray versions only
	}
	for _, pair := range []struct{ domain, view any }{
		{ray.Job{}, jobView{}}, {ray.Node{}, nodeView{}}, {ray.NodeStats{}, statsView{}}, {ray.Disk{}, diskView{}}, {ray.GPU{}, gpuView{}},
		{ray.Task{}, taskView{}}, {ray.ServeApplication{}, applicationView{}}, {ray.ServeDeployment{}, deploymentView{}},
		{ray.ClusterResources{}, resourcesView{}}, {ray.GPUTotals{}, gpuTotalsView{}}, {ray.NodeHardware{}, hardwareView{}}, {ray.Version{}, healthView{}},
	} {
		domain, view := reflect.TypeOf(pair.domain), reflect.TypeOf(pair.view)
		for field := range fieldsOf(domain) {
			shown, ok := view.FieldByName(field.Name)
			switch {
			case slices.Contains(inner[domain.String()], field.Name):
			case !ok:
				t.Errorf("%s.%s is not shown", domain, field.Name)
			case strings.ReplaceAll(jsonName(shown), "_", "") != strings.ToLower(field.Name):
				t.Errorf("%s.%s is shown as %s", domain, field.Name, jsonName(shown))
			}
		}
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
