package dashboard

import (
	"context"
	"encoding/json"
	"time"

	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

// number is a JSON number that Ray may send as a string (64-bit protobuf
// integers) or as null; ok is false if it was null or absent.
type number struct {
	value float64
	ok    bool
}

// ReadJSON reads a number; any other value counts as absent.
func (n *number) ReadJSON(d *pyjson.Decoder) (err error) {
	n.value, n.ok, err = d.Number()
	return err
}

// Scalar keeps an absent number's place in a list.
func (number) Scalar() {}

// maxCount is larger than any valid count.
const maxCount = 1 << 53

// whole returns the value as a count; 0 if it is absent or invalid.
func (n number) whole() int {
	if !n.ok || n.value < 0 || n.value > maxCount {
		return 0
	}
	return int(n.value)
}

// maxMillis is the year 9999: Ray sends 2^64-1 for an unknown time.
const maxMillis = 253402300799999

// millis returns the time of a number of milliseconds since 1970; 0 is the zero time.
func (n number) millis() time.Time {
	if !n.ok || n.value <= 0 || n.value > maxMillis {
		return time.Time{}
	}
	return time.UnixMilli(int64(n.value)).UTC()
}

// seconds returns the time of a number of seconds since 1970; 0 is the zero time.
func (n number) seconds() time.Time {
	if !n.ok || n.value <= 0 || n.value > maxMillis/1000 {
		return time.Time{}
	}
	return time.UnixMicro(int64(n.value * 1e6)).UTC()
}

// call sends a request and counts the rows and fields that its response lacked.
func (c *Client) call(ctx context.Context, list string, r transport.Request, read func(*pyjson.Decoder) error) error {
	return c.t.Call(ctx, r, func(d *pyjson.Decoder) error {
		err := read(d)
		if err == nil {
			c.partial.AddRows(list, d.Skipped.Rows)
			c.partial.AddFields(list, d.Skipped.Fields+d.Skipped.Truncated)
		}
		return err
	})
}

// eachKey walks a JSON object. A key without a function is skipped. A value that
// its function cannot read is skipped, and its ShapeError is returned once the
// whole object has been read, unless the key appears again with a readable value.
func eachKey(d *pyjson.Decoder, keys map[string]func(*pyjson.Decoder) error) error {
	var wrong error
	at := ""
	err := d.Object(func(key []byte) error {
		read := keys[string(key)]
		if read == nil {
			return d.Skip()
		}
		name := string(key)
		err := read(d)
		switch {
		case pyjson.IsShape(err):
			wrong, at, err = err, name, nil
		case err == nil && name == at:
			wrong = nil
		}
		return err
	})
	if err == nil {
		err = wrong
	}
	return err
}

// within reads the value of one required key of an object.
func within(key string, read func(*pyjson.Decoder) error) func(*pyjson.Decoder) error {
	return func(d *pyjson.Decoder) error {
		found := false
		err := eachKey(d, map[string]func(*pyjson.Decoder) error{key: func(d *pyjson.Decoder) error {
			found = true
			return read(d)
		}})
		if err == nil && !found {
			return &pyjson.ShapeError{Want: key}
		}
		return err
	}
}

// eachRow walks a JSON array. A row of an unexpected type, or that use rejects, is
// skipped and counted, also in d.Skipped.
func eachRow[T any](d *pyjson.Decoder, use func(T) bool) (skipped int, err error) {
	var row, zero T
	err = d.Array(func() error {
		row = zero
		err := d.Row(&row)
		if pyjson.IsShape(err) || err == nil && !use(row) {
			skipped++
			d.Skipped.Rows++
			return nil
		}
		return err
	})
	return skipped, err
}

// eachEntry walks a JSON object whose values are rows, like eachRow.
func eachEntry[T any](d *pyjson.Decoder, use func(name string, row T) bool) error {
	return d.Object(func(key []byte) error {
		name := string(key)
		var row T
		err := d.Row(&row)
		if pyjson.IsShape(err) || err == nil && !use(name, row) {
			d.Skipped.Rows++
			return nil
		}
		return err
	})
}

// into decodes a value into a variable; a value of another type leaves it zero.
func into(v any) func(*pyjson.Decoder) error {
	return func(d *pyjson.Decoder) error {
		err := d.Decode(v)
		if pyjson.IsShape(err) {
			d.Skipped.Fields++
			return nil
		}
		return err
	}
}

// distinct finds duplicates in a list.
type distinct map[string]struct{}

// first reports whether an id appears for the first time.
func (seen distinct) first(id string) bool {
	_, duplicate := seen[id]
	seen[id] = struct{}{}
	return !duplicate
}

// pairCount is a pair [value, count].
type pairCount[T any] struct {
	Value T
	Count int
}

// ReadJSON reads a pair. A pair with any invalid part is an error: a demand that
// lacks a resource would be a different demand.
func (c *pairCount[T]) ReadJSON(d *pyjson.Decoder) error {
	before, place, wrong := d.Skipped, 0, false
	var n number
	err := d.Array(func() (err error) {
		switch place++; place {
		case 1:
			err = d.Decode(&c.Value)
		case 2:
			err = d.Decode(&n)
		default:
			err = d.Skip()
		}
		if pyjson.IsShape(err) {
			wrong, err = true, nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if wrong || place < 2 || !n.ok || n.value < 0 || n.value > maxCount || d.Skipped.Rows != before.Rows || d.Skipped.Fields != before.Fields {
		d.Skipped = before
		return &pyjson.ShapeError{Want: "a value and its count", Got: "another list"}
	}
	c.Count = int(n.value)
	return nil
}

// shapeKey returns the canonical form of a set of resources.
func shapeKey(shape map[string]float64) string {
	b, _ := json.Marshal(shape) // keys are sorted; finite numbers always encode
	return string(b)
}
