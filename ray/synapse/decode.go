package synapse

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"raytap/ray/internal/pyjson"
)

// flexString is a JSON string; numbers and booleans keep their spelling, null is "".
type flexString string

// ReadJSON reads it.
func (t *flexString) ReadJSON(d *pyjson.Decoder) error {
	*t = ""
	k, err := d.Kind()
	if err != nil {
		return err
	}
	switch k {
	case pyjson.Null, pyjson.String:
		s, _, err := d.Text()
		*t = flexString(s)
		return err
	case pyjson.Number, pyjson.Bool:
		b, err := d.Raw()
		*t = flexString(b)
		return err
	}
	return d.Mismatch("a string")
}

// number is a JSON number, or a string with one; ok is false if it is anything else
// or absent.
type number struct {
	value float64
	ok    bool
}

// ReadJSON reads it.
func (n *number) ReadJSON(d *pyjson.Decoder) (err error) {
	n.value, n.ok, err = d.Number()
	return err
}

// maxCount is larger than any valid count.
const maxCount = 1 << 53

// count returns the value as an integer, or nil if absent.
func (n number) count() *int {
	if !n.ok || n.value < -maxCount || n.value > maxCount {
		return nil
	}
	i := int(n.value)
	return &i
}

// float returns the value times unit, or nil if absent.
func (n number) float(unit float64) *float64 {
	if !n.ok {
		return nil
	}
	v := n.value * unit
	return &v
}

// flexTime is a time: a number or a string with one, milliseconds since 1970 from 1e11
// on and seconds below, or ISO 8601 (UTC if it has no zone). 0, null, "" and invalid
// values are the zero time.
type flexTime struct{ time.Time }

// maxMillis is the year 9999: Ray sends 2^64-1 for an unknown time.
const (
	minMillis = 1e11
	maxMillis = 253402300799999
)

// ReadJSON reads it.
func (w *flexTime) ReadJSON(d *pyjson.Decoder) error {
	*w = flexTime{}
	k, err := d.Kind()
	if err != nil {
		return err
	}
	if k != pyjson.String {
		n, _, err := d.Number()
		w.Time = unixTime(n)
		return err
	}
	s, _, err := d.Text()
	if err != nil {
		return err
	}
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseFloat(s, 64); err == nil || s == "" {
		w.Time = unixTime(n)
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00",
		"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			w.Time = t.UTC()
			return nil
		}
	}
	return &pyjson.ShapeError{Want: "a time", Got: "a string"}
}

// unixTime returns the time of a number of seconds or milliseconds since 1970.
func unixTime(n float64) time.Time {
	switch {
	case n >= minMillis && n <= maxMillis:
		return time.UnixMilli(int64(n)).UTC()
	case n > 0 && n < minMillis:
		return time.UnixMicro(int64(n * 1e6)).UTC()
	}
	return time.Time{}
}

// floatMap is a map of numbers; values that are not numbers are omitted.
type floatMap map[string]float64

// ReadJSON reads it.
func (a *floatMap) ReadJSON(d *pyjson.Decoder) error {
	var all map[string]number
	err := d.Decode(&all)
	for name, n := range all {
		if n.ok {
			if *a == nil {
				*a = floatMap{}
			}
			(*a)[name] = n.value
		}
	}
	return err
}

// nonEmptyMap returns a map, or nil if it is empty.
func nonEmptyMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// wrappers are the keys under which a list or an item may be.
var wrappers = []string{"results", "data", "result"}

// list reads the rows of a response, wherever they are: a bare array, or one under
// results, data, result or the resource's own name, at most four levels deep. The
// resource's name takes precedence over the others, and may also have a map by name.
type list[R, T any] struct {
	resource []string
	take     func(name string, row R) (T, bool)

	items []T
	rows  int // including those that take rejected
	total int // as reported next to the rows; 0 if it was not
}

// find reads the next value and reports whether it has rows. named: it is under the
// resource's own name.
func (l *list[R, T]) find(d *pyjson.Decoder, named bool, depth int) (bool, error) {
	k, err := d.Kind()
	switch {
	case err != nil:
		return false, err
	case k == pyjson.Array:
		return true, d.Array(func() error { return l.row(d, "") })
	case k == pyjson.Object && depth > 0:
		return l.within(d, named, depth)
	}
	return false, d.Skip()
}

func (l *list[R, T]) within(d *pyjson.Decoder, named bool, depth int) (bool, error) {
	keys := append(l.resource[:len(l.resource):len(l.resource)], wrappers...)
	best := len(keys) // the index of the key under which rows were found
	var total number
	err := d.Object(func(key []byte) error {
		name := string(key)
		place := slices.Index(keys, name)
		switch {
		case name == "total":
			err := total.ReadJSON(d)
			if pyjson.IsShape(err) {
				return nil
			}
			return err
		case place >= 0 && place < best:
			inner, from := list[R, T]{resource: l.resource, take: l.take}, d
			var raw json.RawMessage
			if named { // it may be a row with this name
				var err error
				if raw, err = d.Raw(); err != nil {
					return err
				}
				from = pyjson.NewDecoder(bytes.NewReader(raw))
			}
			found, err := inner.find(from, place < len(l.resource), depth-1)
			switch {
			case err != nil:
				return err
			case found:
				best, *l = place, inner
			case named && best == len(keys):
				return l.row(pyjson.NewDecoder(bytes.NewReader(raw)), name)
			}
			return nil
		case named && best == len(keys):
			return l.row(d, name)
		}
		return d.Skip()
	})
	if n := total.count(); l.total == 0 && n != nil {
		l.total = *n
	}
	return named || best < len(keys), err
}

// row reads one row; an invalid one is counted in d.Skipped.
func (l *list[R, T]) row(d *pyjson.Decoder, name string) error {
	l.rows++
	var row R
	err := d.Row(&row)
	if err == nil {
		if one, ok := l.take(name, row); ok {
			l.items = append(l.items, one)
			return nil
		}
	}
	if err == nil || pyjson.IsShape(err) {
		d.Skipped.Rows++
		return nil
	}
	return err
}

// findOne decodes one item: the object itself, or one under the resource's name or a
// wrapper, whichever use accepts first. lost counts what it lacked.
func findOne[T any](raw json.RawMessage, use func(T) bool, resource ...string) (lost pyjson.Skipped, ok bool) {
	for range 4 {
		var row T
		d := pyjson.NewDecoder(bytes.NewReader(raw))
		if d.Decode(&row) == nil && use(row) {
			return d.Skipped, true
		}
		var object map[string]json.RawMessage
		if firstByte(raw) != '{' || json.Unmarshal(raw, &object) != nil {
			return lost, false
		}
		raw = nil
		for _, key := range append(resource[:len(resource):len(resource)], wrappers...) {
			if inner, ok := object[key]; ok {
				raw = inner
				break
			}
		}
	}
	return lost, false
}

// firstByte returns the first byte of a value that is not white space.
func firstByte(raw json.RawMessage) byte {
	if raw = bytes.TrimLeft(raw, " \t\r\n"); len(raw) > 0 {
		return raw[0]
	}
	return 0
}

func upper[T ~string](s T) string { return strings.ToUpper(strings.TrimSpace(string(s))) }

// firstNonEmpty returns the first string that is not empty.
func firstNonEmpty(all ...flexString) string {
	for _, t := range all {
		if t != "" {
			return string(t)
		}
	}
	return ""
}
