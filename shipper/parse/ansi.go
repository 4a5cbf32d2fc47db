package parse

import "bytes"

// AppendWithoutANSI appends s without its escape sequences: colours and other
// control sequences (CSI), strings to the terminal (OSC and its like, with titles
// and links) and those of two or three bytes. One that does not end in s stays.
func AppendWithoutANSI(b, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\x1b')
		if i < 0 {
			return append(b, s...)
		}
		b = append(b, s[:i]...)
		n := escape(s[i:])
		if n == 0 {
			b = append(b, '\x1b')
			n = 1
		}
		s = s[i+n:]
	}
}

// escape gives the length of the escape sequence that s begins with, or 0 (ECMA-48).
func escape(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch c := s[1]; {
	case c == '[':
		i := 2
		for i < len(s) && s[i] >= 0x30 && s[i] <= 0x3f {
			i++
		}
		return final(s, i, 0x40)
	case c == ']', c == 'P', c == 'X', c == '^', c == '_':
		for i := 2; i < len(s); i++ {
			switch {
			case s[i] == '\a' && c == ']':
				return i + 1
			case s[i] == '\x1b':
				if i+1 < len(s) && s[i+1] == '\\' {
					return i + 2
				}
				return 0
			}
		}
	case c >= 0x20 && c <= 0x2f:
		return final(s, 2, 0x30)
	case c >= 0x30 && c <= 0x7e:
		return 2
	}
	return 0
}

// final gives the length of a sequence that at i has intermediate bytes, if it
// has any, and then a final one, which is at least low.
func final(s []byte, i int, low byte) int {
	for i < len(s) && s[i] >= 0x20 && s[i] <= 0x2f {
		i++
	}
	if i < len(s) && s[i] >= low && s[i] <= 0x7e {
		return i + 1
	}
	return 0
}
