package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// decoder decodes a YAML tree into a value that holds the defaults. Unlike that
// of yaml.v3 it continues after a problem, so that all are reported, and records
// the location of each key.
type decoder struct {
	env       Env
	dir       string // base of relative paths
	problems  []Problem
	locations map[string]location // by path
}

// location is the place of a key in the file, and its value.
type location struct {
	line  int
	value string // as written, ${VAR} not expanded; "" for secrets and non-scalars
	bad   bool   // a problem was found here: the value is not valid
}

func (d *decoder) problem(path string, n *yaml.Node, format string, args ...any) {
	p := d.locations[path]
	p.bad = true
	if p.line == 0 {
		p.line = n.Line
	}
	d.locations[path] = p
	d.problems = append(d.problems, Problem{
		Path: path, Line: p.line, Value: p.value, Message: fmt.Sprintf(format, args...),
	})
}

// value decodes n into v, which is addressable and holds the default.
func (d *decoder) value(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	d.locations[path] = location{line: n.Line, value: displayValue(n, v)}
	isNull := n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Style == 0

	switch p := v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		if text, ok := d.text(path, n); ok {
			if err := p.UnmarshalText([]byte(text)); err != nil {
				d.problem(path, n, "%v", err)
			}
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if s, ok := v.Interface().(interface{ setDefaults() }); ok {
			s.setDefaults()
		}
		d.value(path, n, v.Elem())
	case reflect.Struct:
		if !isNull {
			d.structure(path, n, v)
		}
	case reflect.Map:
		if !isNull {
			d.table(path, n, v)
		}
	case reflect.Slice:
		if !isNull {
			d.list(path, n, v)
		}
	default:
		d.scalar(path, n, v)
	}
}

// structure decodes a mapping with fixed keys.
func (d *decoder) structure(path string, n *yaml.Node, v reflect.Value) {
	fields := map[string]int{}
	for i := range v.NumField() {
		if key := keyOf(v.Type().Field(i)); key != "" {
			fields[key] = i
		}
	}
	known := slices.Sorted(maps.Keys(fields))
	for _, e := range d.entries(path, n) {
		at := join(path, e.key.Value)
		i, ok := fields[e.key.Value]
		if !ok {
			rule := "unknown key"
			if near := nearest(e.key.Value, known); near != "" {
				rule += "; did you mean " + near + "?"
			} else {
				rule += "; known here: " + strings.Join(known, ", ")
			}
			d.problem(at, e.key, "%s", rule)
			continue
		}
		d.value(at, e.value, v.Field(i))
	}
}

// table decodes a mapping with arbitrary keys. It replaces the default.
func (d *decoder) table(path string, n *yaml.Node, v reflect.Value) {
	out := reflect.MakeMap(v.Type())
	for _, e := range d.entries(path, n) {
		elem := reflect.New(v.Type().Elem()).Elem()
		if s, ok := elem.Addr().Interface().(interface{ setDefaults() }); ok {
			s.setDefaults()
		}
		d.value(join(path, e.key.Value), e.value, elem)
		out.SetMapIndex(reflect.ValueOf(e.key.Value), elem)
	}
	v.Set(out)
}

// list decodes a sequence. It replaces the default.
func (d *decoder) list(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.problem(path, n, "must be a list, not %s", kindName(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		if s, ok := out.Index(i).Addr().Interface().(interface{ setDefaults() }); ok {
			s.setDefaults()
		}
		d.value(path+"["+strconv.Itoa(i)+"]", item, out.Index(i))
	}
	v.Set(out)
}

// scalar decodes a string, a number or a boolean.
func (d *decoder) scalar(path string, n *yaml.Node, v reflect.Value) {
	text, ok := d.text(path, n)
	if !ok {
		return
	}
	switch v.Kind() {
	case reflect.String:
		if v.Type() == reflect.TypeFor[Path]() && text != "" && !filepath.IsAbs(text) {
			if first, _, ok := strings.Cut(text, "/"); ok && strings.HasPrefix(first, "~") {
				d.problem(path, n, "begins with ~, which only a shell expands; write ${HOME}/… or the whole path")
				return
			}
			text = filepath.Join(d.dir, text)
		}
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			d.problem(path, n, "must be true or false")
			return
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			d.problem(path, n, "must be a whole number")
			return
		}
		v.SetInt(i)
	}
}

// text returns a scalar with its environment variables expanded.
func (d *decoder) text(path string, n *yaml.Node) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.problem(path, n, "must be a single value, not %s", kindName(n))
		return "", false
	case n.Tag == "!!null" && n.Style == 0:
		d.problem(path, n, "has no value; omit the key to use its default")
		return "", false
	}
	s, err := expand(n.Value, d.env)
	if err != nil {
		d.problem(path, n, "%v", err)
		return "", false
	}
	return s, true
}

type entry struct{ key, value *yaml.Node }

// entries returns the pairs of a mapping, those merged by << included, and
// reports duplicate keys.
func (d *decoder) entries(path string, n *yaml.Node) []entry {
	if n.Kind != yaml.MappingNode {
		d.problem(path, n, "must be a mapping (key: value), not %s", kindName(n))
		return nil
	}
	var own, merged []entry
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			d.problem(path, key, "has a key that is not a plain string")
		case key.Tag == "!!merge":
			merged = append(merged, d.merge(path, value)...)
		case seen[key.Value] != 0:
			d.problem(join(path, key.Value), key, "is a duplicate key, first used in line %d", seen[key.Value])
		default:
			seen[key.Value] = key.Line
			own = append(own, entry{key, value})
		}
	}
	for _, e := range merged {
		if seen[e.key.Value] == 0 {
			seen[e.key.Value] = e.key.Line
			own = append(own, e)
		}
	}
	return own
}

// merge returns the pairs of a merge key's value: a mapping, or a list of them of
// which the first has precedence. A merge within a merged mapping is refused, so
// that an alias cannot contain itself.
func (d *decoder) merge(path string, n *yaml.Node) []entry {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	var out []entry
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Tag == "!!merge" || n.Content[i].Kind != yaml.ScalarNode {
				d.problem(path, n.Content[i], "a mapping merged by << must have plain keys only")
				continue
			}
			out = append(out, entry{n.Content[i], n.Content[i+1]})
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if item.Kind == yaml.AliasNode && item.Alias.Kind == yaml.MappingNode {
				out = append(out, d.merge(path, item)...)
				continue
			}
			d.problem(path, item, "<< accepts mappings only")
		}
	default:
		d.problem(path, n, "<< accepts a mapping or a list of mappings")
	}
	return out
}

// keyOf returns the YAML key of a struct field, "" for one that is not in the file.
func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return key
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// displayValue returns what a message may show of a node's value.
func displayValue(n *yaml.Node, v reflect.Value) string {
	if n.Kind != yaml.ScalarNode {
		return ""
	}
	switch v.Addr().Interface().(type) {
	case *Secret:
		return ""
	case *URL:
		return bounded(URL(n.Value).String())
	case encoding.TextUnmarshaler:
		return bounded(n.Value)
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Pointer:
		return "" // a token in place of a mapping must not be shown
	}
	return bounded(n.Value)
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		return "a single value"
	}
	return "this"
}

// Env looks up an environment variable like os.LookupEnv.
type Env func(name string) (value string, set bool)

// expand replaces ${VAR}. $${ is a literal ${; any other $ is itself.
func expand(s string, env Env) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		name, rest, ok := strings.Cut(s[i+2:], "}")
		switch {
		case !ok:
			return "", errors.New("has a ${ without its }; write $${ for a literal ${")
		case !isName(name):
			return "", fmt.Errorf("${%s} is not the name of an environment variable; write $${ for a literal ${", bounded(name))
		}
		value, set := env(name)
		if !set {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		b.WriteString(s[:i] + value)
		s = rest
	}
}

func isName(s string) bool {
	for i, c := range s {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
