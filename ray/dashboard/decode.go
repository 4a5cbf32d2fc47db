package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"
)

// number is a JSON number that Ray may send as a string (64-bit protobuf
// integers) or as null; ok is false for null and where it was absent.
type number struct {
	value float64
	ok    bool
}

func (n *number) UnmarshalJSON(b []byte) error {
	*n = number{}
	text := string(bytes.Trim(b, `"`))
	if text == "null" || text == "" {
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		// The type of error that marks one row as undecodable, and not the list.
		return &json.UnmarshalTypeError{Value: "value that is no number", Field: "number"}
	}
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		n.value, n.ok = v, true
	}
	return nil
}

// maxMillis is the year 9999: Ray sends 2^64-1 for a time that it does not know.
const maxMillis = 253402300799999

// millis takes a number of milliseconds since 1970; 0 is no time.
func (n number) millis() time.Time {
	if !n.ok || n.value <= 0 || n.value > maxMillis {
		return time.Time{}
	}
	return time.UnixMilli(int64(n.value)).UTC()
}

// seconds takes a number of seconds since 1970; 0 is no time.
func (n number) seconds() time.Time {
	if !n.ok || n.value <= 0 || n.value > maxMillis/1000 {
		return time.Time{}
	}
	return time.UnixMicro(int64(n.value * 1e6)).UTC()
}

// eachKey walks a JSON object. A key without a function is skipped; so are all
// where the value is null.
func eachKey(d *json.Decoder, keys map[string]func(*json.Decoder) error) error {
	open, err := d.Token()
	if err != nil || open == nil {
		return err
	}
	if open != json.Delim('{') {
		return &json.UnmarshalTypeError{Value: tokenKind(open), Field: "object"}
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		read := keys[name]
		if read == nil {
			read = skip
		}
		if err := read(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// eachRow walks a JSON array. A row that has another type than expected is
// counted in skipped and passed over; null is an empty array.
func eachRow[T any](d *json.Decoder, use func(T)) (skipped int, err error) {
	open, err := d.Token()
	if err != nil || open == nil {
		return 0, err
	}
	if open != json.Delim('[') {
		return 0, &json.UnmarshalTypeError{Value: tokenKind(open), Field: "array"}
	}
	for d.More() {
		var row T
		err := d.Decode(&row)
		var wrong *json.UnmarshalTypeError
		switch {
		case err == nil:
			use(row)
		case errors.As(err, &wrong):
			skipped++
		default:
			return skipped, err
		}
	}
	_, err = d.Token()
	return skipped, err
}

// skip passes over one value without keeping it.
func skip(d *json.Decoder) error {
	depth := 0
	for {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// into decodes a value into a variable.
func into(v any) func(*json.Decoder) error {
	return func(d *json.Decoder) error { return d.Decode(v) }
}

func tokenKind(t json.Token) string {
	switch t.(type) {
	case json.Delim:
		return "object or array"
	case string:
		return "string"
	case bool:
		return "bool"
	case nil:
		return "null"
	}
	return "number"
}

// counted is a pair [value, count].
type counted[T any] struct {
	Value T
	Count int
}

func (c *counted[T]) UnmarshalJSON(b []byte) error {
	var count number
	if err := json.Unmarshal(b, &[]any{&c.Value, &count}); err != nil {
		return err
	}
	c.Count = int(count.value)
	return nil
}

// shapeKey spells a shape of resources canonically.
func shapeKey(shape map[string]float64) string {
	b, _ := json.Marshal(shape) // keys come sorted; numbers cannot fail
	return string(b)
}

// eachValue walks the values of a JSON object one by one.
func eachValue[T any](d *json.Decoder, use func(T)) error {
	open, err := d.Token()
	if err != nil || open == nil {
		return err
	}
	if open != json.Delim('{') {
		return &json.UnmarshalTypeError{Value: tokenKind(open), Field: "object"}
	}
	for d.More() {
		if _, err := d.Token(); err != nil {
			return err
		}
		var v T
		if err := d.Decode(&v); err != nil {
			return err
		}
		use(v)
	}
	_, err = d.Token()
	return err
}
