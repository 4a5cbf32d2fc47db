package synapse

import (
	"bytes"
	"errors"
	"io"
)

// This file parses event streams like browsers do, and bodies that are not event streams.

// plainText is the event name of a payload that is text of the log.
const plainText = "\x00text"

// textPayloads returns the lines of a body that is not an event stream.
type textPayloads struct{ lines lineReader }

func (p *textPayloads) next() ([]byte, string, error) {
	line, _, err := p.lines.next(true)
	return line, plainText, err
}

// ssePayloads parses an event stream like browsers do. If the first line of a body is
// not valid in an event stream, the body is read as plain text.
type ssePayloads struct {
	lines lineReader
	begun bool
	plain bool
	parts []byte // data of the current event, each line followed by \n
	count int    // data lines in it
	name  string
	queue [][]byte // remaining payloads of an event with several
}

func (p *ssePayloads) next() ([]byte, string, error) {
	if len(p.queue) > 0 {
		payload := p.queue[0]
		p.queue = p.queue[1:]
		return payload, p.name, nil
	}
	p.parts, p.count = p.parts[:0], 0
	if cap(p.parts) > maxKeptBuffer {
		p.parts = nil
	}
	p.name = ""
	for {
		line, whole, err := p.lines.next(p.plain)
		if err == io.EOF && p.count > 0 {
			return p.dispatch() // a clean end: the last event is complete
		}
		if err != nil {
			return nil, "", err
		}
		if !p.begun && len(line) > 0 {
			p.begun = true
			if p.plain = !isField(line); p.plain {
				if whole {
					line = append(line[:len(line):len(line)], '\n')
				}
				return line, plainText, nil
			}
		}
		switch {
		case p.plain:
			return line, plainText, nil
		case len(line) > 0:
			p.field(line)
		case p.count > 0:
			return p.dispatch()
		default:
			if p.name != "" { // an event with only a name, such as complete
				return nil, p.name, nil
			}
			return nil, "", nil // a keep-alive
		}
	}
}

// field processes one line of an event.
func (p *ssePayloads) field(line []byte) {
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "data":
		p.parts, p.count = append(append(p.parts, value...), '\n'), p.count+1
	case "event":
		p.name = string(value)
	}
}

// dispatch returns the data of the event. Several lines of data are one payload,
// unless each of them is a JSON object by itself.
func (p *ssePayloads) dispatch() ([]byte, string, error) {
	data := p.parts[:len(p.parts)-1]
	if p.count > 1 {
		lines := bytes.Split(data, []byte{'\n'})
		objects := true
		for _, line := range lines {
			objects = objects && len(line) > 1 && line[0] == '{' && line[len(line)-1] == '}'
		}
		if objects {
			p.queue = lines[1:]
			data = lines[0]
		}
	}
	return data, p.name, nil
}

// isField reports whether a line is valid in an event stream.
func isField(line []byte) bool {
	name, _, colon := bytes.Cut(line, []byte{':'})
	if colon && len(name) == 0 {
		return true
	}
	switch string(name) {
	case "data", "event", "id", "retry":
		return true
	}
	return false
}

var errLongLine = errors.New("a line is too long")

// lineReader splits a body at \n, \r\n and \r, and skips a byte order mark.
type lineReader struct {
	r          io.Reader
	buf        []byte
	start, end int
	begun      bool
	skipLF     bool // the last line ended in \r
	err        error
}

// next returns a line without its terminator, or with \n instead; whole: it had a
// terminator. The line is valid until the next call.
func (l *lineReader) next(newline bool) (line []byte, whole bool, err error) {
	seen := 0 // bytes of the line searched so far
	for {
		if l.skipLF && l.start < l.end {
			if l.skipLF = false; l.buf[l.start] == '\n' {
				l.start++
			}
		}
		held := l.buf[l.start:l.end]
		if i := lineEnd(held[min(seen, len(held)):]); i >= 0 {
			i += seen
			l.start += i + 1
			l.skipLF = held[i] == '\r'
			if newline {
				held[i] = '\n'
				return held[:i+1], true, nil
			}
			return held[:i], true, nil
		}
		seen = len(held)
		if l.err != nil {
			if l.err == io.EOF && len(held) > 0 {
				l.start = l.end
				return held, false, nil
			}
			return nil, false, l.err
		}
		if err := l.fill(); err != nil {
			return nil, false, err
		}
	}
}

func lineEnd(b []byte) int {
	n := bytes.IndexByte(b, '\n')
	if n >= 0 {
		b = b[:n]
	}
	if r := bytes.IndexByte(b, '\r'); r >= 0 {
		return r
	}
	return n
}

// fill reads more into the buffer.
func (l *lineReader) fill() error {
	if l.start > 0 {
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.start = 0
	}
	if l.end == 0 && cap(l.buf) > maxKeptBuffer {
		l.buf = nil
	}
	if l.end == len(l.buf) {
		if l.end > maxMessageBytes {
			return errLongLine
		}
		grown := make([]byte, max(32<<10, 2*len(l.buf)))
		copy(grown, l.buf[:l.end])
		l.buf = grown
	}
	if l.begun {
		n, err := l.r.Read(l.buf[l.end:])
		l.end, l.err = l.end+n, err
		return nil
	}
	l.begun = true
	n, err := io.ReadAtLeast(l.r, l.buf, len(byteOrderMark))
	if err == io.ErrUnexpectedEOF {
		err = io.EOF // a short body
	}
	l.end, l.err = n, err
	if bytes.HasPrefix(l.buf[:n], []byte(byteOrderMark)) {
		l.start = len(byteOrderMark)
	}
	return nil
}

const byteOrderMark = "\xef\xbb\xbf"
