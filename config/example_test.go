package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const exampleFile = "../config.example.yaml"

func TestExample_Defaults(t *testing.T) {
	c, err := Load(exampleFile, environment())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	claims := map[string]bool{} // path of a leaf -> whether it is an example
	leaves("", doc.Content[0], strings.Split(string(text), "\n"), claims)

	want := Default()
	want.Clusters = make([]Cluster, 1)
	want.Clusters[0].setDefaults()
	want.Sink.Stdout = &Stdout{}
	var differ []string
	differences("", reflect.ValueOf(c), reflect.ValueOf(want), &differ)
	for _, path := range differ {
		if !covered(path, claims) {
			t.Errorf("%s differs from its default, and its line does not end in # example", path)
		}
	}
	for path, example := range claims {
		if example && !slices.ContainsFunc(differ, func(d string) bool { return strings.HasPrefix(path, d) }) {
			t.Errorf("%s is marked as an example, but is the default", path)
		}
	}
}

// covered reports whether a leaf at or under path is marked as an example.
func covered(path string, claims map[string]bool) bool {
	for leaf, example := range claims {
		if example && strings.HasPrefix(leaf, path) {
			return true
		}
	}
	return false
}

// leaves records of each scalar and each list in flow style whether it is marked as
// an example.
func leaves(path string, n *yaml.Node, lines []string, out map[string]bool) {
	switch {
	case n.Kind == yaml.MappingNode && len(n.Content) > 0:
		for i := 0; i < len(n.Content); i += 2 {
			leaves(join(path, n.Content[i].Value), n.Content[i+1], lines, out)
		}
	case n.Kind == yaml.SequenceNode && n.Style != yaml.FlowStyle:
		for i, item := range n.Content {
			leaves(path+"["+strconv.Itoa(i)+"]", item, lines, out)
		}
	default:
		out[path] = strings.HasSuffix(lines[n.Line-1], "# example")
	}
}

// differences returns the paths at which two configurations differ: fields, list
// elements, and lists of different lengths and maps as a whole.
func differences(path string, a, b reflect.Value, out *[]string) {
	if a.Kind() == reflect.Slice && a.Len() == b.Len() && a.Len() > 0 && a.Type().Elem().Kind() == reflect.Struct {
		for i := range a.Len() {
			differences(path+"["+strconv.Itoa(i)+"]", a.Index(i), b.Index(i), out)
		}
		return
	}
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return
	}
	if a.Kind() == reflect.Struct && a.NumField() > 0 {
		for i := range a.NumField() {
			if key := keyOf(a.Type().Field(i)); key != "" {
				differences(join(path, key), a.Field(i), b.Field(i), out)
			}
		}
		return
	}
	if !reflect.DeepEqual(a.Interface(), b.Interface()) {
		*out = append(*out, path)
	}
}

func TestExample_EveryKey(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	var walk func(path string, n *yaml.Node)
	walk = func(path string, n *yaml.Node) {
		written[path] = true
		for i := 0; i < len(n.Content); i++ {
			if n.Kind == yaml.MappingNode {
				walk(join(path, n.Content[i].Value), n.Content[i+1])
				i++
			} else {
				walk(path+"[]", n.Content[i])
			}
		}
	}
	walk("", doc.Content[0])
	for _, path := range keys("", reflect.TypeFor[Config]()) {
		leaf := path[strings.LastIndex(path, ".")+1:]
		if strings.HasPrefix(path, "shipper.exclude[]") {
			continue // the keys of include
		}
		commented := regexp.MustCompile(`(?m)^ *# +` + leaf + `:`)
		if !written[path] && !commented.Match(text) {
			t.Errorf("the example does not name %s", path)
		}
	}
}

// keys returns the paths of all keys of a type.
func keys(path string, t reflect.Type) []string {
	var out []string
	switch {
	case t.Kind() == reflect.Slice:
		return keys(path+"[]", t.Elem())
	case t.Kind() == reflect.Pointer:
		return keys(path, t.Elem())
	case t.Kind() != reflect.Struct:
		return nil
	}
	for i := range t.NumField() {
		if key := keyOf(t.Field(i)); key != "" {
			out = append(append(out, join(path, key)), keys(join(path, key), t.Field(i).Type)...)
		}
	}
	return out
}
