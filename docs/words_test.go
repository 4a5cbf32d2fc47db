package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// retired are the phrases that this repository does not use any more, each with what to
// write instead. They are looked for in the comments and texts of Go files, and in all of
// the others.
var retired = []struct{ pattern, instead string }{
	{`anew`, "again"},
	{`asked for`, "requested, queried"},
	{`beside`, "next to, in addition to"},
	{`whoever|somebody`, "callers, clients, any"},
	{`nobody [a-z]+`, "no client, none"},
	{`for ever`, "indefinitely"},
	{`(a|an|its|the|own|temporary) folder|folders`, "directory"},
	{`switch(ed|es)? (on|off)`, "enabled, disabled"},
	{`the book`, "the documentation"},
	{`half lines?`, "partial line"},
	{`is said`, "is reported"},
	{`left out`, "omitted, skipped, excluded"},
	{`doubled`, "duplicated"},
	{`let go`, "release, flush, drop"},
	{`(cannot|can) be had`, "is (not) available"},
	{`lies (in|beside|there)`, "is stored in"},
	{`(by|over) each way|the (two|three) ways`, "transport"},
	{`ails`, "current error"},
	{`fares?`, "status"},
	{`deeds?`, "action"},
	{`rungs?|ladder`, "candidates"},
	{`dialects?`, "API"},
	{`bears`, "supports, tolerates"},
	{`spoilt`, "invalid"},
	{`belied?s?`, "contradicts"},
	{`had better`, "should"},
	{`tells`, "says, reports, shows, distinguishes"},
	{`gives [a-tv-z][a-z]*`, "returns, reports, has"},
	{`both halves|(log|metrics) half`, "the shipper, the collector"},
	{`collector\.freshness`, "cache_ttl"},
	{`end_timeout`, "lost_after"},
	{`max_answers`, "response_memory"},
	{`multiline_(wait|lines)`, "multiline.max_wait_time, multiline.max_lines"},
	{`collector\.drop`, "collector.exclude_metrics"},
	{`explain this`, "Show help."},
}

// prose returns the text of a file, line by line, from which words are read: of a Go file
// only comments and string literals, with the other lines empty.
func prose(file string, text []byte) ([]string, error) {
	lines := strings.Split(string(text), "\n")
	if !strings.HasSuffix(file, ".go") {
		return lines, nil
	}
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, file, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(lines))
	add := func(pos token.Pos, s string) {
		for i, line := range strings.Split(s, "\n") {
			out[set.Position(pos).Line-1+i] += " " + line
		}
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			add(c.Pos(), c.Text)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING {
			add(s.Pos(), s.Value)
		}
		return true
	})
	return out, nil
}

// findRetired returns file:line and the phrase for each retired phrase in a file.
func findRetired(file string, text []byte) ([]string, error) {
	lines, err := prose(file, text)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, r := range retired {
		re := regexp.MustCompile(`(?i)\b(?:` + r.pattern + `)\b`)
		for i, line := range lines {
			if m := re.FindString(line); m != "" {
				found = append(found, fmt.Sprintf("%s:%d: %q: write %q instead", file, i+1, m, r.instead))
			}
		}
	}
	return found, nil
}

func TestWords_NoRetiredPhrases(t *testing.T) {
	t.Chdir("..")
	kinds := []string{".go", ".md", ".yaml", ".yml", ".html", ".tpl", ".txt", ".sh", ".py", ".service", ".conf", ".alloy", ""}
	files := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (file != "." && strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"testdata", "bin", "dist", "trial"}, d.Name())):
			return filepath.SkipDir
		case !d.Type().IsRegular() || !slices.Contains(kinds, filepath.Ext(file)) || filepath.ToSlash(file) == "docs/words_test.go" || file == "raytap":
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		files++
		found, err := findRetired(filepath.ToSlash(file), text)
		for _, f := range found {
			t.Error(f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 300 {
		t.Errorf("only %d files were read", files)
	}
}

func TestWords_RetiredPhrasesAreFound(t *testing.T) {
	const code = "package x\n\n// How it fares.\nvar fares = \"a\\n\" + `first\nend_timeout`\n"
	found, err := findRetired("x.go", []byte(code))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || !strings.HasPrefix(found[0], `x.go:3: "fares"`) || !strings.HasPrefix(found[1], `x.go:5: "end_timeout"`) {
		t.Errorf("found %q, want the comment in line 3 and the text in line 5", found)
	}
}
