// Package namepattern matches names of jobs, tasks and applications, ids and
// metadata against patterns that a user writes.
//
// A pattern matches a whole name:
//
//   - any text, also none, and also one with / or . in it
//     ?       one character
//     [a-z]   one of a set; [^a-z] and [!a-z]: one that is not in it
//     \x      the character x itself
//
// Names are no paths, which is why path.Match does not fit: its * stops at a /.
package namepattern

import (
	"errors"
	"strings"
	"unicode/utf8"
)

var (
	errClass  = errors.New("is not a pattern: a [ without its ], an empty set, or a range that ends before it begins")
	errEscape = errors.New(`is not a pattern: a \ at its end`)
	errBraces = errors.New(`is not a pattern: {a,b} is not supported; give each alternative as a pattern of its own, or write \{ for the character`)
	errRegexp = errors.New(`is not a pattern but looks like a regular expression: a pattern has * ? and [a-z], and always matches the whole name; write \^ and \$ for these characters at its ends`)
)

// Check returns why a pattern cannot be used, as the end of a sentence that
// begins with the pattern; nil: it can.
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

// Match reports whether a pattern matches the whole of name. One that Check
// refuses matches nothing. It takes time of the order of both lengths
// multiplied, and no memory.
func Match(pattern, name string) bool {
	if Check(pattern) != nil {
		return false
	}
	// Where the last * stands, and how much of the name it has taken so far.
	var star, taken string
	starred := false
	for p, n := pattern, name; ; {
		if p != "" && p[0] == '*' {
			p = p[1:]
			star, taken, starred = p, n, true
			continue
		}
		if p == "" && n == "" {
			return true
		}
		if p != "" && n != "" {
			if rest, ok := one(p, n); ok {
				_, n = char(n)
				p = rest
				continue
			}
		}
		if !starred || taken == "" {
			return false
		}
		_, taken = char(taken)
		p, n = star, taken
	}
}

// one matches the first character of n with the first element of p, which is no
// *, and returns what follows that element.
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
	// As bytes, so that an invalid one matches itself alone.
	_, rest = char(p)
	_, after := char(n)
	return rest, p[:len(p)-len(rest)] == n[:len(n)-len(after)]
}

// class reads the set at the start of p and reports whether c is in it. ok:
// there is one.
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

// member reads one character of a set.
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

// char takes the first character of s, or its first byte where that begins none.
func char(s string) (rune, string) {
	c, size := utf8.DecodeRuneInString(s)
	return c, s[size:]
}
