package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// markdownFiles gives the text of each Markdown file of the repository, by name.
func markdownFiles(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (file != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || file == "bin" || file == "dist"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".md"):
			return nil
		}
		text, err := os.ReadFile(file)
		out[filepath.ToSlash(file)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var (
	fence     = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	codeSpan  = regexp.MustCompile("`[^`\n]+`")
	link      = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading   = regexp.MustCompile(`(?m)^#{1,6} +(.+?)\s*$`)
	linkText  = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	notInSlug = func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && r != '-' && r != '_' && r != ' '
	}
)

// anchors gives what a link may name behind # in a file, as GitHub makes it.
func anchors(text string) map[string]bool {
	out, count := map[string]bool{}, map[string]int{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		title := strings.ReplaceAll(linkText.ReplaceAllString(m[1], "$1"), `\_`, "_")
		slug := strings.ReplaceAll(strings.Join(strings.FieldsFunc(strings.ToLower(title), notInSlug), ""), " ", "-")
		if n := count[slug]; n > 0 {
			out[slug+"-"+strconv.Itoa(n)] = true
		}
		count[slug]++
		out[slug] = true
	}
	return out
}

// deadLink tells what is wrong with a link in a file; "" where nothing is.
func deadLink(files map[string]string, file, target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return "is no link"
	case u.Scheme != "":
		return "" // another's page
	case strings.HasPrefix(u.Path, "/"):
		return "is not relative"
	}
	to := file
	if u.Path != "" {
		to = path.Join(path.Dir(file), u.Path)
	}
	if _, err := os.Stat(to); err != nil {
		return "leads to nothing"
	}
	if u.Fragment != "" && !anchors(files[to])[u.Fragment] {
		return "names a heading that is not there"
	}
	return ""
}

func TestLinksLeadSomewhere(t *testing.T) {
	files := markdownFiles(t)
	links := 0
	for file, text := range files {
		plain := codeSpan.ReplaceAllString(fence.ReplaceAllString(text, ""), "x")
		for _, m := range link.FindAllStringSubmatch(plain, -1) {
			links++
			if wrong := deadLink(files, file, m[1]); wrong != "" {
				t.Errorf("%s: the link to %s %s", file, m[1], wrong)
			}
		}
	}
	if links < 50 {
		t.Errorf("only %d links were found: the test does not see them", links)
	}
}

func TestDeadLinksAreSeen(t *testing.T) {
	files := map[string]string{"docs/a.md": "# The `a` page\n\n## Twice\n\n## Twice\n\n```\n# no heading\n```\n", "README.md": "# x\n"}
	for name, tt := range map[string]struct{ target, wrong string }{
		"another file":              {"../README.md", ""},
		"a heading":                 {"#the-a-page", ""},
		"a heading's second":        {"#twice-1", ""},
		"elsewhere":                 {"https://example.com/x#y", ""},
		"a file that is not there":  {"nowhere.md", "leads to nothing"},
		"a heading that is not":     {"#thrice", "names a heading that is not there"},
		"a comment in a code block": {"#no-heading", "names a heading that is not there"},
		"an absolute path":          {"/README.md", "is not relative"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for file, text := range files {
				if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if wrong := deadLink(files, "docs/a.md", tt.target); wrong != tt.wrong {
				t.Errorf("%q, want %q", wrong, tt.wrong)
			}
		})
	}
}

func TestTheContentsListEveryPage(t *testing.T) {
	files := markdownFiles(t)
	for file := range files {
		if name, ok := strings.CutPrefix(file, "docs/"); ok && name != "README.md" && !strings.Contains(files["docs/README.md"], "("+name+")") {
			t.Errorf("docs/README.md does not list %s", name)
		}
	}
}

// troubleshooting quotes messages: whole, or with … for what differs.
const troubleshooting = "docs/troubleshooting.md"

// quoted are the first cells of its tables that are code.
var quoted = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

func TestQuotedMessagesAreInTheCode(t *testing.T) {
	text, err := os.ReadFile(troubleshooting)
	if err != nil {
		t.Fatal(err)
	}
	literals := strings.Join(literals(t), "\n")
	messages := quoted.FindAllStringSubmatch(string(text), -1)
	if len(messages) < 30 {
		t.Fatalf("only %d messages were found in %s: the test does not see them", len(messages), troubleshooting)
	}
	for _, m := range messages {
		for part := range strings.SplitSeq(m[1], "…") {
			if part = strings.TrimSpace(part); !strings.Contains(literals, part) {
				t.Errorf("%s quotes %q: nothing in the code says %q", troubleshooting, m[1], part)
			}
		}
	}
}

// literals gives the texts in raytap's own code, those put together with + as one,
// with … for what is not constant.
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
