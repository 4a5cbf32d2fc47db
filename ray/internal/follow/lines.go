package follow

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"raytap/ray"
)

// position is the end of a line: how much content (every byte but \r and \n)
// stands before it, and its hash. Content is the same on every way to a log,
// however that cuts and ends lines.
type position struct {
	content uint64
	sum     uint64
}

// lines makes the lines of a log out of what its connections give, each once.
type lines struct {
	limits ray.StreamLimits
	yield  func(ray.TailLine, error) bool

	at position // of the last line that was given

	// Of the connection.
	content uint64
	hash    xxhash.Digest
	line    []byte // as much of the line as is kept
	bytes   int    // of the line
	counted bool   // the message counts already

	// Against the limits.
	messages, given, size int64
}

// keptLine bounds the buffer that is kept from one line to the next, in bytes.
const keptLine = 1 << 20

// errReplaced ends a tail whose log is another one than it was.
var errReplaced = &ray.Error{Op: op, Code: http.StatusInternalServerError,
	Detail: "the log is not the one any more that was read so far: it was cut short or replaced"}

// fault gives an error that ends the tail and not only the connection, else nil.
func (l *lines) fault(err error) error {
	var e *ray.Error
	if errors.Is(err, errStopped) || errors.Is(err, errReplaced) || errors.As(err, &e) && errors.Is(e.Err, ray.ErrStreamLimit) {
		return err
	}
	return nil
}

func over(what string, most int64) error {
	return &ray.Error{Op: op, Code: http.StatusTooManyRequests, Err: ray.ErrStreamLimit,
		Detail: fmt.Sprintf("the tail is over its limit of %d %s: raise it, or set it to 0 for none", most, what)}
}

// begin says that what comes next is the log from its first byte on.
func (l *lines) begin() {
	l.content, l.bytes, l.line, l.counted = 0, 0, l.line[:0], true
	l.hash.Reset()
}

// feed takes bytes of the log; begins: a message begins with them.
func (l *lines) feed(p []byte, begins bool) error {
	if begins {
		l.counted = false
	}
	for len(p) > 0 {
		n := lineEnd(p)
		if err := l.take(p[:n]); err != nil {
			return err
		}
		if n == len(p) {
			return nil
		}
		if err := l.end(); err != nil {
			return err
		}
		p = p[n+1:]
	}
	return nil
}

// lineEnd gives the place of the first \r or \n, or the length.
func lineEnd(p []byte) int {
	n := bytes.IndexByte(p, '\n')
	if n < 0 {
		n = len(p)
	}
	if r := bytes.IndexByte(p[:n], '\r'); r >= 0 {
		return r
	}
	return n
}

// take takes content: first that which was given before, then new one.
func (l *lines) take(p []byte) error {
	if old := l.at.content - l.content; l.content < l.at.content {
		n := min(uint64(len(p)), old)
		_, _ = l.hash.Write(p[:n])
		l.content += n
		if l.content == l.at.content && l.hash.Sum64() != l.at.sum {
			return errReplaced
		}
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	if !l.counted {
		l.counted = true
		l.messages++
		if most := l.limits.MaxMessages; most > 0 && l.messages > most {
			return over("messages", most)
		}
	}
	_, _ = l.hash.Write(p)
	l.content += uint64(len(p))
	l.bytes += len(p)
	if most := l.limits.MaxBytes; most > 0 && l.size+int64(l.bytes) > most {
		return over("bytes", most)
	}
	if most := l.limits.MaxMessageSize; most > 0 {
		p = p[:min(len(p), max(0, most-len(l.line)))]
	}
	l.line = append(l.line, p...)
	return nil
}

// end ends a line and gives it, unless it is empty.
func (l *lines) end() error {
	if l.bytes == 0 {
		return nil
	}
	if most := l.limits.MaxLines; most > 0 && l.given == most {
		return over("lines", most)
	}
	l.given++
	l.size += int64(l.bytes)
	line := ray.TailLine{Bytes: l.bytes, Truncated: l.bytes > len(l.line)}
	if line.Truncated {
		line.Text = string(wholeRunes(l.line))
	} else {
		line.Text = string(l.line)
	}
	l.at = position{content: l.content, sum: l.hash.Sum64()}
	l.line, l.bytes = l.line[:0], 0
	if cap(l.line) > keptLine {
		l.line = nil
	}
	if !l.yield(line, nil) {
		return errStopped
	}
	return nil
}

// finish gives the last line of a log that has ended, which may have no end.
func (l *lines) finish() error { return l.end() }

// wholeRunes cuts a character off that was cut apart.
func wholeRunes(b []byte) []byte {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i]
			}
			break
		}
	}
	return b
}
