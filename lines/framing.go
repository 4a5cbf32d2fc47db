package lines

import "bytes"

// Framing is how the messages of one transport are to be read as text. It is kept
// with the position, for each transport.
type Framing uint8

const (
	FramingUnknown Framing = iota
	// FramingStream: the messages are text cut anywhere, newlines included.
	FramingStream
	// FramingLines: each message is a line, or several, without the last newline.
	FramingLines
)

// String returns the name that the positions file has, "" for FramingUnknown.
func (f Framing) String() string { return [...]string{"", "text", "lines"}[f] }

// ParseFraming is the inverse of String; it returns FramingUnknown for other names.
func ParseFraming(s string) Framing {
	switch s {
	case "text":
		return FramingStream
	case "lines":
		return FramingLines
	}
	return FramingUnknown
}

// Deframer makes a log's text of messages. Where the framing is not known yet, the
// first message waits for the second: if either has a newline the messages are a
// stream, else each is a line. In both framings the text has the same content bytes.
// The zero value is ready. Not safe for concurrent use.
type Deframer struct {
	Framing Framing
	held    []byte // the first message, while the framing is not known
}

// Held returns the first message while it waits for the second, else nil.
func (d *Deframer) Held() []byte { return d.held }

// Append appends the text of a message. False: the message does not fit the framing,
// and nothing is appended.
func (d *Deframer) Append(dst, m []byte) ([]byte, bool) {
	switch d.Framing {
	case FramingStream:
		return append(dst, m...), true
	case FramingLines:
		return d.appendLine(dst, m)
	}
	switch {
	case bytes.IndexByte(m, '\n') >= 0:
		d.Framing = FramingStream
		dst = append(append(dst, d.held...), m...)
	case len(m) == 0:
		return dst, true
	case d.held == nil:
		d.held = bytes.Clone(m)
		return dst, true
	default:
		d.Framing = FramingLines
		dst = append(append(dst, d.held...), '\n')
		dst = append(append(dst, m...), '\n')
	}
	d.held = nil
	return dst, true
}

// appendLine appends a message that is a line. One that ends with a newline of its own
// is no such message, unless it is nothing but an empty line.
func (d *Deframer) appendLine(dst, m []byte) ([]byte, bool) {
	if n := len(m); n > 0 && m[n-1] == '\n' {
		if ContentLen(m) > 0 {
			return dst, false
		}
		return append(dst, m...), true
	}
	return append(append(dst, m...), '\n'), true
}
