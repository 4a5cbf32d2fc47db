package lines

import "bytes"

// Framing is how the messages of one transport are converted to text. It is saved with
// the position, for each transport.
type Framing uint8

const (
	FramingUnknown Framing = iota
	// FramingStream: the messages are pieces of text, cut anywhere, with newlines.
	FramingStream
	// FramingLines: each message is one line or several, without the last newline.
	FramingLines
)

// String returns the name in the positions file, "" for FramingUnknown.
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

// Deframer converts messages to the text of a log. While the framing is not known, the
// first message is held until the second: if either has a newline the messages are a
// stream, else each is a line. The content bytes of the text do not depend on the framing.
// The zero value is ready. Not safe for concurrent use.
type Deframer struct {
	Framing Framing // set by the first two messages, or by the caller
	held    []byte  // the first message, while the framing is not known
}

// Held returns the first message while the second is missing, else nil.
func (d *Deframer) Held() []byte { return d.held }

// Append appends the text of a message to dst. It returns false, and appends nothing, if
// the message does not fit the framing.
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

// appendLine appends a message of FramingLines. One that ends with a newline does not fit,
// unless it is an empty line.
func (d *Deframer) appendLine(dst, m []byte) ([]byte, bool) {
	if n := len(m); n > 0 && m[n-1] == '\n' {
		if ContentLen(m) > 0 {
			return dst, false
		}
		return append(dst, m...), true
	}
	return append(append(dst, m...), '\n'), true
}
