package responses

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// placeholder marks, in an encoded response, where a text is inserted that need not be
// JSON.
const placeholder = "\u0001placeholder\u0001"

// change is a change of one value of a response.
type change struct {
	name string
	// text returns the replacement of the value; nil removes the value.
	text func(old string) string
	// absent: the value is absent now, so that neither a row nor a field is skipped.
	absent bool
	// same: the rows must stay the same.
	same bool
}

func always(text string) func(string) string { return func(string) string { return text } }

var changes = []change{
	{name: "null", text: always("null"), absent: true},
	{name: "missing", absent: true},
	{name: "a string", text: always(`"odd"`)},
	{name: "a number", text: always("7")},
	{name: "a boolean", text: always("true")},
	{name: "a list", text: always(`[[{"state":"x"}],null]`)},
	{name: "an object", text: always(`{"odd":{"state":[]}}`)},
	{name: "huge", text: always("1e300")},
	{name: "negative", text: always("-5")},
	{name: "2^64-1", text: always("18446744073709551615")},
	{name: "NaN", text: always("NaN"), absent: true},
	{name: "-Infinity", text: always("-Infinity"), absent: true},
	{name: "an empty string", text: always(`""`)},
	{name: "invalid UTF-8", text: always("\"a\xff\xc3\x00b\"")},
	{name: "a lone surrogate", text: always(`"\ud83d"`)},
	{name: "a MB", text: always(`"` + strings.Repeat("é", 1<<19) + `"`)},
	{name: "a number of 10,000 digits", text: always(strings.Repeat("9", 10_000))},
}

// place is the path of a value in a response: keys and indexes.
type place []any

func (p place) String() string {
	var b strings.Builder
	for _, step := range p {
		fmt.Fprintf(&b, "/%v", step)
	}
	return b.String()
}

// places returns one place of each shape in a tree. It visits the first two elements of
// each list.
func places(tree any, at place, seen map[string]bool) []place {
	var out []place
	add := func(step any, kind string, value any) {
		inner := append(slices.Clone(at), step)
		shape := shapeOf(at) + "/" + kind
		if !seen[shape] {
			seen[shape] = true
			out = append(out, inner)
		}
		out = append(out, places(value, inner, seen)...)
	}
	switch tree := tree.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(tree)) {
			add(key, key, tree[key])
		}
	case []any:
		for i, value := range tree[:min(2, len(tree))] {
			add(i, strconv.Itoa(i), value)
		}
	}
	return out
}

// shapeOf returns a place without its indexes.
func shapeOf(p place) string {
	var b strings.Builder
	for _, step := range p {
		if _, ok := step.(int); ok {
			b.WriteString("/#")
		} else {
			fmt.Fprintf(&b, "/%v", step)
		}
	}
	return b.String()
}

func parse(t *testing.T, text []byte) any {
	t.Helper()
	var tree any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

func encode(t *testing.T, tree any) []byte {
	t.Helper()
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// template is a response with a placeholder instead of one value.
type template struct {
	text    []byte
	mark    []byte
	old     string // the value
	without []byte // the response without the value
}

// templateOf returns the template for a place.
func templateOf(t *testing.T, text []byte, at place) template {
	t.Helper()
	out := template{mark: encode(t, placeholder)}
	var walk func(any, place, bool) any
	walk = func(node any, rest place, remove bool) any {
		if len(rest) == 0 {
			out.old = string(encode(t, node))
			return placeholder
		}
		switch node := node.(type) {
		case map[string]any:
			key := rest[0].(string)
			if len(rest) == 1 && remove {
				delete(node, key)
				return node
			}
			node[key] = walk(node[key], rest[1:], remove)
			return node
		case []any:
			i := rest[0].(int)
			if len(rest) == 1 && remove {
				return slices.Delete(node, i, i+1)
			}
			node[i] = walk(node[i], rest[1:], remove)
			return node
		}
		t.Fatalf("there is no value at %s", at)
		return nil
	}
	out.text = encode(t, walk(parse(t, text), at, false))
	out.without = encode(t, walk(parse(t, text), at, true))
	return out
}

// with returns the response with a change.
func (p template) with(c change) []byte {
	if c.text == nil {
		return p.without
	}
	return bytes.Replace(p.text, p.mark, []byte(c.text(p.old)), 1)
}

// suits reports whether a change is useful: long texts instead of short values of
// another type cost time and show nothing new.
func (p template) suits(c change) bool {
	switch c.name {
	case "a MB", "invalid UTF-8", "a lone surrogate":
		return p.old == "null" || p.old[0] == '"'
	case "a number of 10,000 digits", "2^64-1":
		return p.old == "null" || p.old[0] == '-' || p.old[0] >= '0' && p.old[0] <= '9'
	}
	return true
}

// duplicate duplicates a value: an element, or a key, first with another value.
func duplicate(t *testing.T, at place) change {
	key, isKey := at[len(at)-1].(string)
	c := change{name: "duplicate", absent: true, same: isKey, text: func(old string) string { return old + "," + old }}
	if isKey {
		name := string(encode(t, key))
		c.text = func(old string) string { return `{"odd":[NaN]},` + name + ":" + old }
	}
	return c
}
