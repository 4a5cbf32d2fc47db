package follow

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"

	"raytap/lines"
	"raytap/ray"
)

// emitter yields the lines of a log, each once, however often its connections return
// the log from its start.
type emitter struct {
	limits ray.StreamLimits
	yield  func(ray.TailLine, error) bool

	// Of the connection. While the verifier reads what was emitted before, the splitter
	// is nil.
	verifier *lines.Verifier
	splitter *lines.Splitter
	counted  bool // the current message counts already

	at                    lines.Position // of the last line, for the next connection
	messages, lines, size int64          // so far, against the limits
}

// errReplaced ends a tail whose log is no longer the same.
var errReplaced = &ray.Error{Op: op, Code: http.StatusInternalServerError,
	Detail: "the log has changed since it was read: it was truncated or replaced"}

// fatalError returns err if it ends the tail, and not only the connection; else nil.
func fatalError(err error) error {
	var e *ray.Error
	if errors.Is(err, errStopped) || errors.Is(err, errReplaced) || errors.As(err, &e) && errors.Is(e.Err, ray.ErrStreamLimit) {
		return err
	}
	return nil
}

func limitError(what string, limit int64) error {
	return &ray.Error{Op: op, Code: http.StatusTooManyRequests, Err: ray.ErrStreamLimit,
		Detail: fmt.Sprintf("the tail exceeds its limit of %d %s: raise it, or set it to 0 for none", limit, what)}
}

// newEmitter returns an emitter that yields to a caller.
func newEmitter(limits ray.StreamLimits, yield func(ray.TailLine, error) bool) *emitter {
	return &emitter{limits: limits, yield: yield, at: lines.Start()}
}

// keep returns how many bytes of a line are kept.
func (e *emitter) keep() int { return cmp.Or(e.limits.MaxMessageSize, math.MaxInt) }

// content returns how many content bytes (all but \r and \n) are before the end of the
// last line.
func (e *emitter) content() uint64 {
	if e.splitter != nil {
		return e.splitter.Content()
	}
	return e.at.Content
}

// restart prepares for a connection, which returns the log from its first byte.
func (e *emitter) restart() {
	if e.splitter != nil {
		e.at = e.splitter.Position()
		e.splitter.Drop()
	}
	e.splitter, e.verifier, e.counted = nil, lines.VerifyAll(e.at, lines.UnknownOffset), true
}

// write takes bytes of the log; begins reports whether a message begins with them.
func (e *emitter) write(p []byte, begins bool) error {
	if begins {
		e.counted = false
	}
	if e.splitter == nil {
		rest, done := e.verifier.Feed(p)
		if !done {
			return nil
		}
		if !e.verifier.OK() {
			return errReplaced
		}
		p, e.splitter = rest, lines.Resume(e.keep(), e.verifier)
	}
	s := e.splitter
	s.Write(p)
	for {
		size, ok := s.Next()
		if !ok {
			break
		}
		if err := e.check(size, size > s.Partial()); err != nil {
			return err
		}
		if err := e.emit(s.Line); err != nil {
			return err
		}
	}
	before := s.Partial()
	s.Keep()
	return e.check(s.Partial(), s.Partial() > before)
}

// check returns an error if a line of a size, so far, exceeds a limit. more: the current
// message has new bytes of it.
func (e *emitter) check(size int64, more bool) error {
	if more && !e.counted {
		e.counted = true
		e.messages++
		if limit := e.limits.MaxMessages; limit > 0 && e.messages > limit {
			return limitError("messages", limit)
		}
	}
	if limit := e.limits.MaxBytes; limit > 0 && e.size+size > limit {
		return limitError("bytes", limit)
	}
	return nil
}

// emit yields the next line.
func (e *emitter) emit(next func() lines.Line) error {
	if limit := e.limits.MaxLines; limit > 0 && e.lines == limit {
		return limitError("lines", limit)
	}
	l := next()
	e.lines++
	e.size += l.Size
	line := ray.TailLine{Text: string(l.WholeText()), Bytes: int(l.Size), Truncated: l.Truncated()}
	if !e.yield(line, nil) {
		return errStopped
	}
	return nil
}

// finish yields the last line of a log that has ended, even without a line end.
func (e *emitter) finish() error {
	if e.splitter == nil {
		return nil
	}
	if _, ok := e.splitter.Flush(); !ok {
		return nil
	}
	return e.emit(e.splitter.Line)
}
