package docs

import (
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

// markdownFiles returns the text of each Markdown file below the working directory, by name.
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

// anchors returns the fragments that a link to a file may have, as GitHub makes them.
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

// deadLink returns what is wrong with a link in a file, or "".
func deadLink(files map[string]string, file, target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return "cannot be parsed"
	case u.Scheme != "":
		return "" // another site
	case strings.HasPrefix(u.Path, "/"):
		return "is not relative"
	}
	to := file
	if u.Path != "" {
		to = path.Join(path.Dir(file), u.Path)
	}
	if _, err := os.Stat(to); err != nil {
		return "names a file that does not exist"
	}
	if u.Fragment != "" && !anchors(files[to])[u.Fragment] {
		return "names a heading that does not exist"
	}
	return ""
}

func TestLinks_TargetsExist(t *testing.T) {
	t.Chdir("..")
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
		t.Errorf("found only %d links: the test does not recognise them", links)
	}
}

func TestLinks_DeadOnesAreFound(t *testing.T) {
	files := map[string]string{"docs/a.md": "# The `a` page\n\n## Twice\n\n## Twice\n\n```\n# no heading\n```\n", "README.md": "# x\n"}
	for name, tt := range map[string]struct{ target, wrong string }{
		"another file":                      {"../README.md", ""},
		"a heading":                         {"#the-a-page", ""},
		"a second heading of the same text": {"#twice-1", ""},
		"another site":                      {"https://example.com/x#y", ""},
		"a missing file":                    {"nowhere.md", "names a file that does not exist"},
		"a missing heading":                 {"#thrice", "names a heading that does not exist"},
		"a comment in a code block":         {"#no-heading", "names a heading that does not exist"},
		"an absolute path":                  {"/README.md", "is not relative"},
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

func TestLinks_IndexHasEachPage(t *testing.T) {
	t.Chdir("..")
	files := markdownFiles(t)
	for file := range files {
		if name, ok := strings.CutPrefix(file, "docs/"); ok && name != "README.md" && !strings.Contains(files["docs/README.md"], "("+name+")") {
			t.Errorf("docs/README.md does not list %s", name)
		}
	}
}
