package parse

import "bytes"

// How many bytes after the prefix are searched. JSON loggers may write the level or
// the timestamp after other keys.
const (
	textWindow = 96
	jsonWindow = 512
)

// Level returns the level that a line states, in the spelling of Python's logging
// (DEBUG, INFO, WARNING, ERROR or CRITICAL), or "" if the line states none. It
// never infers a level from the message.
//
// It recognises
//
//   - "level", "levelname", "log.level", "lvl" or "severity" of a JSON object, if
//     the value is a string (the meaning of numbers depends on the logger);
//   - level=, lvl= or severity= of logfmt, if the line begins with a key=value pair;
//   - the letter of glog ("I1124 12:00:00.1", "[W1124 12:00:00.1"), of Ray's
//     C++ log ("[2026-11-24 12:00:00,123 I 77 77] file.cc:1:") and of Tornado
//     ("[I 2026-11-24 12:00:00,123]");
//   - an upper-case word at the start of the line, after only timestamps and
//     numbers, in brackets, or between separators (" - INFO - ", "| INFO |",
//     ": INFO:"). Words elsewhere are part of the message ("the ERROR budget").
//
// It first skips the prefix that Ray prints before a worker's line
// ("(train pid=77, ip=10.0.0.10) "), "[rank0]: " and colours.
func Level(line []byte) string {
	s := skipPrefix(line)
	if len(s) < 4 {
		return ""
	}
	if s[0] == '{' {
		return jsonLevel(s[:min(len(s), jsonWindow)])
	}
	s = s[:min(len(s), textWindow)]
	if l := letterLevel(s); l != "" {
		return l
	}
	first := s
	if i := bytes.IndexByte(s, ' '); i >= 0 {
		first = s[:i]
	}
	if i := bytes.IndexByte(first, '='); i > 0 {
		if l := logfmtLevel(s, i); l != "" {
			return l
		}
	}
	return wordLevel(s)
}

// letterLevel returns a one-letter level, which loggers write at fixed offsets.
func letterLevel(s []byte) string {
	bracket := s[0] == '['
	if bracket {
		s = s[1:]
	}
	if len(s) < 12 {
		return ""
	}
	if !isDigit(s[0]) { // "I1124 12:", "I20261124 12:", "I 2026-11-24 12:", "I 241124 12:"
		switch {
		case !isDigit(s[1]) && s[1] != ' ':
			return ""
		case s[5] == ' ' && allDigits(s[1:5]) && allDigits(s[6:8]) && s[8] == ':',
			s[9] == ' ' && allDigits(s[1:9]) && allDigits(s[10:12]),
			bracket && s[1] == ' ' && allDigits(s[2:6]) && (s[6] == '-' || allDigits(s[6:8]) && s[8] == ' '):
			return levelOfLetter(s[0])
		}
		return ""
	}
	// "2026-11-24 12:00:00,123 I 77 77] "
	if bracket && len(s) > 27 && s[4] == '-' && s[10] == ' ' && s[13] == ':' &&
		s[23] == ' ' && s[25] == ' ' && isDigit(s[26]) {
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

// wordLevel returns the level of the first upper-case word that states one. It
// probes every fourth byte, because no such word is shorter.
func wordLevel(s []byte) string {
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
		if l := levelOfWord(s[from:to]); l != "" && isLevelPosition(s, from, to) {
			return l
		}
		i = to - to%4 - 1 // the next probe is the first one at or after to
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

// isLevelPosition reports whether s[from:to] is a place where loggers write levels.
func isLevelPosition(s []byte, from, to int) bool {
	before, left := lastNonSpace(s[:from])
	right, gap := firstNonSpace(s[to:])
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
		if s[0] == '[' || isDigit(s[0]) {
			return before
		}
	}
	return before && isTimestampPrefix(s[:from])
}

// lastNonSpace returns the last byte of s that is neither blank nor part of a colour
// sequence, or 0 if there is none. gap reports whether blanks or colours follow it.
func lastNonSpace(s []byte) (gap bool, c byte) {
	for len(s) > 0 {
		c = s[len(s)-1]
		if c == ' ' || c == '\t' {
			s, gap = s[:len(s)-1], true
			continue
		}
		if c == 'm' {
			if i := bytes.LastIndexByte(s[max(0, len(s)-12):], '\x1b'); i >= 0 {
				i += max(0, len(s)-12)
				if colourLen(s[i:]) == len(s)-i {
					s, gap = s[:i], true
					continue
				}
			}
		}
		return gap, c
	}
	return gap, 0
}

// firstNonSpace returns the first byte of s that is neither blank nor part of a
// colour sequence, or 0 if there is none. gap reports whether any precede it.
func firstNonSpace(s []byte) (c byte, gap bool) {
	for len(s) > 0 {
		if n := colourLen(s); n > 0 {
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

// isTimestampPrefix reports whether s consists of a time and other numbers only.
func isTimestampPrefix(s []byte) bool {
	n, seen := 0, uint8(0)
	for _, c := range s {
		kind := byteClass[c]
		seen |= kind
		n += int(kind & classDigit)
	}
	if seen&classOther != 0 || n < 6 { // hh:mm:ss
		return false
	}
	if seen&classZone != 0 {
		for i, c := range s {
			if byteClass[c] == classZone && (i == 0 || !isDigit(s[i-1])) {
				return false
			}
		}
	}
	return true
}

// The class of a byte in a timestamp or number, one bit each.
const (
	classDigit uint8 = 1 << iota
	classSeparator
	classZone // T and Z, after a digit
	classOther
)

var byteClass = func() (kinds [256]uint8) {
	for i := range kinds {
		kinds[i] = classOther
	}
	for _, c := range []byte("0123456789") {
		kinds[c] = classDigit
	}
	for _, c := range []byte(" \t[]:.,-/+|") {
		kinds[c] = classSeparator
	}
	kinds['T'], kinds['Z'] = classZone, classZone
	return kinds
}()

// logfmtLevel returns the level of a line of key=value pairs, whose first '=' is
// at s[eq].
func logfmtLevel(s []byte, eq int) string {
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

// jsonLevel returns the level of a JSON object, which may be truncated.
func jsonLevel(s []byte) string {
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

// levelOfValue returns the level that v begins with, ignoring case.
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

func isDigit(c byte) bool { return c-'0' <= 9 }

func allDigits(s []byte) bool {
	for _, c := range s {
		if !isDigit(c) {
			return false
		}
	}
	return true
}
