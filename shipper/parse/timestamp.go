package parse

import (
	"bytes"
	"strings"
	"time"
)

// Timestamp returns the time that a line states, and false if the line states none.
// It skips the same prefixes as Level, and recognises
//
//   - an ISO 8601 date and time at the start of the line: with T or a blank between
//     them, an optional fraction after a point or a comma, and an optional zone;
//     also with slashes in the date (Go's log) or in brackets (Ray's C++ log);
//   - the same after one upper-case word ("INFO 2026-11-24 12:00:00 ") or letter
//     ("[I 2026-11-24 12:00:00,123");
//   - glog's form: I1124 12:00:00.000000. The missing year is the one that puts the
//     time closest to now (Unix nanoseconds);
//   - "time", "timestamp", "@timestamp", "ts" or "asctime" of a JSON object: an ISO
//     8601 text, or a Unix time in seconds, milli-, micro- or nanoseconds (decided
//     by its size).
//
// A time without a zone is in loc.
func Timestamp(line []byte, now int64, loc *time.Location) (time.Time, bool) {
	s := skipPrefix(line)
	if len(s) < 4 {
		return time.Time{}, false
	}
	if s[0] == '{' {
		return jsonTimestamp(s[:min(len(s), jsonWindow)], loc)
	}
	s = s[:min(len(s), textWindow)]
	if s[0] == '[' {
		s = s[1:]
	}
	if len(s) > 20 && s[0]-'A' <= 'Z'-'A' && isDigit(s[1]) {
		return glogTimestamp(s, now, loc)
	}
	n := 0
	for n < len(s) && s[n]-'A' <= 'Z'-'A' {
		n++
	}
	if n > 0 {
		for n < len(s) && n < 12 && (s[n] == ' ' || s[n] == ':' || s[n] == ']' || s[n] == '[' || s[n] == '\t') {
			n++
		}
		s = s[n:]
	}
	return isoTimestamp(s, loc)
}

// isoTimestamp returns the date and time that s begins with.
func isoTimestamp(s []byte, loc *time.Location) (time.Time, bool) {
	if len(s) < 19 || s[4] != s[7] || s[4] != '-' && s[4] != '/' || s[10] != ' ' && s[10] != 'T' {
		return time.Time{}, false
	}
	year, month, day := parseNumber(s[:4]), parseNumber(s[5:7]), parseNumber(s[8:10])
	if year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 {
		return time.Time{}, false
	}
	sec, nanos, n, ok := parseClock(s[11:])
	if !ok {
		return time.Time{}, false
	}
	offset, zoned := parseZone(s[11+n:])
	if zoned {
		loc = time.UTC
	}
	t := time.Date(year, time.Month(month), day, 0, 0, sec-offset, nanos, loc)
	if !zoned {
		t = time.Date(year, time.Month(month), day, sec/3600, sec/60%60, sec%60, nanos, loc)
	}
	return t, time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Day() == day // no 31st of June
}

// parseClock parses hh:mm:ss and an optional fraction. It returns seconds since
// midnight, nanoseconds, and the number of bytes parsed.
func parseClock(s []byte) (sec, nanos, n int, ok bool) {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return 0, 0, 0, false
	}
	h, m, sec := parseNumber(s[:2]), parseNumber(s[3:5]), parseNumber(s[6:8])
	if h < 0 || h > 23 || m < 0 || m > 59 || sec < 0 || sec > 60 {
		return 0, 0, 0, false
	}
	sec += 3600*h + 60*m
	n = 8
	if n+1 < len(s) && (s[n] == '.' || s[n] == ',') && isDigit(s[n+1]) {
		unit := 100_000_000
		for n++; n < len(s) && isDigit(s[n]); n++ {
			nanos += unit * int(s[n]-'0')
			unit /= 10
		}
	}
	return sec, nanos, n, true
}

// maxZoneOffset is the largest offset from UTC of any time zone (seconds).
const maxZoneOffset = 14 * 3600

// parseZone parses a zone directly after the digits of a time (Z, +01:00, +0100,
// +01), or ±HH:MM or ±HHMM after a blank, and returns seconds east of UTC. It
// rejects a zone that is followed by more of a number or word, that is not a
// multiple of 15 minutes (all zones are), that is larger than any real one, and,
// after a blank, one that counts something ("-1000 bytes").
func parseZone(s []byte) (offset int, ok bool) {
	apart := len(s) > 0 && s[0] == ' '
	if apart {
		s = s[1:]
	}
	switch {
	case len(s) == 0:
		return 0, false
	case s[0] == 'Z' && !apart:
		return 0, len(s) == 1 || !isWordByte(s[1])
	case s[0] != '+' && s[0] != '-' || len(s) < 3 || parseNumber(s[1:3]) < 0:
		return 0, false
	}
	minutes, rest, colon := 0, s[3:], false
	if len(rest) > 2 && rest[0] == ':' && parseNumber(rest[1:3]) >= 0 {
		minutes, rest, colon = parseNumber(rest[1:3]), rest[3:], true
	} else if len(rest) > 1 && parseNumber(rest[:2]) >= 0 {
		minutes, rest = parseNumber(rest[:2]), rest[2:]
	} else if apart {
		return 0, false // "-10 dB"
	}
	if offset = 3600*parseNumber(s[1:3]) + 60*minutes; minutes%15 != 0 || minutes > 59 || offset > maxZoneOffset || isQuantity(rest, apart && !colon) {
		return 0, false
	}
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}

// isQuantity reports whether digits followed by rest are part of something else: of
// a longer number, of a word, or, if bare, of a quantity such as "1000 bytes".
func isQuantity(rest []byte, bare bool) bool {
	if len(rest) == 0 {
		return false
	}
	switch c := rest[0]; {
	case isWordByte(c), c == '%':
		return true
	case c == '.' || c == ',' || c == ':':
		return len(rest) > 1 && isDigit(rest[1])
	case c == ' ' && bare:
		word := rest[1:]
		n := 0
		for n < len(word) && isWordByte(word[n]) {
			n++
		}
		return quantities[string(word[:n])]
	}
	return false
}

// quantities are words that show that the number before them is not a zone.
var quantities = func() map[string]bool {
	words := map[string]bool{}
	for w := range strings.FieldsSeq("b B kb kB KB KiB mb MB MiB gb GB GiB tb TB TiB byte bytes bit bits dB db ns us ms s sec secs second seconds " +
		"min mins minute minutes h hour hours day days row rows record records line lines item items sample samples step steps token tokens " +
		"file files point points page pages job jobs task tasks node nodes worker workers object objects batch batches epoch epochs " +
		"request requests message messages event events entry entries example examples image images key keys block blocks chunk chunks " +
		"percent degrees C F K Hz kHz MHz GHz W kW V mV A mA USD EUR units times of more less") {
		words[w] = true
	}
	return words
}()

// isWordByte reports whether c can be part of a word or a number.
func isWordByte(c byte) bool {
	return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
}

// glogTimestamp parses "I1124 12:00:00.000000" and "I20261124 12:00:00.000000".
func glogTimestamp(s []byte, now int64, loc *time.Location) (time.Time, bool) {
	if levelOfLetter(s[0]) == "" {
		return time.Time{}, false
	}
	s = s[1:]
	year := 0
	if s[8] == ' ' {
		year, s = parseNumber(s[:4]), s[4:]
	}
	month, day := parseNumber(s[:2]), parseNumber(s[2:4])
	sec, nanos, _, ok := parseClock(s[min(5, len(s)):])
	if !ok || s[4] != ' ' || year < 0 || month < 1 || month > 12 || day < 1 || day > 31 {
		return time.Time{}, false
	}
	at := func(year int) time.Time {
		return time.Date(year, time.Month(month), day, sec/3600, sec/60%60, sec%60, nanos, loc)
	}
	if year > 0 {
		return at(year), true
	}
	came := time.Unix(0, now).In(loc)
	t := at(came.Year())
	const half = 183 * 24 * time.Hour
	switch apart := t.Sub(came); {
	case apart > half:
		t = at(came.Year() - 1)
	case apart < -half:
		t = at(came.Year() + 1)
	}
	return t, true
}

// jsonTimestamp returns the time of a JSON object, which may be truncated.
func jsonTimestamp(s []byte, loc *time.Location) (time.Time, bool) {
	for _, key := range [...]string{`"time"`, `"timestamp"`, `"@timestamp"`, `"ts"`, `"asctime"`} {
		i := bytes.Index(s, []byte(key))
		if i < 0 {
			continue
		}
		v, ok := bytes.CutPrefix(bytes.TrimLeft(s[i+len(key):], " \t"), []byte(":"))
		if v = bytes.TrimLeft(v, " \t"); !ok || len(v) == 0 {
			continue
		}
		if v[0] == '"' {
			v = v[1:]
			if end := bytes.IndexByte(v, '"'); end >= 0 {
				v = v[:end]
			}
			if t, ok := isoTimestamp(v, loc); ok {
				return t, true
			}
		}
		if t, ok := unixTimestamp(v); ok {
			return t, true
		}
	}
	return time.Time{}, false
}

// unixTimestamp parses a Unix time in seconds, milli-, micro- or nanoseconds. By the
// number of its digits it is one of the years 2001 to 2286.
func unixTimestamp(s []byte) (time.Time, bool) {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	unit := int64(1) // units per second
	switch n {
	case 10:
	case 13:
		unit = 1e3
	case 16:
		unit = 1e6
	case 19:
		unit = 1e9
	default:
		return time.Time{}, false
	}
	nanos := int64(0)
	whole := int64(0)
	for _, c := range s[:n] {
		whole = 10*whole + int64(c-'0')
	}
	if whole < 0 { // overflow
		return time.Time{}, false
	}
	if n < len(s) && s[n] == '.' && n == 10 {
		place := int64(100_000_000)
		for _, c := range s[n+1:] {
			if !isDigit(c) {
				break
			}
			nanos += place * int64(c-'0')
			place /= 10
		}
	}
	return time.Unix(whole/unit, whole%unit*(1e9/unit)+nanos), true
}

// parseNumber parses an unsigned decimal number. It returns -1 if s is not one.
func parseNumber(s []byte) int {
	n := 0
	for _, c := range s {
		if !isDigit(c) {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}
