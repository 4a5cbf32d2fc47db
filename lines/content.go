// Package lines defines what a line of a log is, and what a place in a log is. It is
// pure: it reads nothing and imports nothing else of raytap.
//
// Content bytes are all bytes of a log but \r and \n. Every transport agrees on them,
// whatever it does to line ends, so positions count content bytes.
//
// A Splitter makes lines of bytes and keeps the position after the last line. A
// Verifier decides whether a log still begins (or continues) with what was read
// before; Find locates a position in the last lines of a log. A Deframer makes bytes
// of the messages that some servers send.
package lines

// ContentLen returns how many of the bytes are content.
func ContentLen(b []byte) int {
	n := 0
	for _, c := range b {
		if c != '\n' && c != '\r' {
			n++
		}
	}
	return n
}

// AppendContent appends the content bytes of b.
func AppendContent(dst, b []byte) []byte {
	for _, c := range b {
		if c != '\n' && c != '\r' {
			dst = append(dst, c)
		}
	}
	return dst
}
