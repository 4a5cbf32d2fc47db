package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"raytap/config"
)

// chartSchema is the schema of the chart's values. Its property config is
// generated, the others are written by hand.
const chartSchema = "deploy/helm/raytap/values.schema.json"

// variable is the pattern of a value with an environment variable, which any value
// may have.
const variable = `\$\{[A-Za-z_][A-Za-z0-9_]*\}`

// schema is the part of JSON Schema (draft-07) that a configuration needs.
type schema struct {
	Schema               string             `json:"$schema,omitempty"`
	Title                string             `json:"title,omitempty"`
	Description          string             `json:"description,omitempty"`
	Type                 any                `json:"type,omitempty"`
	Enum                 []string           `json:"enum,omitempty"`
	Pattern              string             `json:"pattern,omitempty"`
	Default              any                `json:"default,omitempty"`
	Items                *schema            `json:"items,omitempty"`
	MinItems             int                `json:"minItems,omitempty"`
	MinProperties        int                `json:"minProperties,omitempty"`
	Properties           map[string]*schema `json:"properties,omitempty"`
	AdditionalProperties any                `json:"additionalProperties,omitempty"`
	Required             []string           `json:"required,omitempty"`
	AnyOf                []*schema          `json:"anyOf,omitempty"`
}

// patterns are those of types that are written as strings.
var patterns = map[reflect.Type]string{
	reflect.TypeFor[config.Duration]():      duration,
	reflect.TypeFor[config.Size]():          `[0-9]+(\.[0-9]+)? *([KMGT]iB|[kKMGT]?B)?`,
	reflect.TypeFor[config.URL]():           `https?://.+`,
	reflect.TypeFor[config.CIDR]():          `[0-9a-fA-F:.]+(/[0-9]+)?`,
	reflect.TypeFor[config.Fsync]():         `always|never|` + duration,
	reflect.TypeFor[config.Pattern]():       `.*`,
	reflect.TypeFor[config.TargetPattern](): `.+`,
	reflect.TypeFor[config.Zone]():          `[A-Za-z].*`,
	reflect.TypeFor[config.Shard]():         `auto|[0-9]{1,3}`,
	reflect.TypeFor[config.Time]():          `[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})`,
}

const duration = `[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h|d|w|y))+`

// renderSchema returns the JSON schema of the configuration.
func renderSchema(root string) ([]byte, error) {
	s, err := configSchema(root)
	if err != nil {
		return nil, err
	}
	s.Schema, s.Title = "http://json-schema.org/draft-07/schema#", "Configuration of raytap"
	return encode(s)
}

// renderChartSchema returns the schema of the chart's values, with the current
// schema of the configuration as its property config.
func renderChartSchema(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, chartSchema))
	if err != nil {
		return nil, err
	}
	s, err := configSchema(root)
	if err != nil {
		return nil, err
	}
	s.AnyOf = nil // the chart's own schema has it: the value discovery is a source of clusters, too
	own, err := encode(s)
	if err != nil {
		return nil, err
	}
	const start, end = "\n    \"config\": {\n", "\n    },\n"
	before, rest, ok := bytes.Cut(text, []byte(start))
	if !ok {
		return nil, errors.New("no property config")
	}
	_, after, ok := bytes.Cut(rest, []byte(end))
	if !ok {
		return nil, errors.New("no end of the property config")
	}
	indented := strings.ReplaceAll(strings.TrimSpace(string(own)), "\n", "\n    ")
	return slices.Concat(before, []byte("\n    \"config\": "+indented+",\n"), after), nil
}

func encode(s *schema) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(s)
	return wordList.ReplaceAllFunc(b.Bytes(), func(list []byte) []byte {
		words := strings.Join(strings.Fields(string(list)), " ")
		return []byte(strings.NewReplacer("[ ", "[", " ]", "]").Replace(words))
	}), err
}

// wordList matches a list of words, which encode writes in one line.
var wordList = regexp.MustCompile(`\[\n(\s+"[^" ]*",?\n)+\s+\]`)

// configSchema returns the schema of a configuration.
func configSchema(root string) (*schema, error) {
	comments, err := fieldComments(filepath.Join(root, "config"))
	if err != nil {
		return nil, err
	}
	c, err := loadSample()
	if err != nil {
		return nil, err
	}
	s, err := structSchema(comments, reflect.ValueOf(c))
	if err != nil {
		return nil, err
	}
	s.Type = "object" // not null: a configuration has clusters, or a source of them
	s.Description = "raytap's configuration, as in config.example.yaml."
	s.AnyOf = []*schema{
		{Required: []string{"clusters"}, Properties: map[string]*schema{"clusters": {MinItems: 1}}},
		{Required: []string{"cluster_files"}, Properties: map[string]*schema{"cluster_files": {MinItems: 1}}},
		{Required: []string{"kubernetes"}},
		{Required: []string{"modules"}, Properties: map[string]*schema{"modules": {MinProperties: 1}}},
	}
	// The addresses of a module's clusters come from elsewhere.
	module := s.Properties["modules"].AdditionalProperties.(*schema).Properties["cluster"]
	delete(module.Properties, "name")
	delete(module.Properties, "url")
	module.Required = nil
	return s, nil
}

// structSchema returns the schema of a mapping with fixed keys. v has the defaults.
func structSchema(comments map[string]string, v reflect.Value) (*schema, error) {
	s := &schema{Type: []string{"object", "null"}, Properties: map[string]*schema{}, AdditionalProperties: false}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" {
			continue
		}
		about, ok := comments[v.Type().Name()+"."+f.Name]
		if !ok {
			return nil, fmt.Errorf("the field %s.%s has no comment", v.Type().Name(), f.Name)
		}
		about, required := strings.CutSuffix(about, " Required.")
		p, err := valueSchema(comments, v.Field(i), f.Tag.Get("enum"))
		if err != nil {
			return nil, err
		}
		if name == "proxy_url" {
			p.Pattern = whole(`((https?|socks5h?)://.+)?`)
		}
		p.Description = about
		if required {
			s.Required = append(s.Required, name)
		} else {
			p.Default = defaultOf(v.Field(i))
		}
		s.Properties[name] = p
	}
	return s, nil
}

// valueSchema returns the schema of a value. v has its default; enum are its values,
// separated by commas.
func valueSchema(comments map[string]string, v reflect.Value, enum string) (*schema, error) {
	t := v.Type()
	switch {
	case enum != "":
		return orVariable(&schema{Enum: strings.Split(enum, ",")}), nil
	case t == reflect.TypeFor[config.Size](), t == reflect.TypeFor[config.Shard]():
		return &schema{Type: []string{"string", "integer"}, Pattern: whole(patterns[t])}, nil
	case patterns[t] != "":
		return &schema{Type: "string", Pattern: whole(patterns[t])}, nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return orVariable(&schema{Type: "boolean"}), nil
	case reflect.Int, reflect.Int64:
		return orVariable(&schema{Type: "integer"}), nil
	case reflect.Slice:
		items, err := valueSchema(comments, first(v), "")
		return &schema{Type: []string{"array", "null"}, Items: items}, err
	case reflect.Map:
		values, err := valueSchema(comments, first(v), "")
		return &schema{Type: []string{"object", "null"}, AdditionalProperties: values}, err
	case reflect.Pointer:
		if v.IsNil() {
			v = reflect.New(t.Elem())
		}
		return structSchema(comments, v.Elem())
	case reflect.Struct:
		return structSchema(comments, v)
	}
	// A key without quotes may look like a number or a boolean, as in name: 1.
	return &schema{Type: []string{"string", "number", "boolean"}}, nil
}

// first returns an element of a list or a map, the zero value if it is empty.
func first(v reflect.Value) reflect.Value {
	switch {
	case v.Len() == 0:
		return reflect.New(v.Type().Elem()).Elem()
	case v.Kind() == reflect.Map:
		return v.MapIndex(v.MapKeys()[0])
	}
	return v.Index(0)
}

// whole returns a pattern for a whole value, or for one with a variable.
func whole(pattern string) string { return "^(" + pattern + ")$|" + variable }

// orVariable allows a variable in place of a value.
func orVariable(s *schema) *schema {
	return &schema{AnyOf: []*schema{s, {Type: "string", Pattern: variable}}}
}

// defaultOf returns the default of a key, nil if it has none.
func defaultOf(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Bool:
		return v.Bool()
	case reflect.Slice:
		if list, ok := v.Interface().([]string); ok && len(list) > 0 && list[0] != placeholder {
			return list
		}
		return nil
	case reflect.Map, reflect.Pointer:
		return nil
	case reflect.Struct:
		return nil
	case reflect.Int, reflect.Int64:
		if v.Type() == reflect.TypeFor[int]() || v.Type() == reflect.TypeFor[int64]() {
			return v.Int()
		}
	}
	if text := fmt.Sprint(v.Interface()); text != "" && !strings.Contains(text, placeholder) {
		return text
	}
	return nil
}
