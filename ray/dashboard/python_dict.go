package dashboard

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parsePythonDict parses the repr of a Python dict from strings to numbers,
// {'CPU': 1.0, "it's": 2}, at the start of s, and returns the rest of s.
func parsePythonDict(s string) (dict map[string]float64, rest string, ok bool) {
	s, ok = strings.CutPrefix(s, "{")
	if !ok {
		return nil, "", false
	}
	dict = map[string]float64{}
	for {
		if rest, ok = strings.CutPrefix(s, "}"); ok {
			return dict, rest, true
		}
		key, after, ok := parsePythonString(s)
		if !ok {
			return nil, "", false
		}
		if after, ok = strings.CutPrefix(after, ": "); !ok {
			return nil, "", false
		}
		end := strings.IndexAny(after, ",}")
		if end < 0 {
			return nil, "", false
		}
		value, err := strconv.ParseFloat(after[:end], 64)
		if err != nil || math.IsNaN(value) || math.IsInf(value, 0) || value < 0 {
			return nil, "", false
		}
		dict[key] = value
		s = strings.TrimPrefix(after[end:], ", ")
	}
}

// pythonEscapes are the one-character escapes that Python's repr writes.
var pythonEscapes = map[byte]byte{'\\': '\\', '\'': '\'', '"': '"', 'n': '\n', 'r': '\r', 't': '\t'}

// parsePythonString parses a string literal as Python's repr writes it.
func parsePythonString(s string) (text, rest string, ok bool) {
	if s == "" || s[0] != '\'' && s[0] != '"' {
		return "", "", false
	}
	quote, s := s[0], s[1:]
	var b strings.Builder
	for s != "" {
		switch c := s[0]; c {
		case quote:
			return b.String(), s[1:], true
		case '\\':
			if len(s) < 2 {
				return "", "", false
			}
			if plain, known := pythonEscapes[s[1]]; known {
				b.WriteByte(plain)
				s = s[2:]
				continue
			}
			digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]
			if digits == 0 || len(s) < 2+digits {
				return "", "", false
			}
			r, err := strconv.ParseUint(s[2:2+digits], 16, 32)
			if err != nil || r > utf8.MaxRune {
				return "", "", false
			}
			b.WriteRune(rune(r))
			s = s[2+digits:]
		default:
			b.WriteByte(c)
			s = s[1:]
		}
	}
	return "", "", false
}
