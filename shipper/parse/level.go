package parse

import "bytes"

// The bytes of a line in which its level is looked for: text after its prefix,
// and JSON, whose loggers may write the level after other keys.
const (
	levelWindow     = 96
	levelJSONWindow = 512
)

// Level returns the level that a line states, as Python's logging spells it
// (DEBUG, INFO, WARNING, ERROR or CRITICAL), or "" where it states none. It
// never guesses from what the line says, and does not allocate.
//
// A level is stated
//
//   - by a JSON object's "level", "levelname", "log.level", "lvl" or "severity"
//     (a string: what a number means depends on the logger);
//   - in logfmt, if the line begins with a key=value, by level=, lvl= or severity=;
//   - by the letter of glog ("I1124 12:00:00.1", "[W1124 12:00:00.1"), of Ray's
//     C++ log ("[2026-11-24 12:00:00,123 I 77 77] file.cc:1:") and of Tornado
//     ("[I 2026-11-24 12:00:00,123]");
//   - by an upper-case word: at the start of the line, after nothing but times
//     and numbers, in brackets, or between separators (" - INFO - ",
//     "| INFO |", ": INFO:"). Words elsewhere are prose ("the ERROR budget").
//
// Before all that it skips what Ray puts before a worker's line
// ("(train pid=77, ip=10.0.0.10) "), "[rank0]: " and colours.
func Level(line []byte) string {
	s := skipLevelPrefix(line)
	if len(s) < 4 {
		return ""
	}
	if s[0] == '{' {
		return levelJSON(s[:min(len(s), levelJSONWindow)])
	}
	s = s[:min(len(s), levelWindow)]
	if l := levelLetter(s); l != "" {
		return l
	}
	first := s
	if i := bytes.IndexByte(s, ' '); i >= 0 {
		first = s[:i]
	}
	if i := bytes.IndexByte(first, '='); i > 0 {
		if l := levelLogfmt(s, i); l != "" {
			return l
		}
	}
	return levelWord(s)
}

// levelLetter reads the one-letter levels, which stand at fixed places.
func levelLetter(s []byte) string {
	bracket := s[0] == '['
	if bracket {
		s = s[1:]
	}
	if len(s) < 12 {
		return ""
	}
	if !digit(s[0]) { // "I1124 12:", "I20261124 12:", "I 2026-11-24 12:", "I 241124 12:"
		switch {
		case !digit(s[1]) && s[1] != ' ':
			return ""
		case s[5] == ' ' && digits(s[1:5]) && digits(s[6:8]) && s[8] == ':',
			s[9] == ' ' && digits(s[1:9]) && digits(s[10:12]),
			bracket && s[1] == ' ' && digits(s[2:6]) && (s[6] == '-' || digits(s[6:8]) && s[8] == ' '):
			return levelOfLetter(s[0])
		}
		return ""
	}
	// "2026-11-24 12:00:00,123 I 77 77] "
	if bracket && len(s) > 27 && s[4] == '-' && s[10] == ' ' && s[13] == ':' &&
		s[23] == ' ' && s[25] == ' ' && digit(s[26]) {
		return levelOfLetter(s[24])
	}
	return ""
}

func levelOfLetter(c byte) string {
	switch c {
	case 'D':
		return "DEBUG"
	case 'I':
		return "INFO"
	case 'W':
		return "WARNING"
	case 'E':
		return "ERROR"
	case 'C', 'F':
		return "CRITICAL"
	}
	return ""
}

// levelWord finds an upper-case word that states a level. It looks at every
// fourth byte only: no such word is shorter.
func levelWord(s []byte) string {
	for i := 3; i < len(s); i += 4 {
		if s[i]-'A' > 'Z'-'A' {
			continue
		}
		from, to := i, i+1
		for from > 0 && s[from-1]-'A' <= 'Z'-'A' {
			from--
		}
		for to < len(s) && s[to]-'A' <= 'Z'-'A' {
			to++
		}
		if l := levelOfWord(s[from:to]); l != "" && levelStands(s, from, to) {
			return l
		}
		i = to - to%4 - 1 // the next probe is the first one at or behind to
	}
	return ""
}

func levelOfWord(w []byte) string {
	switch string(w) {
	case "INFO", "NOTICE":
		return "INFO"
	case "WARNING", "WARN":
		return "WARNING"
	case "ERROR":
		return "ERROR"
	case "DEBUG", "TRACE":
		return "DEBUG"
	case "CRITICAL", "FATAL":
		return "CRITICAL"
	}
	return ""
}

// levelStands reports whether the word s[from:to] stands where levels stand.
func levelStands(s []byte, from, to int) bool {
	before, left := lastOf(s[:from])
	right, gap := firstOf(s[to:])
	if !gap && right != 0 && bytes.IndexByte([]byte(":|]/,"), right) < 0 {
		return false // part of a longer word, or "DEBUG=1"
	}
	switch left {
	case 0: // at the start
		return right != ']'
	case '[':
		return right == ']' || right == '/' || right == ','
	case '|':
		return true
	case '-', ':':
		if bytes.HasPrefix(bytes.TrimLeft(s[to:], " \t"), []byte("->")) {
			return false
		}
		if right == ':' || right == '|' || gap && right == '-' {
			return before || left == ':'
		}
	case ']':
		if s[0] == '[' || digit(s[0]) {
			return before
		}
	}
	return before && numbers(s[:from])
}

// lastOf gives the last byte of s that is neither blank nor part of a colour, 0
// if there is none, and whether a blank or a colour stood behind it.
func lastOf(s []byte) (gap bool, c byte) {
	for len(s) > 0 {
		c = s[len(s)-1]
		if c == ' ' || c == '\t' {
			s, gap = s[:len(s)-1], true
			continue
		}
		if c == 'm' {
			if i := bytes.LastIndexByte(s[max(0, len(s)-12):], '\x1b'); i >= 0 {
				i += max(0, len(s)-12)
				if colour(s[i:]) == len(s)-i {
					s, gap = s[:i], true
					continue
				}
			}
		}
		return gap, c
	}
	return gap, 0
}

// firstOf is lastOf the other way round.
func firstOf(s []byte) (c byte, gap bool) {
	for len(s) > 0 {
		if n := colour(s); n > 0 {
			s, gap = s[n:], true
			continue
		}
		if s[0] != ' ' && s[0] != '\t' {
			return s[0], gap
		}
		s, gap = s[1:], true
	}
	return 0, true
}

// numbers reports whether s holds a time and nothing but times and numbers.
func numbers(s []byte) bool {
	n, seen := 0, uint8(0)
	for _, c := range s {
		kind := inNumbers[c]
		seen |= kind
		n += int(kind & numberDigit)
	}
	if seen&numberNot != 0 || n < 6 { // hh:mm:ss
		return false
	}
	if seen&numberZone != 0 {
		for i, c := range s {
			if inNumbers[c] == numberZone && (i == 0 || !digit(s[i-1])) {
				return false
			}
		}
	}
	return true
}

// What a byte may be in a time or a number: one bit each.
const (
	numberDigit uint8 = 1 << iota
	numberMark
	numberZone // T and Z, behind a digit
	numberNot
)

var inNumbers = func() (kinds [256]uint8) {
	for i := range kinds {
		kinds[i] = numberNot
	}
	for _, c := range []byte("0123456789") {
		kinds[c] = numberDigit
	}
	for _, c := range []byte(" \t[]:.,-/+|") {
		kinds[c] = numberMark
	}
	kinds['T'], kinds['Z'] = numberZone, numberZone
	return kinds
}()

// levelLogfmt reads level=info in a line of key=value pairs; the first '='
// stands at eq.
func levelLogfmt(s []byte, eq int) string {
	for {
		key := s[:eq]
		if i := bytes.LastIndexByte(key, ' '); i >= 0 {
			key = key[i+1:]
		}
		switch string(key) {
		case "level", "lvl", "severity":
			return levelOfValue(bytes.TrimPrefix(s[eq+1:], []byte(`"`)))
		}
		next := bytes.IndexByte(s[eq+1:], '=')
		if next < 0 {
			return ""
		}
		eq += 1 + next
	}
}

// levelJSON reads the level of a JSON object, or of its beginning.
func levelJSON(s []byte) string {
	for _, key := range [...]string{`level`, `severity`, `"lvl`} {
		rest := s
		for {
			i := bytes.Index(rest, []byte(key))
			if i < 0 {
				break
			}
			start := rest[:i]
			rest = rest[i+len(key):]
			if key[0] != '"' && !bytes.HasSuffix(start, []byte(`"`)) && !bytes.HasSuffix(start, []byte(`"log.`)) {
				continue
			}
			v, ok := bytes.CutPrefix(bytes.TrimPrefix(rest, []byte("name")), []byte(`"`))
			v, colon := bytes.CutPrefix(bytes.TrimLeft(v, " \t"), []byte(":"))
			v, quote := bytes.CutPrefix(bytes.TrimLeft(v, " \t"), []byte(`"`))
			if !ok || !colon || !quote {
				continue
			}
			if l := levelOfValue(v); l != "" {
				return l
			}
		}
	}
	return ""
}

// levelOfValue reads the level that v begins with, in either case.
func levelOfValue(v []byte) string {
	var word [9]byte
	n := 0
	for ; n < len(v) && n < len(word); n++ {
		c := v[n] &^ 0x20
		if c-'A' > 'Z'-'A' {
			break
		}
		word[n] = c
	}
	if n < len(v) && v[n] != '"' && v[n] != ' ' {
		return ""
	}
	switch string(word[:n]) {
	case "ERR":
		return "ERROR"
	case "PANIC", "DPANIC", "ALERT", "EMERGENCY":
		return "CRITICAL"
	}
	return levelOfWord(word[:n])
}

func digit(c byte) bool { return c-'0' <= 9 }

func digits(s []byte) bool {
	for _, c := range s {
		if !digit(c) {
			return false
		}
	}
	return true
}
