// Package lines defines what a line of a log is, and what a position in a log is. It does
// no I/O and imports no other package of raytap.
//
// Content bytes are all bytes of a log except \r and \n. They are the same over every
// transport, even those that change line ends, so positions count content bytes.
//
// A Splitter splits bytes into lines and returns the position after the last line. A
// Verifier decides whether a log still has the content that was read before; Find locates
// a position in the last lines of a log. A Deframer converts the messages that some servers
// send to bytes.
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

// AppendContent appends the content bytes of b to dst.
func AppendContent(dst, b []byte) []byte {
	for _, c := range b {
		if c != '\n' && c != '\r' {
			dst = append(dst, c)
		}
	}
	return dst
}
