package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// troubleshooting quotes messages, with … for the variable parts.
const troubleshooting = "docs/troubleshooting.md"

// quoted matches the first cells of its tables that are code.
var quoted = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

func TestQuotes_AreInTheCode(t *testing.T) {
	t.Chdir("..")
	text, err := os.ReadFile(troubleshooting)
	if err != nil {
		t.Fatal(err)
	}
	literals := strings.Join(literals(t), "\n")
	messages := quoted.FindAllStringSubmatch(string(text), -1)
	if len(messages) < 30 {
		t.Fatalf("found only %d messages in %s: the test does not recognise them", len(messages), troubleshooting)
	}
	for _, m := range messages {
		for part := range strings.SplitSeq(m[1], "…") {
			if part = strings.TrimSpace(part); !strings.Contains(literals, part) {
				t.Errorf("%s quotes %q, but no text in the code contains %q", troubleshooting, m[1], part)
			}
		}
	}
}

// literals returns the string literals of raytap's own code; concatenations count as one,
// with … for the parts that are not constant.
func literals(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (file != "." && strings.HasPrefix(d.Name(), ".") || file == "test" || file == "bench" || file == "deploy" || file == "docs" || strings.HasSuffix(file, "test")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			text := constant(e)
			if text != "…" {
				out = append(out, text)
			}
			return text == "…"
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func constant(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return constant(e.X) + constant(e.Y)
		}
	}
	return "…"
}
