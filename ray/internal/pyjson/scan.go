package pyjson

import (
	"bytes"
	"io"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// This file turns bytes into words, strings and brackets.

// maxEscape is the size of the maxEscape escape in bytes: two that are one character.
const maxEscape = 12

func (d *Decoder) syntax() error { return &SyntaxError{Offset: d.before + int64(d.pos)} }

// fill reads more bytes after those not yet consumed, which must be fewer than
// maxEscape.
func (d *Decoder) fill() error {
	if d.err == nil {
		copy(d.buf, d.buf[d.pos:d.end])
		d.before += int64(d.pos)
		d.end, d.pos = d.end-d.pos, 0
		for range 100 {
			n, err := d.r.Read(d.buf[d.end:])
			d.end, d.err = d.end+n, err
			if n > 0 {
				d.skipBOM()
				return nil
			}
			if err != nil {
				break
			}
		}
		if d.err == nil {
			d.err = io.ErrNoProgress
		}
	}
	if d.err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return d.err
}

// skipBOM skips a byte order mark at the start.
func (d *Decoder) skipBOM() {
	const bom = "\xef\xbb\xbf"
	if d.begun {
		return
	}
	for d.end < len(bom) && d.err == nil && string(d.buf[:d.end]) == bom[:d.end] {
		var n int
		n, d.err = d.r.Read(d.buf[d.end:])
		d.end += n
	}
	if d.begun = true; bytes.HasPrefix(d.buf[:d.end], []byte(bom)) {
		d.pos = len(bom)
	}
}

// next returns the next byte that is not white space, without consuming it.
func (d *Decoder) next() (byte, error) {
	for {
		for ; d.pos < d.end; d.pos++ {
			switch c := d.buf[d.pos]; c {
			case ' ', '\t', '\r', '\n':
			default:
				return c, nil
			}
		}
		if err := d.fill(); err != nil {
			return 0, err
		}
	}
}

// Kind returns the kind of the next value, without consuming it.
func (d *Decoder) Kind() (Kind, error) {
	c, err := d.next()
	if err != nil {
		return 0, err
	}
	switch {
	case c == '{' || c == '[' || c == '"':
		return Kind(c), nil
	case c == 't' || c == 'f':
		return Bool, nil
	case c == 'n' || c == 'N' || c == 'I':
		return Null, nil
	case c >= '0' && c <= '9':
		return Number, nil
	case c != '-':
		return 0, d.syntax()
	}
	if d.end-d.pos < 2 {
		if err := d.fill(); err != nil {
			return 0, err
		}
	}
	if d.buf[d.pos+1] == 'I' {
		return Null, nil
	}
	return Number, nil
}

// word reads a number or a word into d.text, at most maxNumber+1 bytes of it.
func (d *Decoder) word() error {
	for d.text = d.text[:0]; ; {
		n := d.pos
		for n < d.end && (d.buf[n] >= '0' && d.buf[n] <= '9' || d.buf[n]|0x20 >= 'a' && d.buf[n]|0x20 <= 'z' || d.buf[n] == '-' || d.buf[n] == '+' || d.buf[n] == '.') {
			n++
		}
		d.text = append(d.text, d.buf[d.pos:min(n, d.pos+max(0, maxNumber+1-len(d.text)))]...)
		if d.pos = n; n < d.end {
			break
		}
		if err := d.fill(); err != nil {
			if err == io.ErrUnexpectedEOF {
				break // the end of the text ends a word, too
			}
			return err
		}
	}
	if len(d.text) == 0 {
		return d.syntax()
	}
	if c := d.text[0]; c >= '0' && c <= '9' || c == '-' && string(d.text) != "-Infinity" {
		for _, c := range d.text {
			if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c|0x20 != 'e' {
				return d.syntax()
			}
		}
		return nil
	}
	switch string(d.text) {
	case "true", "false", "null":
		return nil
	case "NaN", "Infinity", "-Infinity":
		d.Skipped.Inexact++
		return nil
	}
	return d.syntax()
}

// float returns the value of a number; false if the text is not one, or too long.
func float(b []byte) (float64, bool) {
	if len(b) > maxNumber {
		return 0, false
	}
	if len(b) <= 15 {
		var n int64
		for i, c := range b {
			if c < '0' || c > '9' {
				break
			}
			if n = n*10 + int64(c-'0'); i == len(b)-1 {
				return float64(n), true
			}
		}
	}
	v, err := strconv.ParseFloat(string(b), 64)
	return v, err == nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// Skip skips the next value by its brackets and quotes, and keeps nothing of it.
func (d *Decoder) Skip() error {
	for depth := 0; ; {
		c, err := d.next()
		if err != nil {
			return err
		}
		switch c {
		case '{', '[':
			depth++
			d.pos++
		case '}', ']':
			if depth == 0 {
				return d.syntax()
			}
			depth--
			d.pos++
		case ',', ':':
			if depth == 0 {
				return d.syntax()
			}
			d.pos++
			continue
		case '"':
			_, _, err = d.str(nil, 0, true)
		default:
			err = d.word()
		}
		if err != nil || depth == 0 {
			return err
		}
	}
}

// str reads a string and appends its first keep bytes to dst, all for keep < 0; with skip
// it only finds its end. cut reports whether there were more.
func (d *Decoder) str(dst []byte, keep int, skip bool) (out []byte, cut bool, err error) {
	d.pos++ // the quote
	from := len(dst)
	add := func(b []byte) {
		if skip || cut {
			return
		}
		if room := keep - (len(dst) - from); keep >= 0 && len(b) > room {
			b, cut = b[:room], true
		}
		dst = append(dst, b...)
	}
	for {
		piece := d.buf[d.pos:d.end]
		n := bytes.IndexByte(piece, '"')
		closed := n >= 0
		if !closed {
			n = len(piece)
		}
		if bytes.IndexByte(piece[:n], '\\') < 0 {
			add(piece[:n])
			d.pos += n
			if closed {
				d.pos++
				return d.valid(dst, from, cut), cut, nil
			}
			if err := d.fill(); err != nil {
				return nil, false, err
			}
			continue
		}
		// Up to the quote, which may be an escaped one: the next round looks for it again.
		used, short := 0, false
		for used < n {
			slash := bytes.IndexByte(piece[used:n], '\\')
			if slash < 0 {
				break
			}
			add(piece[used : used+slash])
			used += slash
			if short = len(piece)-used < maxEscape && d.err == nil; short {
				break
			}
			char, size := d.escape(piece[used:], skip)
			if size == 0 {
				d.pos += used
				if left := len(piece) - used; left < 2 || left < 6 && piece[used+1] == 'u' {
					return nil, false, d.fill() // the text ends here
				}
				return nil, false, d.syntax()
			}
			add(char)
			used += size
		}
		d.pos += used
		if short {
			if err := d.fill(); err != nil && d.err != io.EOF {
				return nil, false, err
			}
		}
	}
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape returns the character and the size of an escape, or of two that are one
// character. The size is 0 if there is none, and 2 with skip.
func (d *Decoder) escape(b []byte, skip bool) (char []byte, size int) {
	switch {
	case len(b) < 2:
		return nil, 0
	case skip:
		return nil, 2
	case escapes[b[1]] != 0:
		return append(d.char[:0], escapes[b[1]]), 2
	}
	r := Hex4(b)
	if r < 0 {
		return nil, 0
	}
	if size = 6; utf16.IsSurrogate(r) {
		if r = utf16.DecodeRune(r, Hex4(b[6:])); r != utf8.RuneError {
			size = maxEscape
		} else {
			d.Skipped.Inexact++
		}
	}
	return utf8.AppendRune(d.char[:0], r), size
}

// Hex4 returns the value of the escape \uXXXX at the start of b, -1 if there is none.
func Hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// valid removes an incomplete character at the end of a truncated text, and replaces
// each byte that is not UTF-8 with U+FFFD.
func (d *Decoder) valid(b []byte, from int, cut bool) []byte {
	if cut {
		for n := 1; n < utf8.UTFMax && len(b)-n >= from; n++ {
			if at := len(b) - n; utf8.RuneStart(b[at]) {
				if !utf8.FullRune(b[at:]) {
					b = b[:at]
				}
				break
			}
		}
	}
	if utf8.Valid(b[from:]) {
		return b
	}
	d.Skipped.Inexact++
	text := string(b[from:])
	b = b[:from]
	for _, r := range text {
		b = utf8.AppendRune(b, r)
	}
	return b
}
