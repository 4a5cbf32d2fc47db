package synapsetest

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"

	"raytap/ray/internal/fake"
)

// MessageFormat is how a log becomes messages. The zero value is one message per line,
// with its newline, in an envelope formatted like Python's json.
type MessageFormat struct {
	Lines       int  // lines per message; 0 = 1
	NoNewline   bool // omits the newline at the end of a message
	Bytes       int  // splits the text every so many bytes instead; 0 = at lines
	NoEnvelope  bool // without envelopes
	Compact     bool // envelopes without spaces
	NestedEvent bool // another server's event as the data of an event
}

// encoded is the log as sent over one transport; it grows with the log.
type encoded struct {
	data []byte
	ends []int // ends of the messages in data
	from int   // bytes of the log encoded so far
}

// The transports, as indices.
const (
	viaWebSocket = iota
	viaSSE
)

// encode encodes what was added to the log. An unterminated line waits for its end or for
// the end of the job. j.mu is held.
func (j *Job) encode(over int) *encoded {
	e := &j.encoded[over]
	for {
		message := j.format.next(j.log[e.from:], isTerminal(j.status))
		if message == nil {
			return e
		}
		e.from += len(message)
		if j.format.NoNewline {
			message = bytes.TrimSuffix(message, []byte{'\n'})
		}
		if len(message) > 0 {
			e.data = j.format.append(e.data, message, over)
			e.ends = append(e.ends, len(e.data))
		}
	}
}

// next returns the next message of a text, or nil if there is none yet.
func (s MessageFormat) next(text []byte, last bool) []byte {
	if s.Bytes > 0 {
		if len(text) == 0 {
			return nil
		}
		n := min(s.Bytes, len(text))
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n++
		}
		return text[:n]
	}
	n := 0
	for range max(1, s.Lines) {
		i := bytes.IndexByte(text[n:], '\n')
		if i < 0 {
			break
		}
		n += i + 1
	}
	if n == 0 && last {
		n = len(text)
	}
	if n == 0 {
		return nil
	}
	return text[:n]
}

// append encodes one message for a transport.
func (s MessageFormat) append(b, message []byte, over int) []byte {
	payload := message
	switch {
	case s.NoEnvelope:
	case s.NestedEvent:
		inner := append(envelope([]byte("data: "), message, false), '\n')
		payload = append(appendString([]byte(`{"type": "log", "data": `), inner), '}')
	default:
		payload = envelope(make([]byte, 0, len(message)+64), message, s.Compact)
	}
	if over == viaWebSocket {
		return fake.AppendText(b, payload)
	}
	return appendEvent(b, payload)
}

func envelope(b, message []byte, compact bool) []byte {
	if compact {
		b = append(b, `{"type":"log","message":`...)
	} else {
		b = append(b, `{"type": "log", "message": `...)
	}
	return append(appendString(b, message), '}')
}

// appendEvent appends an SSE event; each line of the payload is a data field.
func appendEvent(b, payload []byte) []byte {
	for line := range bytes.SplitSeq(bytes.TrimSuffix(payload, []byte{'\n'}), []byte{'\n'}) {
		b = append(append(append(b, "data: "...), line...), '\n')
	}
	return append(b, '\n')
}

// appendString appends a JSON string in ASCII, like Python's json.
func appendString(b, s []byte) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c >= 0x20 && c < 0x7f:
			b = append(b, c)
		default:
			r, size := utf8.DecodeRune(s[i:])
			if r >= 0x10000 {
				hi, lo := utf16.EncodeRune(r)
				b = appendHex(appendHex(b, hi), lo)
			} else {
				b = appendHex(b, r)
			}
			i += size
			continue
		}
		i++
	}
	return append(b, '"')
}

func appendHex(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
