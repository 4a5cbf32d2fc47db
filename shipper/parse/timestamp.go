package parse

import (
	"bytes"
	"strings"
	"time"
)

// Timestamp gives the time that a line states. It looks where loggers write it
// and nowhere else, behind the same prefixes as level does, and does not allocate:
//
//   - at the start, with a date as in ISO 8601, with a T or a blank, seconds and
//     their fraction behind a point or a comma, and a zone or none; with slashes
//     in the date as Go's log has them; also in brackets, as Ray's C++ log has it;
//   - behind one upper-case word ("INFO 2026-11-24 12:00:00 ") or letter
//     ("[I 2026-11-24 12:00:00,123");
//   - as glog writes it: I1124 12:00:00.000000, without a year, which is then the
//     one that puts it closest to now (Unix nanoseconds);
//   - in a JSON object's "time", "timestamp", "@timestamp", "ts" or "asctime": such a
//     text, or a number since 1970: of seconds, or by its size of milli-, micro-
//     or nanoseconds.
//
// A time without a zone is one of loc.
func Timestamp(line []byte, now int64, loc *time.Location) (time.Time, bool) {
	s := skipLevelPrefix(line)
	if len(s) < 4 {
		return time.Time{}, false
	}
	if s[0] == '{' {
		return jsonTime(s[:min(len(s), levelJSONWindow)], loc)
	}
	s = s[:min(len(s), levelWindow)]
	if s[0] == '[' {
		s = s[1:]
	}
	if len(s) > 20 && s[0]-'A' <= 'Z'-'A' && digit(s[1]) {
		return glogTime(s, now, loc)
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
	return isoTime(s, loc)
}

// isoTime reads a date and a time from the start of s.
func isoTime(s []byte, loc *time.Location) (time.Time, bool) {
	if len(s) < 19 || s[4] != s[7] || s[4] != '-' && s[4] != '/' || s[10] != ' ' && s[10] != 'T' {
		return time.Time{}, false
	}
	year, month, day := number(s[:4]), number(s[5:7]), number(s[8:10])
	if year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 {
		return time.Time{}, false
	}
	sec, nanos, n, ok := clock(s[11:])
	if !ok {
		return time.Time{}, false
	}
	offset, zoned := zone(s[11+n:])
	if zoned {
		loc = time.UTC
	}
	t := time.Date(year, time.Month(month), day, 0, 0, sec-offset, nanos, loc)
	if !zoned {
		t = time.Date(year, time.Month(month), day, sec/3600, sec/60%60, sec%60, nanos, loc)
	}
	return t, time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Day() == day // no 31st of June
}

// clock reads hh:mm:ss and a fraction: seconds since midnight, nanoseconds, and
// how many bytes that was.
func clock(s []byte) (sec, nanos, n int, ok bool) {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return 0, 0, 0, false
	}
	h, m, sec := number(s[:2]), number(s[3:5]), number(s[6:8])
	if h < 0 || h > 23 || m < 0 || m > 59 || sec < 0 || sec > 60 {
		return 0, 0, 0, false
	}
	sec += 3600*h + 60*m
	n = 8
	if n+1 < len(s) && (s[n] == '.' || s[n] == ',') && digit(s[n+1]) {
		unit := 100_000_000
		for n++; n < len(s) && digit(s[n]); n++ {
			nanos += unit * int(s[n]-'0')
			unit /= 10
		}
	}
	return sec, nanos, n, true
}

// maxZone is the largest offset from UTC that a place on Earth has (seconds).
const maxZone = 14 * 3600

// zone reads a zone right behind the digits of a time (Z, +01:00, +0100, +01), or
// ±HH:MM or ±HHMM behind a blank, as seconds east of UTC. What would be one is none
// where more of a number or a word follows, where its minutes are no quarter of an
// hour (all zones are a multiple of that from UTC), where no place is that far from
// UTC, and behind a blank where it is a number of something ("-1000 bytes").
func zone(s []byte) (offset int, ok bool) {
	apart := len(s) > 0 && s[0] == ' '
	if apart {
		s = s[1:]
	}
	switch {
	case len(s) == 0:
		return 0, false
	case s[0] == 'Z' && !apart:
		return 0, len(s) == 1 || !wordByte(s[1])
	case s[0] != '+' && s[0] != '-' || len(s) < 3 || number(s[1:3]) < 0:
		return 0, false
	}
	minutes, rest, colon := 0, s[3:], false
	if len(rest) > 2 && rest[0] == ':' && number(rest[1:3]) >= 0 {
		minutes, rest, colon = number(rest[1:3]), rest[3:], true
	} else if len(rest) > 1 && number(rest[:2]) >= 0 {
		minutes, rest = number(rest[:2]), rest[2:]
	} else if apart {
		return 0, false // "-10 dB"
	}
	if offset = 3600*number(s[1:3]) + 60*minutes; minutes%15 != 0 || minutes > 59 || offset > maxZone || continues(rest, apart && !colon) {
		return 0, false
	}
	if s[0] == '-' {
		offset = -offset
	}
	return offset, true
}

// continues reports whether what stands behind digits makes them a part of more:
// a longer number, a word, or, for a bare number, the name of what is counted.
func continues(rest []byte, bare bool) bool {
	if len(rest) == 0 {
		return false
	}
	switch c := rest[0]; {
	case wordByte(c), c == '%':
		return true
	case c == '.' || c == ',' || c == ':':
		return len(rest) > 1 && digit(rest[1])
	case c == ' ' && bare:
		word := rest[1:]
		n := 0
		for n < len(word) && wordByte(word[n]) {
			n++
		}
		return counted[string(word[:n])]
	}
	return false
}

// counted are words that follow a number, which is no zone then.
var counted = func() map[string]bool {
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

// wordByte reports whether c is a part of a word or a number.
func wordByte(c byte) bool {
	return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'
}

// glogTime reads "I1124 12:00:00.000000" and "I20261124 12:00:00.000000".
func glogTime(s []byte, now int64, loc *time.Location) (time.Time, bool) {
	if levelOfLetter(s[0]) == "" {
		return time.Time{}, false
	}
	s = s[1:]
	year := 0
	if s[8] == ' ' {
		year, s = number(s[:4]), s[4:]
	}
	month, day := number(s[:2]), number(s[2:4])
	sec, nanos, _, ok := clock(s[min(5, len(s)):])
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

// jsonTime reads the time of a JSON object, or of its beginning.
func jsonTime(s []byte, loc *time.Location) (time.Time, bool) {
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
			if t, ok := isoTime(v, loc); ok {
				return t, true
			}
		}
		if t, ok := unixTime(v); ok {
			return t, true
		}
	}
	return time.Time{}, false
}

// unixTime reads a number that says when something was, as seconds since 1970 or
// in a smaller unit. Both bounds are those of the years 2001 to 2286.
func unixTime(s []byte) (time.Time, bool) {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	unit := int64(1) // so many of them are a second
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
	if whole < 0 { // it does not fit
		return time.Time{}, false
	}
	if n < len(s) && s[n] == '.' && n == 10 {
		place := int64(100_000_000)
		for _, c := range s[n+1:] {
			if !digit(c) {
				break
			}
			nanos += place * int64(c-'0')
			place /= 10
		}
	}
	return time.Unix(whole/unit, whole%unit*(1e9/unit)+nanos), true
}

// number reads a decimal number without sign; -1: s is none.
func number(s []byte) int {
	n := 0
	for _, c := range s {
		if !digit(c) {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}
