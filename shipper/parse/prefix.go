package parse

import "bytes"

// skipPrefix returns s without leading blanks, colours, and the prefixes of Ray and
// torchrun. It skips at most 4*textWindow bytes, and before them Ray's prefix of a line of
// another process.
func skipPrefix(s []byte) []byte {
	s = s[WorkerPrefixLen(s):]
	for end := len(s) - 4*textWindow; len(s) > max(0, end); {
		switch s[0] {
		case ' ', '\t':
			s = s[1:]
			continue
		case '\x1b':
			if n := colourLen(s); n > 0 {
				s = s[n:]
				continue
			}
		case '(':
			i := bytes.IndexByte(s[:min(len(s), 2*textWindow)], ')')
			if i > 0 && (bytes.IndexByte(s[:i], ' ') < 0 || bytes.Contains(s[:i], []byte("pid=")) ||
				bytes.Contains(s[:i], []byte("ip="))) {
				s = s[i+1:]
				continue
			}
		case '[':
			if bytes.HasPrefix(s, []byte("[rank")) {
				if i := bytes.Index(s[:min(len(s), 16)], []byte("]:")); i > 0 {
					s = s[i+2:]
					continue
				}
			}
		}
		break
	}
	return s
}

// colourLen returns the length of the ANSI colour sequence (SGR) that s begins with,
// or 0 if there is none.
func colourLen(s []byte) int {
	if len(s) < 3 || s[0] != '\x1b' || s[1] != '[' {
		return 0
	}
	for i := 2; i < min(len(s), 20); i++ {
		switch c := s[i]; {
		case c == 'm':
			return i + 1
		case !isDigit(c) && c != ';':
			return 0
		}
	}
	return 0
}

// FirstLine returns text up to its first newline.
func FirstLine(text []byte) []byte {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		return text[:i]
	}
	return text
}
