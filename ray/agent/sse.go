package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"raytap/ray"
	"raytap/ray/transport"
)

// maxSilence ends an SSE stream that gives no byte at all: a half-open
// connection and a silent job look alike there.
const maxSilence = 5 * time.Minute

// sseStream is a MessageStream over an HTTP answer.
type sseStream struct {
	ctx    context.Context // only to tell its end from the network's
	t      *transport.Client
	body   io.ReadCloser
	read   payloads
	dec    decoder
	failed error
	closed atomic.Bool
	reads  atomic.Uint64
	onWait func() // may be nil

	// The watch over its life: a timer's function, which holds mu while it runs.
	mu     sync.Mutex
	watch  *time.Timer
	cancel context.CancelFunc
	ended  atomic.Pointer[string] // why the watch closed it, nil if it did not
}

// payloads gives what the body holds, one payload after the other, with the name
// of the event where it has one; io.EOF where the body ended well.
type payloads interface {
	next() (payload []byte, name string, err error)
}

func (c *Client) openSSE(ctx context.Context, id, path string, timeout time.Duration) (*sseStream, error) {
	res, err := c.t.Do(ctx, transport.Request{Op: opTail, Endpoint: endpointSSE, Path: path, Stream: true, Open: true, Timeout: timeout,
		Idle: maxSilence, Header: http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-store"}}})
	if err != nil {
		return nil, err
	}
	contentType := strings.ToLower(res.Header.Get("Content-Type"))
	if strings.HasPrefix(contentType, "text/html") {
		_ = res.Body.Close()
		return nil, &ray.Error{Op: opTail, Code: http.StatusInternalServerError, Status: res.StatusCode,
			Detail: "the answer is an HTML page, not a log: does a proxy in between want a login?"}
	}
	s := &sseStream{ctx: ctx, t: c.t, body: res.Body}
	counted := readerFunc(func(p []byte) (int, error) {
		if s.onWait != nil {
			s.onWait()
		}
		n, err := s.body.Read(p)
		if n > 0 {
			s.reads.Add(1)
		}
		return n, err
	})
	if strings.HasPrefix(contentType, "application/json") {
		s.read = &textPayloads{lines: lineReader{r: newLogText(counted, true, opTail, c.t.Detail)}}
	} else {
		s.read = &ssePayloads{lines: lineReader{r: counted}}
	}
	s.startWatch(ctx, c, id, life(timeout))
	return s, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// startWatch asks for the job each time the stream gave nothing for so long.
func (s *sseStream) startWatch(ctx context.Context, c *Client, id string, life time.Duration) {
	ctx, s.cancel = context.WithCancel(ctx)
	var seen uint64
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch = time.AfterFunc(life, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed.Load() {
			return
		}
		if n := s.reads.Load(); n != seen {
			seen = n
			s.watch.Reset(life)
			return
		}
		job, err := c.Job(ctx, id)
		why := ""
		switch {
		case s.reads.Load() != seen:
		case err != nil && ray.Code(err) != http.StatusNotFound:
			why = fmt.Sprintf("the stream gave no sign of life for %s, and the agent does not answer: %v", life, err)
		case err != nil:
			why = "the agent does not know the job any more, and its stream is silent"
		case job.Status.Terminal():
			why = "the job has ended, and its stream is silent"
		}
		if why == "" {
			s.watch.Reset(life)
			return
		}
		s.ended.Store(&why)
		_ = s.body.Close()
	})
}

// OnWait sets a function that Next calls before it waits for the network. It is
// set before the first Next.
func (s *sseStream) OnWait(f func()) { s.onWait = f }

// Next gives the next message.
func (s *sseStream) Next() ([]byte, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	for {
		e, ok := s.dec.next()
		if !ok {
			if cap(s.dec.out) > keptBuffer {
				s.dec.out = nil
			}
			payload, name, err := s.read.next()
			if err != nil {
				return nil, s.fail(s.reason(err))
			}
			if name == plainText {
				return payload, nil
			}
			e = s.dec.decode(payload, name)
		}
		switch e.kind {
		case kindMessage:
			return e.text, nil
		case kindComplete:
			return nil, s.fail(io.EOF)
		case kindError:
			return nil, s.fail(serverError(s.t, e.text))
		}
	}
}

// Close ends the stream and waits for its watch.
func (s *sseStream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.cancel()
	s.watch.Stop()
	err := s.body.Close()
	s.mu.Lock() // the watch does not run any more
	defer s.mu.Unlock()
	return err
}

func (s *sseStream) fail(err error) error {
	s.failed = err
	_ = s.Close()
	return err
}

// reason says how the body ended.
func (s *sseStream) reason(err error) error {
	ended := func(detail string) error {
		e := &ray.Error{Op: opTail, Code: http.StatusServiceUnavailable, Detail: detail, Err: err}
		if err == io.EOF {
			e.Err = nil // which would say that the log is complete
		}
		return e
	}
	why := s.ended.Load()
	var e *ray.Error
	switch {
	case s.ctx.Err() != nil:
		return s.t.StreamError(s.ctx, opTail, s.ctx.Err())
	case why != nil:
		return ended(*why)
	case s.closed.Load():
		return ended("closed")
	case err == io.EOF:
		return ended("the stream ended, and did not say that the log is complete")
	case errors.Is(err, errLongLine):
		return &ray.Error{Op: opTail, Code: http.StatusInternalServerError, Detail: "a line of the stream is longer than 32 MiB", Err: err}
	case errors.As(err, &e) && e.Code == http.StatusRequestTimeout:
		return ended(fmt.Sprintf("the stream gave no byte for %s", maxSilence))
	}
	return err
}

// plainText is the name of a payload that is text of the log, and no event.
const plainText = "\x00text"

// textPayloads gives the lines of a body that is no event stream.
type textPayloads struct{ lines lineReader }

func (p *textPayloads) next() ([]byte, string, error) {
	line, _, err := p.lines.next(true)
	return line, plainText, err
}

// ssePayloads parses an event stream as browsers do. A body whose first line is
// none of an event stream is taken for plain text.
type ssePayloads struct {
	lines lineReader
	begun bool
	plain bool
	parts []byte // data of the event so far, each line with \n behind it
	count int    // data lines in it
	name  string
	queue [][]byte // payloads of an event that were one each
}

func (p *ssePayloads) next() ([]byte, string, error) {
	if len(p.queue) > 0 {
		payload := p.queue[0]
		p.queue = p.queue[1:]
		return payload, p.name, nil
	}
	p.parts, p.count = p.parts[:0], 0
	if cap(p.parts) > keptBuffer {
		p.parts = nil
	}
	p.name = ""
	for {
		line, whole, err := p.lines.next(p.plain)
		if err == io.EOF && p.count > 0 {
			return p.dispatch() // the body ended well: what is there is meant
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
			if p.name != "" { // an event of a name alone, such as complete
				return nil, p.name, nil
			}
			return nil, "", nil // a sign of life
		}
	}
}

// field takes one line of an event.
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

// dispatch gives the data of the event. Several lines of data are one payload,
// unless each of them is an object of its own and together they are none.
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

// isField tells whether a line is one of an event stream.
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

// lineReader cuts a body at \n, \r\n and \r, and skips a byte order mark.
type lineReader struct {
	r          io.Reader
	buf        []byte
	start, end int
	begun      bool
	skipLF     bool // the last line ended in \r
	err        error
}

// next gives a line without its end, or with \n in its place; whole: it had an
// end. It is good until the next call.
func (l *lineReader) next(newline bool) (line []byte, whole bool, err error) {
	seen := 0 // of the line so far
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

// fill reads more behind what is held.
func (l *lineReader) fill() error {
	if l.start > 0 {
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.start = 0
	}
	if l.end == 0 && cap(l.buf) > keptBuffer {
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
