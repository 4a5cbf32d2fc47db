package pyjson

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"sync"
)

// This file turns values into the fields of Go types.

// Decode reads one value of any size into what v points to. Fields of a struct are named
// by their json tags, case-sensitively; without a tag by the field's name, as it is or
// in lower case. It supports strings, booleans, numbers, structs, pointers, slices, maps
// by string, Readers, json.Unmarshalers, json.RawMessage and any.
//
// A field of another type is its zero value and counted in Skipped.Fields; null is not
// counted. An element of a slice and an entry of a map are omitted if they are of
// another type or null, and counted in Skipped.Rows, those of basic types in
// Skipped.Fields; but a Scalar or a basic type keeps its place in a slice as its zero
// value.
//
// After a ShapeError the value that v points to is its zero value.
func (d *Decoder) Decode(v any) error {
	at := reflect.ValueOf(v).Elem()
	err := d.into(at)
	if IsShape(err) {
		at.SetZero()
	}
	return err
}

// Row is Decode within the bounds of one row, MaxText and MaxRow.
func (d *Decoder) Row(v any) error {
	d.bounded, d.room = true, MaxRow
	defer func() { d.bounded = false }()
	return d.Decode(v)
}

// plan is how values of a type are read.
type plan struct {
	how    how
	fields map[string][]int // of a struct: the index of each field by key
	size   int
}

type how int

const (
	byKind how = iota
	byReader
	byUnmarshaler
	raw
)

var (
	plans         sync.Map // reflect.Type -> *plan
	readerType    = reflect.TypeFor[Reader]()
	scalarType    = reflect.TypeFor[Scalar]()
	unmarshalType = reflect.TypeFor[json.Unmarshaler]()
	rawType       = reflect.TypeFor[json.RawMessage]()
)

func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p := &plan{size: int(t.Size())}
	switch {
	case t == rawType:
		p.how = raw
	case reflect.PointerTo(t).Implements(readerType):
		p.how = byReader
	case reflect.PointerTo(t).Implements(unmarshalType):
		p.how = byUnmarshaler
	case t.Kind() == reflect.Struct:
		p.fields = make(map[string][]int)
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || f.Anonymous && name == "" || name == "-" {
				continue
			}
			if name == "" {
				p.fields[f.Name] = f.Index
				name = strings.ToLower(f.Name)
			}
			p.fields[name] = f.Index
		}
	}
	plans.Store(t, p)
	return p
}

func (d *Decoder) into(v reflect.Value) error {
	p := planOf(v.Type())
	switch p.how {
	case byReader:
		return v.Addr().Interface().(Reader).ReadJSON(d)
	case byUnmarshaler:
		b, err := d.Raw()
		if err != nil {
			return err
		}
		if v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(b) != nil {
			return &ShapeError{Want: "another value", Got: kindOf(b).String()}
		}
		return nil
	case raw:
		b, err := d.Raw()
		v.SetBytes(b)
		return err
	}
	k, err := d.Kind()
	if err != nil {
		return err
	}
	if k == Null && v.Kind() != reflect.Interface {
		v.SetZero()
		return d.Skip()
	}
	switch v.Kind() {
	case reflect.String:
		s, _, err := d.Text()
		v.SetString(s)
		return err
	case reflect.Bool:
		if k != Bool {
			return d.Mismatch("a boolean")
		}
		err := d.word()
		v.SetBool(string(d.text) == "true")
		return err
	case reflect.Int, reflect.Int64, reflect.Float64:
		return d.number(v, k)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return d.into(v.Elem())
	case reflect.Struct:
		return d.object(v, p)
	case reflect.Slice:
		return d.list(v)
	case reflect.Map:
		return d.entries(v)
	case reflect.Interface:
		return d.anything(v)
	}
	return errors.New("pyjson: unsupported type " + v.Type().String())
}

func (d *Decoder) number(v reflect.Value, k Kind) error {
	if k != Number {
		return d.Mismatch("a number")
	}
	f, ok, err := d.Number()
	switch {
	case err != nil:
		return err
	case v.Kind() == reflect.Float64:
		v.SetFloat(f)
	case !ok || f != math.Trunc(f) || math.Abs(f) > 1<<53:
		return &ShapeError{Want: "a whole number", Got: "a number"}
	default:
		v.SetInt(int64(f))
	}
	return nil
}

func (d *Decoder) object(v reflect.Value, p *plan) error {
	var skipped map[*int]bool // skipped fields; nil if there are none
	return d.Object(func(key []byte) error {
		index, ok := p.fields[string(key)]
		if !ok {
			return d.Skip()
		}
		if skipped[&index[0]] {
			delete(skipped, &index[0])
			d.Skipped.Fields--
		}
		at := v.FieldByIndex(index)
		at.SetZero() // the last value of a duplicate key counts
		err := d.into(at)
		if IsShape(err) {
			at.SetZero()
			d.Skipped.Fields++
			if skipped == nil {
				skipped = map[*int]bool{}
			}
			skipped[&index[0]] = true
			return nil
		}
		return err
	})
}

func (d *Decoder) list(v reflect.Value) error {
	t := v.Type().Elem()
	p := planOf(t)
	keeps := isPlain(t) || reflect.PointerTo(t).Implements(scalarType)
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	err := d.Array(func() error {
		if d.full(p.size) {
			return d.Skip()
		}
		k, err := d.Kind()
		if err != nil {
			return err
		}
		n := v.Len()
		v.Grow(1)
		v.SetLen(n + 1)
		at := v.Index(n)
		at.SetZero()
		err = d.into(at)
		switch {
		case keeps && IsShape(err):
			at.SetZero()
			d.Skipped.Fields++
		case IsShape(err), err == nil && k == Null && p.how == byKind && !keeps:
			v.SetLen(n)
			d.Skipped.Rows++
		default:
			return err
		}
		return nil
	})
	if IsShape(err) {
		v.SetZero()
	}
	return err
}

func (d *Decoder) entries(v reflect.Value) error {
	t := v.Type().Elem()
	p := planOf(t)
	count := &d.Skipped.Rows
	if isPlain(t) {
		count = &d.Skipped.Fields
	}
	var skipped map[string]bool // skipped entries; nil if there are none
	v.Set(reflect.MakeMap(v.Type()))
	return d.Object(func(key []byte) error {
		if d.full(p.size + len(key)) {
			return d.Skip()
		}
		name := d.intern(key)
		if skipped[name] { // the last value of a duplicate key counts
			delete(skipped, name)
			*count--
		}
		k, err := d.Kind()
		if err != nil {
			return err
		}
		at := reflect.New(t).Elem()
		err = d.into(at)
		place := reflect.ValueOf(name).Convert(v.Type().Key())
		switch {
		case IsShape(err), err == nil && k == Null && p.how == byKind && t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface:
			if skipped == nil {
				skipped = map[string]bool{}
			}
			skipped[name] = true
			*count++
			v.SetMapIndex(place, reflect.Value{})
		case err != nil:
			return err
		default:
			v.SetMapIndex(place, at)
		}
		return nil
	})
}

// full takes room for an element of a row, and reports whether there is none left.
func (d *Decoder) full(size int) bool {
	if !d.bounded {
		return false
	}
	if d.room -= max(size, 16); d.room < 0 {
		d.Skipped.Truncated++
		return true
	}
	return false
}

func (d *Decoder) anything(v reflect.Value) error {
	b, err := d.Raw()
	if err != nil {
		return err
	}
	var value any
	if err := json.Unmarshal(b, &value); err != nil {
		return d.syntax()
	}
	v.SetZero()
	if value != nil {
		v.Set(reflect.ValueOf(value))
	}
	return nil
}

// Raw returns a value as valid JSON: NaN and the infinities become null, strings are
// encoded again. Within a row a value that exceeds its bounds is a ShapeError.
func (d *Decoder) Raw() (json.RawMessage, error) {
	var out []byte
	tooLong := false
	for depth := 0; ; {
		c, err := d.next()
		if err != nil {
			return nil, err
		}
		switch c {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		switch c {
		case '{', '[', '}', ']', ',', ':':
			if depth < 0 || depth == 0 && c != '}' && c != ']' {
				return nil, d.syntax()
			}
			d.pos++
			out = append(out, c)
		case '"':
			if err = d.readText(); err == nil {
				out = appendQuoted(out, d.text)
			}
		default:
			if err = d.word(); err == nil {
				out = append(out, d.plain()...)
			}
		}
		if err != nil {
			return nil, err
		}
		if d.bounded && len(out) > MaxRow {
			tooLong, out = true, out[:0]
		}
		if c == ',' || c == ':' || depth > 0 {
			continue
		}
		if tooLong {
			d.Skipped.Truncated++
			return nil, &ShapeError{Want: "a value", Got: "a value that is too long"}
		}
		return out, nil
	}
}

// plain returns the last word as valid JSON.
func (d *Decoder) plain() []byte {
	switch string(d.text) {
	case "NaN", "Infinity", "-Infinity":
		return []byte("null")
	}
	if len(d.text) > maxNumber {
		return []byte("null")
	}
	return d.text
}

// appendQuoted appends valid UTF-8 as a JSON string.
func appendQuoted(out, text []byte) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < 0x20:
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xF])
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

func kindOf(b []byte) Kind {
	d := Decoder{buf: b, end: len(b)}
	k, _ := d.Kind()
	return k
}

// IsShape reports whether err is a ShapeError, after which reading can continue.
func IsShape(err error) bool {
	_, ok := err.(*ShapeError) // never wrapped; errors.As would allocate for every field
	return ok
}

// isPlain reports whether a type is a string, a boolean or a number.
func isPlain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return true
	}
	return t == rawType
}
