// Package namepattern matches names of jobs, tasks and applications, ids and
// metadata against patterns that users write.
//
// A pattern matches a whole name:
//
//   - any text, empty or with / and . in it
//     ?       one character
//     [a-z]   one of a set; [^a-z] and [!a-z]: one that is not in it
//     \x      the character x itself
//
// path.Match does not fit: its * stops at a slash.
package namepattern

import (
	"errors"
	"strings"
	"unicode/utf8"
)

var (
	errClass  = errors.New("is not a valid pattern: a [ without its ], an empty set, or a range in the wrong order")
	errEscape = errors.New(`is not a valid pattern: a \ at its end`)
	errBraces = errors.New(`is not a valid pattern: {a,b} is not supported; write one pattern for each alternative, or \{ for the character`)
	errRegexp = errors.New(`is a regular expression, not a pattern: patterns have * ? and [a-z], and match the whole name; write \^ and \$ for these characters at its ends`)
)

// Check returns why a pattern is invalid, as the end of a sentence that starts with
// the pattern; nil: it is valid.
func Check(pattern string) error {
	if strings.HasPrefix(pattern, "^") {
		return errRegexp
	}
	for p := pattern; p != ""; {
		switch p[0] {
		case '\\':
			if len(p) == 1 {
				return errEscape
			}
			_, p = char(p[1:])
		case '[':
			_, rest, ok := class(p, 0)
			if !ok {
				return errClass
			}
			p = rest
		case '{':
			return errBraces
		case '$':
			if len(p) == 1 {
				return errRegexp
			}
			p = p[1:]
		default:
			p = p[1:]
		}
	}
	return nil
}

// Match reports whether a pattern matches the whole name. An invalid pattern
// matches nothing. Match does not allocate, and takes time proportional to the
// product of both lengths.
func Match(pattern, name string) bool {
	if Check(pattern) != nil {
		return false
	}
	// The pattern after the last *, and the name after what this * matches so far.
	var star, rest string
	starred := false
	for p, n := pattern, name; ; {
		if p != "" && p[0] == '*' {
			p = p[1:]
			star, rest, starred = p, n, true
			continue
		}
		if p == "" && n == "" {
			return true
		}
		if p != "" && n != "" {
			if next, ok := one(p, n); ok {
				_, n = char(n)
				p = next
				continue
			}
		}
		if !starred || rest == "" {
			return false
		}
		_, rest = char(rest)
		p, n = star, rest
	}
}

// one matches the first character of n with the first element of p, which is not
// *, and returns the pattern after that element.
func one(p, n string) (rest string, ok bool) {
	c, _ := char(n)
	switch p[0] {
	case '?':
		return p[1:], true
	case '[':
		in, rest, _ := class(p, c)
		return rest, in
	case '\\':
		p = p[1:]
	}
	// Compare bytes, so that an invalid one matches only itself.
	_, rest = char(p)
	_, after := char(n)
	return rest, p[:len(p)-len(rest)] == n[:len(n)-len(after)]
}

// class parses the set at the start of p, and reports whether c is in it. ok is
// false for an invalid set.
func class(p string, c rune) (in bool, rest string, ok bool) {
	p = p[1:]
	negated := strings.HasPrefix(p, "^") || strings.HasPrefix(p, "!")
	if negated {
		p = p[1:]
	}
	for first := true; ; first = false {
		if p == "" || p[0] == ']' && first {
			return false, "", false
		}
		if p[0] == ']' {
			return in != negated, p[1:], true
		}
		var low, high rune
		if low, p, ok = member(p); !ok {
			return false, "", false
		}
		high = low
		if strings.HasPrefix(p, "-") {
			if high, p, ok = member(p[1:]); !ok || high < low {
				return false, "", false
			}
		}
		in = in || low <= c && c <= high
	}
}

// member parses one character of a set.
func member(p string) (c rune, rest string, ok bool) {
	if strings.HasPrefix(p, `\`) {
		p = p[1:]
	} else if p == "" || p[0] == ']' || p[0] == '-' {
		return 0, "", false
	}
	if p == "" {
		return 0, "", false
	}
	c, rest = char(p)
	return c, rest, true
}

// char returns the first character of s, or its first byte if that is not valid
// UTF-8, and the rest.
func char(s string) (rune, string) {
	c, size := utf8.DecodeRuneInString(s)
	return c, s[size:]
}
