package follow

import (
	"bytes"

	"raytap/ray"
)

// messages is a Conn of a stream of messages. If the first message or the second has a
// newline, messages are parts of a text; else each is a line.
type messages struct {
	s       ray.MessageStream
	known   bool
	isLine  bool // a message is a line
	held    []byte
	holding bool
	buf     []byte
}

// Messages returns a Conn of a stream of messages.
func Messages(s ray.MessageStream) Conn { return &messages{s: s} }

// Next implements Conn.
func (m *messages) Next() ([]byte, bool, error) {
	if m.known && m.holding { // the second message
		m.holding = false
		return m.withLineEnd(m.held), true, nil
	}
	p, err := m.s.Next()
	if err != nil || m.known {
		if err != nil && m.holding {
			// The first message is the whole log; the next call returns the end again.
			m.known, m.holding = true, false
			return m.held, true, nil
		}
		return m.withLineEnd(p), true, err
	}
	if !m.holding && bytes.IndexByte(p, '\n') < 0 {
		m.holding, m.held = true, append(m.held, p...)
		return nil, false, nil
	}
	m.known = true
	if !m.holding {
		return p, true, nil
	}
	m.isLine = bytes.IndexByte(p, '\n') < 0
	first := m.withLineEnd(m.held)
	m.held = append([]byte(nil), p...)
	return append([]byte(nil), first...), true, nil
}

// withLineEnd returns a message, with the line end that it lacks.
func (m *messages) withLineEnd(p []byte) []byte {
	if !m.isLine || len(p) == 0 {
		return p
	}
	m.buf = append(append(m.buf[:0], p...), '\n')
	return m.buf
}

// Close implements Conn.
func (m *messages) Close() error { return m.s.Close() }
