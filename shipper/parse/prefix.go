package parse

import "bytes"

// workerPrefixWindow is the maximum length of a worker prefix (bytes).
const workerPrefixWindow = 256

// WorkerPrefixLen gives the length of "(name pid=7) ", which may be coloured, or 0.
func WorkerPrefixLen(line []byte) int {
	s := line
	s = s[colour(s):]
	if len(s) == 0 || s[0] != '(' {
		return 0
	}
	i := bytes.IndexByte(s[:min(len(s), workerPrefixWindow)], ')')
	if i < 0 || !bytes.Contains(s[:i], []byte("pid=")) {
		return 0
	}
	s = s[i+1:]
	s = s[colour(s):]
	if len(s) == 0 || s[0] != ' ' {
		return 0
	}
	return len(line) - len(s) + 1
}

// skipLevelPrefix skips blanks, colours, and the prefixes of Ray and torchrun,
// as far as they are of a sane length.
func skipLevelPrefix(s []byte) []byte {
	for end := len(s) - 4*levelWindow; len(s) > max(0, end); {
		switch s[0] {
		case ' ', '\t':
			s = s[1:]
			continue
		case '\x1b':
			if n := colour(s); n > 0 {
				s = s[n:]
				continue
			}
		case '(':
			i := bytes.IndexByte(s[:min(len(s), 2*levelWindow)], ')')
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

// colour gives the length of the ANSI colour sequence that s begins with, or 0.
func colour(s []byte) int {
	if len(s) < 3 || s[0] != '\x1b' || s[1] != '[' {
		return 0
	}
	for i := 2; i < min(len(s), 20); i++ {
		switch c := s[i]; {
		case c == 'm':
			return i + 1
		case !digit(c) && c != ';':
			return 0
		}
	}
	return 0
}
