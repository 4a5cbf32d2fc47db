package namepattern

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// * matches anything in a name.
func TestMatch(t *testing.T) {
	for _, row := range []struct {
		pattern, name string
		want          bool
	}{
		{"secret-*", "secret-team/llm-7b", true},
		{"*", "a/b/c", true}, {"*", "", true}, {"**", "a/b", true},
		{"*/llm", "team/llm", true}, {"a*c*e", "abcde", true}, {"a*c*e", "abcdef", false},
		{"?", "/", true}, {"?", "漢", true}, {"?", "", false}, {"??", "漢", false},
		{"[a-c]x", "bx", true}, {"[^a-c]x", "bx", false}, {"[!a-c]x", "bx", false}, {"[!a-c]x", "dx", true}, {"[^a]", "/", true},
		{`\*`, "*", true}, {`\*`, "a", false}, {`[\]]`, "]", true}, {`\^a\$`, "^a$", true}, {`a\{b`, "a{b", true},
		{"train-*", "Train-1", false}, {"", "", true}, {"", "a", false},
		{"a$b", "a$b", true}, {"a^b", "a^b", true}, {"\xff", "\xff", true}, {"\xff", "\xfe", false},
	} {
		if got := Match(row.pattern, row.name); got != row.want {
			t.Errorf("Match(%q, %q) = %t", row.pattern, row.name, got)
		}
	}
}

// Patterns of another syntax, which would match nothing, are refused.
func TestCheck(t *testing.T) {
	for pattern, want := range map[string]string{
		"[a": "without its ]", "[]": "empty set", "[z-a]": "wrong order", `a\`: "at its end", "[a-": "without its ]",
		"{a,b}": "{a,b} is not supported", "train-{1,2}": "{a,b} is not supported",
		"^train-.*$": "regular expression", "^a": "regular expression", "a$": "regular expression",
		"train-*": "", "[^a]*": "", `\{a\}`: "", `a\$`: "", "a$b": "", "}": "",
	} {
		err := Check(pattern)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", pattern, err)
		}
		if err != nil && Match(pattern, pattern) {
			t.Errorf("%q is invalid but matches", pattern)
		}
	}
}

// translate returns a pattern of valid UTF-8 as a regular expression.
func translate(pattern string) string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	literal := func(c rune) { fmt.Fprintf(&b, `\x{%X}`, c) }
	in, begins, escaped := false, false, false
	for _, c := range pattern {
		switch {
		case escaped:
			literal(c)
			escaped = false
		case c == '\\':
			escaped = true
		case begins && (c == '^' || c == '!'):
			b.WriteByte('^')
		case in && (c == ']' || c == '-'):
			in = c != ']'
			b.WriteRune(c)
		case in:
			literal(c)
		case c == '[':
			in = true
			b.WriteByte('[')
		case c == '*':
			b.WriteString(".*")
		case c == '?':
			b.WriteByte('.')
		default:
			literal(c)
		}
		begins = c == '[' && in && strings.HasSuffix(b.String(), "[")
	}
	return b.String() + `\z`
}

// A pattern matches what its translation to a regular expression does, and for a name
// without / what path.Match does.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"secret-*", "secret-team/llm-7b"}, {"[a-z]?*", "ab/c"}, {`\*[^\]]`, "*a"}, {"*a*b", "aab"}, {"[!é-漢]", "x"}, {`[a\-z]`, "-"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 200 || len(name) > 200 {
			return
		}
		got := Match(pattern, name)
		if Check(pattern) != nil {
			if got {
				t.Fatalf("%q is invalid but matches %q", pattern, name)
			}
			return
		}
		if !strings.Contains(name, "/") && !strings.Contains(pattern, "[!") {
			want, err := path.Match(pattern, name)
			// path.Match refuses - at the edge of a set, and invalid UTF-8 in one.
			if err == nil && want != got {
				t.Fatalf("%q on %q: %v, path.Match: %v", pattern, name, got, want)
			}
		}
		if !utf8.ValidString(pattern) || !utf8.ValidString(name) {
			return
		}
		re, err := regexp.Compile(translate(pattern))
		if err != nil {
			t.Fatalf("%q: %v", pattern, err)
		}
		if want := re.MatchString(name); want != got {
			t.Fatalf("%q on %q: %v, as a regular expression %v", pattern, name, got, want)
		}
	})
}
