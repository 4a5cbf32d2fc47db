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

// This file: a recorded answer with one thing changed.

// hole stands in an answer's tree for text that is put in behind the encoder,
// so that it need not be JSON.
const hole = "\u0001hole\u0001"

// change is what is done to one value of an answer.
type change struct {
	name string
	// text is put in place of the value; "" takes the value away.
	text func(old string) string
	// absent: the value is one that is not there, so that its loss is no row's and
	// no field's.
	absent bool
	// same: nothing may be read otherwise.
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

// place is where a value is in an answer: keys, and numbers of elements.
type place []any

func (p place) String() string {
	var b strings.Builder
	for _, step := range p {
		fmt.Fprintf(&b, "/%v", step)
	}
	return b.String()
}

// places lists one of each kind of place in a tree: lists are followed into their
// first two elements, and of maps by id or name the first two entries.
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

// shapeOf is a place with all its elements alike.
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

// template is an answer with a hole at a place.
type template struct {
	text []byte
	mark []byte
	old  string // what was there
	gone []byte // the answer without it
}

// cut makes the template of a place.
func cut(t *testing.T, text []byte, at place) template {
	t.Helper()
	out := template{mark: encode(t, hole)}
	var walk func(any, place, bool) any
	walk = func(node any, rest place, remove bool) any {
		if len(rest) == 0 {
			out.old = string(encode(t, node))
			return hole
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
		t.Fatalf("no place %s", at)
		return nil
	}
	out.text = encode(t, walk(parse(t, text), at, false))
	out.gone = encode(t, walk(parse(t, text), at, true))
	return out
}

// with returns the answer with the change in it.
func (p template) with(c change) []byte {
	if c.text == nil {
		return p.gone
	}
	return bytes.Replace(p.text, p.mark, []byte(c.text(p.old)), 1)
}

// suits reports whether a change is worth trying: long texts in place of short
// values that are not read cost time and show nothing new.
func (p template) suits(c change) bool {
	switch c.name {
	case "a MB", "invalid UTF-8", "a lone surrogate":
		return p.old == "null" || p.old[0] == '"'
	case "a number of 10,000 digits", "2^64-1":
		return p.old == "null" || p.old[0] == '-' || p.old[0] >= '0' && p.old[0] <= '9'
	}
	return true
}

// twice is what is at a place there a second time: an element once more, a key
// once more and first with another value.
func twice(t *testing.T, at place) change {
	key, isKey := at[len(at)-1].(string)
	c := change{name: "twice", absent: true, same: isKey, text: func(old string) string { return old + "," + old }}
	if isKey {
		name := string(encode(t, key))
		c.text = func(old string) string { return `{"odd":[NaN]},` + name + ":" + old }
	}
	return c
}
