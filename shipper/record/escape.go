package record

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// JSON allows both unescaped, but some readers of lines end a line at them (Python's
// str.splitlines, JavaScript), and would split a record.
const (
	lineSeparator      = '\u2028'
	paragraphSeparator = '\u2029'
)

// appendText appends s as the content of a JSON string. Each byte that is not UTF-8
// becomes U+FFFD; control characters and others that can end a line are escaped.
func appendText(b, s []byte) []byte {
	start := 0
	for i := 0; i < len(s); {
		i = indexEscape(s, i)
		if i == len(s) {
			break
		}
		c := s[i]
		if c < utf8.RuneSelf {
			b = append(b, s[start:i]...)
			b = appendEscaped(b, c)
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(b, s[start:i]...)
			b = append(b, "\uFFFD"...)
			start = i + n
		case r < 0xa0: // C1 control characters
			b = append(b, s[start:i]...)
			b = appendEscaped(b, byte(r))
			start = i + n
		case r == lineSeparator || r == paragraphSeparator:
			b = append(b, s[start:i]...)
			b = append(b, `\u202`...)
			b = append(b, hexDigits[r&15])
			start = i + n
		}
		i += n
	}
	return append(b, s[start:]...)
}

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\t':
		return append(b, '\\', 't')
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// indexEscape returns the offset of the first byte of s, from i on, that is not
// printable ASCII or that JSON requires to be escaped; len(s) if there is none.
func indexEscape(s []byte, i int) int {
	for ; i+32 <= len(s); i += 32 {
		w := s[i : i+32 : i+32]
		o0, o1 := needsEscape8(binary.LittleEndian.Uint64(w)), needsEscape8(binary.LittleEndian.Uint64(w[8:]))
		o2, o3 := needsEscape8(binary.LittleEndian.Uint64(w[16:])), needsEscape8(binary.LittleEndian.Uint64(w[24:]))
		if o0|o1|o2|o3 == 0 {
			continue
		}
		switch {
		case o0 != 0:
			return i + bits.TrailingZeros64(o0)/8
		case o1 != 0:
			return i + 8 + bits.TrailingZeros64(o1)/8
		case o2 != 0:
			return i + 16 + bits.TrailingZeros64(o2)/8
		}
		return i + 24 + bits.TrailingZeros64(o3)/8
	}
	for ; i+8 <= len(s); i += 8 {
		if odd := needsEscape8(binary.LittleEndian.Uint64(s[i:])); odd != 0 {
			return i + bits.TrailingZeros64(odd)/8
		}
	}
	left := len(s) - i
	if left > 0 && len(s) >= 8 {
		// The last eight bytes, with those before i shifted out. The zeroes shifted
		// in after the last byte need escapes, and so end the search there.
		odd := needsEscape8(binary.LittleEndian.Uint64(s[len(s)-8:]) >> (8 * (8 - left)))
		return i + bits.TrailingZeros64(odd)/8
	}
	for i < len(s) && s[i] >= 0x20 && s[i] < 0x7f && s[i] != '"' && s[i] != '\\' {
		i++
	}
	return i
}

// needsEscape8 sets the highest bit of each of eight bytes that is not printable ASCII
// or that JSON requires to be escaped. The lowest set bit is always right; a borrow can
// set wrong ones above it.
func needsEscape8(x uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	return (x | (x + ones) | (x - 0x20*ones) | ((x ^ '"'*ones) - ones) | ((x ^ '\\'*ones) - ones)) & highs
}
