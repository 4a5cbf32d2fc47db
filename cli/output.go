package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// The output formats.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// printer prints results in one format.
type printer struct {
	Console
	format string
}

// print prints a value as JSON or YAML, or the table that renderTable returns.
func (p printer) print(value any, renderTable func() string) error {
	var out []byte
	var err error
	switch p.format {
	case formatJSON:
		out, err = asJSON(value)
	case formatYAML:
		out, err = asYAML(value)
	default:
		out = []byte(renderTable())
	}
	if err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	_, err = p.Out.Write(out)
	return err
}

// printTable prints a value as JSON or YAML, or t. If t has no rows it prints none on stderr.
func (p printer) printTable(value any, t *table, none string) error {
	if p.format == formatTable && len(t.rows) == 0 {
		p.infof("%s", none)
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

// asYAML converts JSON to YAML, so that both have one schema and one order.
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

// node returns the next JSON value as YAML.
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
		for dec.More() { // in an object keys and values alternate
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

// textNode returns a text as YAML: as a block if it has several lines; in quotes if
// it is ambiguous, if a block would lose line ends at its edges, or if the encoder
// cannot read its own block (one that begins with a tab).
func textNode(s string) *yaml.Node {
	n := &yaml.Node{}
	err := n.Encode(s)
	if err != nil || n.Tag != "!!str" || ambiguous(s) || strings.Contains(s, "\n") && strings.TrimSpace(s) != s {
		n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle}
	}
	n.Value = s
	return n
}
