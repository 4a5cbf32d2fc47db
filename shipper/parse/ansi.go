package parse

import "bytes"

// AppendWithoutANSI appends s without its escape sequences to b and returns the
// extended slice. It removes control sequences such as colours (CSI), terminal
// strings such as titles and links (OSC, DCS, SOS, PM, APC), and sequences of two
// or three bytes. A sequence that does not end within s is kept.
func AppendWithoutANSI(b, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, '\x1b')
		if i < 0 {
			return append(b, s...)
		}
		b = append(b, s[:i]...)
		n := escapeLen(s[i:])
		if n == 0 {
			b = append(b, '\x1b')
			n = 1
		}
		s = s[i+n:]
	}
}

// escapeLen returns the length of the escape sequence (ECMA-48) that s begins with,
// or 0 if there is none.
func escapeLen(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch c := s[1]; {
	case c == '[':
		i := 2
		for i < len(s) && s[i] >= 0x30 && s[i] <= 0x3f {
			i++
		}
		return finalLen(s, i, 0x40)
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
		return finalLen(s, 2, 0x30)
	case c >= 0x30 && c <= 0x7e:
		return 2
	}
	return 0
}

// finalLen returns the length of a sequence that continues at s[i] with optional
// intermediate bytes and a final byte, which is low or higher; 0 if it does not end.
func finalLen(s []byte, i int, low byte) int {
	for i < len(s) && s[i] >= 0x20 && s[i] <= 0x2f {
		i++
	}
	if i < len(s) && s[i] >= low && s[i] <= 0x7e {
		return i + 1
	}
	return 0
}
