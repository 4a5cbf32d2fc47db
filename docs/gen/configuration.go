package main

import (
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"raytap/config"
	"raytap/daemon"
)

// placeholder is the value of required keys in the sample. It is not a default.
const placeholder = "required"

// sample is a configuration with one element of each list and map that has
// elements with defaults.
const sample = `
clusters: [{url: "http://required"}]
cluster_files: [{files: [required], module: m}]
modules: {m: {targets: [required]}}
kubernetes: {}
shipper: {include: [{job_name: required}]}
sharding: {generations: [{shards: 1}]}
sink: {file: {path: /required}}
`

// key is one row of docs/configuration.md.
type key struct {
	path    string
	kind    string // type of the value, for readers
	value   string // the default; "" for none
	restart bool   // a change needs a restart
	about   string
}

// section is one table: a key of the file, and the keys below it.
type section struct {
	name  string
	about string
	keys  []key
}

// reference collects the keys of a configuration.
type reference struct {
	comments map[string]string // of fields, by Type.Field
	started  config.Config
	loaded   *config.Config          // equal to started, except for a moment in needsRestart
	seen     map[reflect.Type]string // path at which the keys of a type are listed
	keys     []key
}

// listKeys returns the sections in the order of the struct, the keys without keys
// below them first.
func listKeys(root string) ([]section, error) {
	comments, err := fieldComments(filepath.Join(root, "config"))
	if err != nil {
		return nil, err
	}
	started, err := loadSample()
	if err != nil {
		return nil, err
	}
	loaded, err := loadSample()
	if err != nil {
		return nil, err
	}
	sections := []section{{about: "Keys at the top of the file."}}
	seen := map[reflect.Type]string{}
	v := reflect.ValueOf(&loaded).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" {
			continue
		}
		r := &reference{comments: comments, started: started, loaded: &loaded, seen: seen}
		if err := r.field("", v.Type(), f, v.Field(i)); err != nil {
			return nil, err
		}
		if structOf(f.Type) == nil {
			sections[0].keys = append(sections[0].keys, r.keys...)
			continue
		}
		about := comments["Config."+f.Name]
		if keys := r.keys; keys[0].path == name || keys[0].path == name+"[]" {
			r.keys = keys[1:] // the section has its description
		}
		sections = append(sections, section{name: name, about: about, keys: r.keys})
	}
	return sections, nil
}

// loadSample returns the sample, for defaults that config.Default does not have:
// those of list elements and optional mappings.
func loadSample() (config.Config, error) {
	f, err := os.CreateTemp("", "raytap-sample-*.yaml")
	if err != nil {
		return config.Config{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.WriteString(sample); err != nil {
		return config.Config{}, err
	}
	return config.Load(f.Name(), func(string) (string, bool) { return "", false })
}

// structOf returns the struct with keys that a type is, or has as elements; nil if
// it is a value.
func structOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	return t
}

// field adds the row of a field, unless it is a plain mapping, and the rows of the
// keys below it.
func (r *reference) field(path string, owner reflect.Type, f reflect.StructField, v reflect.Value) error {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if name == "" {
		return nil
	}
	at := strings.TrimPrefix(path+"."+name, ".")
	about, ok := r.comments[owner.Name()+"."+f.Name]
	if !ok {
		return fmt.Errorf("the field %s.%s (%s) has no comment: describe it", owner.Name(), f.Name, at)
	}
	inner := structOf(f.Type)
	if inner == nil {
		r.keys = append(r.keys, key{path: at, kind: kind(f.Type), value: value(v), restart: r.needsRestart(v), about: about})
		return nil
	}
	if first, again := r.seen[inner]; again {
		r.keys = append(r.keys, key{path: at, kind: kind(f.Type), about: about + " Keys as in `" + first + "`."})
		return nil
	}
	below, restart := at, r.needsRestart(v)
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		switch {
		case v.Kind() == reflect.Slice:
			below, v = below+"[]", v.Index(0)
		case v.Kind() == reflect.Map:
			below, v = below+".NAME", v.MapIndex(v.MapKeys()[0])
		case v.IsNil():
			v = reflect.New(inner).Elem()
		default:
			v = v.Elem()
		}
	}
	r.seen[inner] = below
	if below != at || inner.NumField() == 0 {
		r.keys = append(r.keys, key{path: at, kind: kind(f.Type), restart: restart, about: about})
	}
	for i := range inner.NumField() {
		if err := r.field(below, inner, inner.Field(i), v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// needsRestart reports whether a change of a value, which is part of the loaded
// configuration, would need a restart.
func (r *reference) needsRestart(v reflect.Value) bool {
	if !v.CanSet() {
		return false // within a map: a module
	}
	old := reflect.New(v.Type()).Elem()
	old.Set(v)
	defer v.Set(old)
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	}
	return len(daemon.NeedsRestart(r.started, *r.loaded)) > 0
}

// fieldComments returns the doc comments of the fields of all structs of a package,
// by Type.Field.
func fieldComments(dir string) (map[string]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			t, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := t.Type.(*ast.StructType); ok {
				for _, field := range s.Fields.List {
					for _, name := range field.Names {
						if text := strings.Join(strings.Fields(field.Doc.Text()), " "); text != "" {
							out[t.Name.Name+"."+name.Name] = text
						}
					}
				}
			}
			return false
		})
	}
	return out, nil
}
