package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// The forms of an answer.
const (
	formTable = "table"
	formJSON  = "json"
	formYAML  = "yaml"
)

// printer prints answers in one form.
type printer struct {
	Console
	form string
}

// print gives a value to scripts, or what people calls for to people.
func (p printer) print(value any, people func() string) error {
	var out []byte
	var err error
	switch p.form {
	case formJSON:
		out, err = asJSON(value)
	case formYAML:
		out, err = asYAML(value)
	default:
		out = []byte(people())
	}
	if err != nil {
		return fmt.Errorf("print the answer: %w", err)
	}
	_, err = p.Out.Write(out)
	return err
}

// rows gives a table to people; one without rows is told on stderr.
func (p printer) rows(value any, t *table, none string) error {
	if p.form == formTable && len(t.rows) == 0 {
		p.notef("%s", none)
		return nil
	}
	return p.print(value, func() string { return t.render(p.Width, p.Colors) })
}

func asJSON(value any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(value)
	return b.Bytes(), err
}

// asYAML goes by way of JSON: so there is one schema, in one order.
func asYAML(value any) ([]byte, error) {
	j, err := asJSON(value)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(j))
	dec.UseNumber()
	doc, err := node(dec)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	err = enc.Close()
	return b.Bytes(), err
}

// node makes YAML of the next JSON value.
func node(dec *json.Decoder) (*yaml.Node, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode}
		if v == '[' {
			n.Kind = yaml.SequenceNode
		}
		for dec.More() { // in an object key and value by turns
			child, err := node(dec)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := dec.Token()
		return n, err
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}, nil
	case string:
		return textNode(v), nil
	}
	n := &yaml.Node{}
	return n, n.Encode(token)
}

// textNode chooses how a text is written: as a block where it has lines, in
// quotes where the encoder would take it for something else, would lose line
// ends at the edges of a block, or cannot read its own block again (one that
// begins with a tab).
func textNode(s string) *yaml.Node {
	n := &yaml.Node{}
	err := n.Encode(s)
	if err != nil || n.Tag != "!!str" || ambiguous(s) || strings.Contains(s, "\n") && strings.TrimSpace(s) != s {
		n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle}
	}
	n.Value = s
	return n
}
