// Package pyjson reads JSON as Python's json module writes it, from a stream:
// NaN, Infinity and -Infinity are absent values wherever they appear, lone
// surrogates and invalid UTF-8 become U+FFFD, the last value of a duplicate key counts,
// and a byte order mark at the start is ignored.
//
// It is lenient by field: a value of another type than the Go field is absent and
// counted in Skipped, and everything around it is kept. A value without a Go field is
// skipped by its brackets and quotes, without memory: nothing in it can change what is
// read.
package pyjson

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"io"
	"unicode/utf8"
)

// Bounds of one row, in bytes. What exceeds them is truncated or omitted, and counted in
// Skipped.Truncated.
const (
	// MaxText is the longest string of a row.
	MaxText = 64 << 10
	// MaxRow bounds all strings, elements and entries of a row together.
	MaxRow = 1 << 20
)

// How much of a key and of a number is kept, in bytes.
const (
	maxKey    = 1 << 10
	maxNumber = 1 << 10
)

// Skipped counts what a Decoder omitted. The zero value is nothing.
type Skipped struct {
	Rows      int // elements of lists and entries of maps of another type
	Fields    int // fields of another type
	Truncated int // truncated strings, and elements that exceed the bounds of a row
	Inexact   int // values that are not valid JSON: NaN, lone surrogates, invalid UTF-8
}

// ShapeError means that a value has another type than expected. The value has been
// skipped: the caller can continue after it.
type ShapeError struct {
	Want string // "a list"
	Got  string // "null", "a string", …; "" if there is none
}

func (e *ShapeError) Error() string {
	if e.Got == "" {
		return "no " + e.Want
	}
	return e.Got + " instead of " + e.Want
}

// SyntaxError means that the text is not JSON.
type SyntaxError struct{ Offset int64 }

func (e *SyntaxError) Error() string { return fmt.Sprintf("not JSON at byte %d", e.Offset) }

// Kind is the kind of a value.
type Kind byte

// The kinds. NaN, Infinity and -Infinity are of kind Null.
const (
	Null   Kind = 'n'
	Bool   Kind = 'b'
	Number Kind = '0'
	String Kind = '"'
	Array  Kind = '['
	Object Kind = '{'
)

var kindNames = map[Kind]string{
	Null: "null", Bool: "a boolean", Number: "a number", String: "a string", Array: "a list", Object: "an object",
}

func (k Kind) String() string { return kindNames[k] }

// Reader is a type with a decoder of its own. ReadJSON consumes exactly one value,
// including null, and returns a ShapeError for one of a type that it cannot read.
type Reader interface{ ReadJSON(d *Decoder) error }

// Scalar is a Reader whose zero value means "absent". In a list an element of another
// type becomes that and keeps its place; those of other types are omitted.
type Scalar interface {
	Reader
	Scalar()
}

// Decoder reads one text. Not safe for concurrent use.
//
// An error that is neither nil nor a ShapeError is final: one of the reader,
// io.ErrUnexpectedEOF if the text ends too early, or a SyntaxError.
type Decoder struct {
	Skipped Skipped // so far

	r        io.Reader
	buf      []byte
	pos, end int   // of what is read and not yet consumed, in buf
	before   int64 // bytes before buf[0]
	err      error // that r ended with
	begun    bool

	text    []byte            // scratch: the last string or number
	key     []byte            // scratch: the last key
	char    [utf8.UTFMax]byte // scratch: the character of an escape
	bounded bool              // within Row
	room    int               // bytes left for the row
	known   [256]string       // interned texts
}

// NewDecoder returns a Decoder that reads from r. It reads ahead.
func NewDecoder(r io.Reader) *Decoder {
	return &Decoder{r: r, buf: make([]byte, 16<<10)}
}

var seed = maphash.MakeSeed()

// intern returns the text as a string, the same one for short texts that recur soon:
// states, ids of nodes, names.
func (d *Decoder) intern(b []byte) string {
	if len(b) == 0 || len(b) > 64 {
		return string(b)
	}
	slot := &d.known[maphash.Bytes(seed, b)%uint64(len(d.known))]
	if *slot != string(b) {
		*slot = string(b)
	}
	return *slot
}

// Object calls each for every key of an object; each consumes the value. The key is
// valid until then. A key may occur more than once; null is a ShapeError.
func (d *Decoder) Object(each func(key []byte) error) error {
	if k, err := d.Kind(); err != nil {
		return err
	} else if k != Object {
		return d.Mismatch("an object")
	}
	d.pos++
	for first := true; ; first = false {
		c, err := d.next()
		if err != nil {
			return err
		}
		if c == '}' {
			d.pos++
			return nil
		}
		if !first {
			if c != ',' {
				return d.syntax()
			}
			d.pos++
			if c, err = d.next(); err != nil {
				return err
			}
		}
		if c != '"' {
			return d.syntax()
		}
		if d.key, _, err = d.str(d.key[:0], maxKey, false); err != nil {
			return err
		}
		if c, err = d.next(); err != nil {
			return err
		} else if c != ':' {
			return d.syntax()
		}
		d.pos++
		if err := each(d.key); err != nil {
			return err
		}
	}
}

// Array calls each for every element of a list; each consumes it. null is a
// ShapeError.
func (d *Decoder) Array(each func() error) error {
	if k, err := d.Kind(); err != nil {
		return err
	} else if k != Array {
		return d.Mismatch("a list")
	}
	d.pos++
	for first := true; ; first = false {
		c, err := d.next()
		if err != nil {
			return err
		}
		if c == ']' {
			d.pos++
			return nil
		}
		if !first {
			if c != ',' {
				return d.syntax()
			}
			d.pos++
		}
		if err := each(); err != nil {
			return err
		}
	}
}

// Mismatch skips the next value and returns the ShapeError for it.
func (d *Decoder) Mismatch(want string) error {
	k, err := d.Kind()
	if err == nil {
		err = d.Skip()
	}
	if err != nil {
		return err
	}
	return &ShapeError{Want: want, Got: k.String()}
}

// Text reads a string; ok is false for null.
func (d *Decoder) Text() (s string, ok bool, err error) {
	switch k, err := d.Kind(); {
	case err != nil:
		return "", false, err
	case k == Null:
		return "", false, d.Skip()
	case k != String:
		return "", false, d.Mismatch("a string")
	}
	if err := d.readText(); err != nil {
		return "", false, err
	}
	return d.intern(d.text), true, nil
}

// readText reads a string into d.text, within the bounds of a row.
func (d *Decoder) readText() (err error) {
	keep, cut := -1, false
	if d.bounded {
		keep = max(0, min(MaxText, d.room))
	}
	if d.text, cut, err = d.str(d.text[:0], keep, false); err != nil {
		return err
	}
	if cut {
		d.Skipped.Truncated++
	}
	d.room -= len(d.text)
	return nil
}

// Number reads a number, or a string that contains one; ok is false for null, for "",
// and for values that are not finite.
func (d *Decoder) Number() (v float64, ok bool, err error) {
	k, err := d.Kind()
	if err != nil {
		return 0, false, err
	}
	switch k {
	case Null:
		return 0, false, d.Skip()
	case Number:
		if err := d.word(); err != nil {
			return 0, false, err
		}
	case String:
		if d.text, _, err = d.str(d.text[:0], maxNumber+1, false); err != nil {
			return 0, false, err
		}
		if d.text = bytes.TrimSpace(d.text); len(d.text) == 0 {
			return 0, false, nil
		}
	default:
		return 0, false, d.Mismatch("a number")
	}
	v, ok = float(d.text)
	if !ok {
		return 0, false, &ShapeError{Want: "a number", Got: k.String()}
	}
	return v, finite(v), nil
}

// End reports whether only white space follows.
func (d *Decoder) End() bool {
	_, err := d.next()
	return err == io.ErrUnexpectedEOF
}

// Shorten removes the middle of a text of more than n bytes, where n must be more than a
// few: a failure begins with what failed and ends with why.
func Shorten(s string, n int) string {
	const gap = " … "
	if len(s) <= n {
		return s
	}
	tail := s[len(s)-n*3/4:]
	for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
		tail = tail[1:]
	}
	n -= len(gap) + len(tail)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + gap + tail
}

// Truncate returns the first n bytes of a text, or fewer to end at a character.
func Truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
