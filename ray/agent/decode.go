package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// text is a JSON string; numbers and booleans are taken as they are spelled,
// null is "".
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case 'n':
		*t = ""
		return nil
	case '"':
		return json.Unmarshal(b, (*string)(t))
	case '{', '[':
		return errors.New("an object or a list where a text should be")
	}
	*t = text(b)
	return nil
}

// number is a JSON number, or a string that holds one; ok is false for
// anything else and where it was absent.
type number struct {
	value float64
	ok    bool
}

func (n *number) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseFloat(strings.TrimSpace(string(bytes.Trim(b, `"`))), 64)
	if *n = (number{}); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
		*n = number{v, true}
	}
	return nil
}

// count gives a whole number, or nil where none was told.
func (n number) count() *int {
	if !n.ok {
		return nil
	}
	i := int(n.value)
	return &i
}

// float gives the value times unit, or nil where none was told.
func (n number) float(unit float64) *float64 {
	if !n.ok {
		return nil
	}
	v := n.value * unit
	return &v
}

// when is a time: a number or a string of one, in milliseconds from 1e11 on
// and else in seconds since 1970, or ISO 8601 (UTC where it names no zone). 0,
// null, "" and what cannot be read are no time.
type when struct{ time.Time }

// maxMillis is the year 9999: Ray sends 2^64-1 for a time that it does not know.
const (
	minMillis = 1e11
	maxMillis = 253402300799999
)

func (w *when) UnmarshalJSON(b []byte) error {
	*w = when{}
	var n number
	_ = n.UnmarshalJSON(b)
	switch {
	case n.ok && n.value >= minMillis && n.value <= maxMillis:
		w.Time = time.UnixMilli(int64(n.value)).UTC()
	case n.ok && n.value > 0 && n.value < minMillis:
		w.Time = time.UnixMicro(int64(n.value * 1e6)).UTC()
	case !n.ok && b[0] == '"':
		s := strings.TrimSpace(string(bytes.Trim(b, `"`)))
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00",
			"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02"} {
			if t, err := time.Parse(layout, s); err == nil {
				w.Time = t.UTC()
				break
			}
		}
	}
	return nil
}

// amounts is a map of numbers; what is no number in it is left out.
type amounts map[string]float64

func (a *amounts) UnmarshalJSON(b []byte) error {
	var all map[string]number
	if json.Unmarshal(b, &all) != nil {
		return nil
	}
	for name, n := range all {
		if n.ok {
			if *a == nil {
				*a = amounts{}
			}
			(*a)[name] = n.value
		}
	}
	return nil
}

// texts is a map of strings; what is no string in it is left out.
type texts map[string]string

func (m *texts) UnmarshalJSON(b []byte) error {
	var all map[string]any
	if json.Unmarshal(b, &all) != nil {
		return nil
	}
	for key, value := range all {
		if s, ok := value.(string); ok {
			if *m == nil {
				*m = texts{}
			}
			(*m)[key] = s
		}
	}
	return nil
}

// list is the rows of an answer, wherever they lie in it.
type list struct {
	rows  []json.RawMessage
	names []string // of the rows, where they came as a map; else nil
	total int      // as told beside the rows, 0 where it was not
	found bool
}

// wrappers are the keys that a list, or one thing, may lie under.
var wrappers = []string{"results", "data", "result"}

// findList finds the rows: a bare array, or one under results, data, result or
// the resource's own name, at most four deep. Under its own name a map by name
// is taken too. null is an empty list.
func findList(raw json.RawMessage, resource ...string) list { return findIn(raw, resource, false, 4) }

func findIn(raw json.RawMessage, resource []string, named bool, depth int) list {
	switch first(raw) {
	case 'n':
		return list{found: true}
	case '[':
		var l list
		l.found = json.Unmarshal(raw, &l.rows) == nil
		return l
	case '{':
	default:
		return list{}
	}
	var object map[string]json.RawMessage
	if depth == 0 || json.Unmarshal(raw, &object) != nil {
		return list{}
	}
	for i, key := range append(resource[:len(resource):len(resource)], wrappers...) {
		inner, ok := object[key]
		if !ok {
			continue
		}
		if l := findIn(inner, resource, i < len(resource), depth-1); l.found {
			var total number
			if t, ok := object["total"]; ok && l.total == 0 && total.UnmarshalJSON(t) == nil {
				l.total = int(total.value)
			}
			return l
		}
	}
	if !named {
		return list{}
	}
	l := list{found: true}
	for name, row := range object {
		l.names, l.rows = append(l.names, name), append(l.rows, row)
	}
	return l
}

// findOne decodes one thing: the object itself, or one under the resource's
// name or a wrapper, whichever is the first that use accepts.
func findOne[T any](raw json.RawMessage, use func(T) bool, resource ...string) bool {
	for range 4 {
		var row T
		if json.Unmarshal(raw, &row) == nil && use(row) {
			return true
		}
		var object map[string]json.RawMessage
		if first(raw) != '{' || json.Unmarshal(raw, &object) != nil {
			return false
		}
		raw = nil
		for _, key := range append(resource[:len(resource):len(resource)], wrappers...) {
			if inner, ok := object[key]; ok {
				raw = inner
				break
			}
		}
	}
	return false
}

// eachRow decodes the rows one by one and counts those that are not what they
// should be, or that use refuses.
func eachRow[T any](l list, use func(name string, row T) bool) (skipped int) {
	for i, raw := range l.rows {
		name := ""
		if l.names != nil {
			name = l.names[i]
		}
		var row T
		if first(raw) != '{' || json.Unmarshal(raw, &row) != nil || !use(name, row) {
			skipped++
		}
	}
	return skipped
}

// first gives the first byte of a value.
func first(raw json.RawMessage) byte {
	if raw = bytes.TrimLeft(raw, " \t\r\n"); len(raw) > 0 {
		return raw[0]
	}
	return 0
}

func upper[T ~string](s T) string { return strings.ToUpper(strings.TrimSpace(string(s))) }

// either gives the first text that is not empty.
func either(all ...text) string {
	for _, t := range all {
		if t != "" {
			return string(t)
		}
	}
	return ""
}

// head gives the first n bytes of a text, or less to end at a rune.
func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
