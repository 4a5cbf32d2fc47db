package deploy

import (
	"slices"
	"strings"
	"testing"

	"github.com/grafana/alloy/syntax/ast"
	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/printer"
	"github.com/grafana/alloy/syntax/vm"
)

// block is a block in Alloy's documentation: its attributes and inner blocks, required
// attributes, and exported fields.
type block struct {
	attributes, required, exports string
	blocks                        map[string]block
}

var alloy = map[string]block{
	"local.file_match": {attributes: "path_targets sync_period ignore_older_than", required: "path_targets", exports: "targets"},
	"loki.source.file": {attributes: "targets forward_to encoding tail_from_end legacy_positions_file on_positions_file_error", required: "targets forward_to",
		blocks: map[string]block{"decompression": {}, "file_watch": {}, "file_match": {}}},
	"loki.process": {attributes: "forward_to", required: "forward_to", exports: "receiver", blocks: map[string]block{
		"stage.json":                {attributes: "expressions drop_malformed source", required: "expressions"},
		"stage.timestamp":           {attributes: "source format fallback_formats location action_on_failure", required: "source format"},
		"stage.labels":              {attributes: "values"},
		"stage.structured_metadata": {attributes: "values"},
		"stage.output":              {attributes: "source", required: "source"},
		"stage.label_drop":          {attributes: "values"},
	}},
	"loki.write": {attributes: "external_labels max_streams", exports: "receiver", blocks: map[string]block{
		"endpoint": {required: "url", attributes: `url batch_size batch_wait bearer_token_file bearer_token enable_http2
			follow_redirects http_headers headers max_backoff_period max_backoff_retries min_backoff_period name
			no_proxy proxy_connect_header proxy_from_environment proxy_url remote_timeout retry_on_http_429 tenant_id`},
	}},
}

// checkAlloy parses a configuration with Alloy's parser and compares its names with the
// table. It returns nil after a syntax error.
func checkAlloy(text string, report func(format string, args ...any)) *ast.File {
	file, err := parser.ParseFile("alloy.alloy", []byte(text))
	if err != nil {
		report("%v", err)
		return nil
	}
	exports := map[string]bool{}
	for _, s := range file.Body {
		if b, ok := s.(*ast.BlockStmt); ok {
			for name := range strings.FieldsSeq(alloy[b.GetBlockName()].exports) {
				exports[b.GetBlockName()+"."+b.Label+"."+name] = true
			}
		}
	}
	checkBody("the file", file.Body, block{blocks: alloy}, exports, report)
	return file
}

func checkBody(at string, body ast.Body, known block, exports map[string]bool, report func(string, ...any)) {
	var have []string
	for _, s := range body {
		switch s := s.(type) {
		case *ast.AttributeStmt:
			have = append(have, s.Name.Name)
			if !slices.Contains(strings.Fields(known.attributes), s.Name.Name) {
				report("%s has no attribute %s", at, s.Name.Name)
			}
			ast.Walk(references{exports, report}, s.Value)
		case *ast.BlockStmt:
			name := s.GetBlockName()
			if below, ok := known.blocks[name]; ok {
				checkBody(name, s.Body, below, exports, report)
			} else {
				report("%s has no block %s", at, name)
			}
		}
	}
	for name := range strings.FieldsSeq(known.required) {
		if !slices.Contains(have, name) {
			report("%s lacks %s", at, name)
		}
	}
}

// references checks the references of a component to others.
type references struct {
	exports map[string]bool
	report  func(string, ...any)
}

func (r references) Visit(n ast.Node) ast.Visitor {
	if _, ok := n.(*ast.AccessExpr); !ok {
		return r
	}
	var name strings.Builder
	if err := printer.Fprint(&name, n); err != nil {
		r.report("%v", err)
	} else if !r.exports[name.String()] {
		r.report("%s does not exist", name.String())
	}
	return nil
}

func TestAlloy_KnownNames(t *testing.T) {
	checkAlloy(read(t, "deploy/pipelines/alloy.alloy"), t.Errorf)
}

func TestAlloy_DetectsErrors(t *testing.T) {
	text := read(t, "deploy/pipelines/alloy.alloy")
	for old, replacement := range map[string]string{
		"tail_from_end = false":          "tail_from_end = fals e",
		"drop_malformed":                 "drop_malformd",
		"stage.label_drop":               "stage.labeldrop",
		"loki.write.loki.receiver":       "loki.write.other.receiver",
		"[loki.process.raytap.receiver]": "[loki.process.raytap.targets]",
		"format = \"RFC3339Nano\"":       "",
	} {
		found := 0
		checkAlloy(strings.Replace(text, old, replacement, 1), func(string, ...any) { found++ })
		if found == 0 {
			t.Errorf("%q instead of %q is not detected", replacement, old)
		}
	}
}

// stage returns the value of an attribute of a stage of loki.process.
func stage[T any](t *testing.T, file *ast.File, name, attribute string) (value T) {
	t.Helper()
	for _, s := range file.Body {
		process, ok := s.(*ast.BlockStmt)
		if !ok || process.GetBlockName() != "loki.process" {
			continue
		}
		for _, s := range process.Body {
			if b, ok := s.(*ast.BlockStmt); ok && b.GetBlockName() == name {
				for _, s := range b.Body {
					if a, ok := s.(*ast.AttributeStmt); ok && a.Name.Name == attribute {
						if err := vm.New(a.Value).Evaluate(nil, &value); err != nil {
							t.Fatal(err)
						}
						return value
					}
				}
			}
		}
	}
	t.Fatalf("%s not found in %s", attribute, name)
	return value
}
