package shipper

import "bytes"

// form is how the messages of one transport are to be read as text. It is kept
// with the position, by transport.
type form uint8

const (
	formUnknown form = iota
	// formText: the messages are text cut anywhere, newlines included.
	formText
	// formLines: each message is a line, or several, without the last newline.
	formLines
)

func (f form) String() string { return [...]string{"", "text", "lines"}[f] }

// parseForm is the inverse of String; what it does not know is formUnknown.
func parseForm(s string) form {
	switch s {
	case "text":
		return formText
	case "lines":
		return formLines
	}
	return formUnknown
}

// joiner makes a log's text of messages. Where the form is not known yet, the
// first message waits for the second: if either has a newline the messages are
// text, else each is a line. In both forms the text has the same content bytes.
type joiner struct {
	form form
	held []byte // the first message, while the form is not known
}

// join appends the text of a message. False: the message belies the form, and
// nothing is appended.
func (j *joiner) join(dst, m []byte) ([]byte, bool) {
	switch j.form {
	case formText:
		return append(dst, m...), true
	case formLines:
		return j.line(dst, m)
	}
	switch {
	case bytes.IndexByte(m, '\n') >= 0:
		j.form = formText
		dst = append(append(dst, j.held...), m...)
	case len(m) == 0:
		return dst, true
	case j.held == nil:
		j.held = bytes.Clone(m)
		return dst, true
	default:
		j.form = formLines
		dst = append(append(dst, j.held...), '\n')
		dst = append(append(dst, m...), '\n')
	}
	j.held = nil
	return dst, true
}

// line appends a message that is a line. One that ends with a newline of its own
// is no such message, unless it is nothing but an empty line.
func (j *joiner) line(dst, m []byte) ([]byte, bool) {
	if n := len(m); n > 0 && m[n-1] == '\n' {
		if contentLen(m) > 0 {
			return dst, false
		}
		return append(dst, m...), true
	}
	return append(append(dst, m...), '\n'), true
}
