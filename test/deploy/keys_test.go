package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// A shape describes valid values in a configuration. The shapes below are for programs
// that the tests cannot run, according to the programs' documentation.
type shape interface {
	check(at string, v any, report func(format string, args ...any))
}

type (
	options map[string]shape // an object with these keys
	each    struct{ shape }  // an object or a list of such values
	oneOf   []any
	kind    string // string, number or bool
	// byKey is one of several shapes, selected by the value of a key.
	byKey struct {
		key    string
		shapes map[string]shape
	}
	single map[string]shape // an object of exactly one key
)

const (
	text   kind = "string"
	number kind = "float64"
	truth  kind = "bool"
)

func (k kind) check(at string, v any, report func(string, ...any)) {
	if got := fmt.Sprintf("%T", v); got != string(k) {
		report("%s is a %s, want a %s", at, got, k)
	}
}

func (o oneOf) check(at string, v any, report func(string, ...any)) {
	if !slices.Contains(o, v) {
		report("%s is %v, want one of %v", at, v, []any(o))
	}
}

func (o options) check(at string, v any, report func(string, ...any)) {
	m, ok := v.(map[string]any)
	if !ok {
		report("%s is not an object", at)
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if s, ok := o[name]; !ok {
			report("%s has no option %s", at, name)
		} else if s != nil {
			s.check(at+"."+name, m[name], report)
		}
	}
}

func (e each) check(at string, v any, report func(string, ...any)) {
	switch v := v.(type) {
	case map[string]any:
		for name, one := range v {
			e.shape.check(at+"."+name, one, report)
		}
	case []any:
		for i, one := range v {
			e.shape.check(fmt.Sprintf("%s[%d]", at, i), one, report)
		}
	default:
		report("%s is neither an object nor a list", at)
	}
}

func (b byKey) check(at string, v any, report func(string, ...any)) {
	m, _ := v.(map[string]any)
	name, _ := m[b.key].(string)
	if s, ok := b.shapes[name]; ok {
		s.check(at, v, report)
	} else {
		report("%s has the unknown %s %q", at, b.key, name)
	}
}

func (s single) check(at string, v any, report func(string, ...any)) {
	if m, ok := v.(map[string]any); !ok || len(m) != 1 {
		report("%s is not an object with one key", at)
	}
	options(s).check(at, v, report)
}

// known adds options without a shape: those of the program that the configuration does not
// use.
func known(o options, names string) options {
	for _, name := range strings.Fields(names) {
		if _, ok := o[name]; !ok {
			o[name] = nil
		}
	}
	return o
}

// parse reads a configuration of deploy/pipelines in YAML.
func parse(t *testing.T, name string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := yaml.UnmarshalStrict([]byte(read(t, "deploy/pipelines/"+name)), &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

func TestOptions_AreKnown(t *testing.T) {
	for name, s := range map[string]shape{"vector.yaml": vector, "fluent-bit.yaml": fluentBit, "promtail.yaml": promtail} {
		s.check(name, parse(t, name), t.Errorf)
	}
}

// The shapes must detect what the programs reject.
func TestOptions_DetectsUnknown(t *testing.T) {
	for _, c := range []struct {
		file  string
		shape shape
		old   string
		now   string
	}{
		{"vector.yaml", vector, "structured_metadata:", "structured_metadatas:"},
		{"vector.yaml", vector, "codec: text", "codec: txt"},
		{"vector.yaml", vector, "max_line_bytes: 2097152", "max_line_bytes: 2MiB"},
		{"vector.yaml", vector, "type: loki", "type: lokii"},
		{"fluent-bit.yaml", fluentBit, "structured_metadata:", "structured_metadata_keys:"},
		{"fluent-bit.yaml", fluentBit, "storage.sync: full", "storage.sync: fully"},
		{"fluent-bit.yaml", fluentBit, "name: grep", "name: grepp"},
		{"promtail.yaml", promtail, "labeldrop:", "label_drop:"},
		{"promtail.yaml", promtail, "max_retries:", "max_backoff_retries:"},
	} {
		changed := strings.Replace(read(t, "deploy/pipelines/"+c.file), c.old, c.now, 1)
		var v map[string]any
		if err := yaml.UnmarshalStrict([]byte(changed), &v); err != nil {
			t.Fatal(err)
		}
		found := 0
		c.shape.check(c.file, v, func(string, ...any) { found++ })
		if found == 0 {
			t.Errorf("%s with %s instead of %s is not detected", c.file, c.now, c.old)
		}
	}
}
