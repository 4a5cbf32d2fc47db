package synapse

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"raytap/ray"
	"raytap/ray/transport"
)

const opLogs = "get job logs"

// logsTimeout is how long an agent may take to start its response: it may have to
// collect the whole log first.
const logsTimeout = time.Minute

// JobLogs returns the whole log of a job as of the time of the request, in any of the
// agent's formats: a JSON string, a list of strings (lines, if the first has no line
// terminator), either of them under "logs", or plain text. The caller closes it; it
// ends with io.EOF only at the end of the log, and buffers little of it.
//
// An unknown id is an error of code 404.
func (c *Client) JobLogs(ctx context.Context, id string) (io.ReadCloser, error) {
	path, err := itemPath(opLogs, "jobs", id, "logs/")
	if err != nil {
		return nil, err
	}
	res, err := c.t.Do(ctx, transport.Request{Op: opLogs, Endpoint: "jobs/{id}/logs/", Path: path, Stream: true, Timeout: max(logsTimeout, c.t.Timeout())})
	if err != nil {
		return nil, err
	}
	contentType := strings.ToLower(res.Header.Get("Content-Type"))
	if strings.HasPrefix(contentType, "text/html") {
		_ = res.Body.Close()
		return nil, badResponse(opLogs, "the response is an HTML page, not a log: check whether a proxy requires a login")
	}
	isJSON := strings.Contains(contentType, "json")
	return struct {
		io.Reader
		io.Closer
	}{newLogReader(res.Body, isJSON, opLogs, c.t.Detail), res.Body}, nil
}

// logReader decodes the bytes of a JSON log while they arrive.
type logReader struct {
	r           *bufio.Reader
	op          string
	detail      func(string) string
	step        func(*logReader, []byte) (int, error) // returns the next bytes
	inList      bool
	endsDecided bool // addEnds is set
	addEnds     bool // the list's strings have no line terminators
	last        byte // of the current string
	pending     []byte
}

// newLogReader decodes a log from a response; detail redacts and truncates a server's text.
func newLogReader(r io.Reader, isJSON bool, op string, detail func(string) string) io.Reader {
	l := &logReader{r: bufio.NewReaderSize(r, 32<<10), op: op, detail: detail, step: (*logReader).plain}
	if isJSON {
		l.step = (*logReader).value
	}
	return l
}

func (l *logReader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if len(l.pending) > 0 {
			n := copy(p, l.pending)
			l.pending = l.pending[n:]
			return n, nil
		}
		if n, err := l.step(l, p); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

func (l *logReader) plain(p []byte) (int, error) { return l.r.Read(p) }

func (l *logReader) done([]byte) (int, error) { return 0, io.EOF }

// value starts a string, a list or an object.
func (l *logReader) value([]byte) (int, error) {
	c, err := l.token()
	switch {
	case err == io.EOF:
		l.step = (*logReader).done // 204: no log
		return 0, nil
	case err != nil:
		return 0, err
	}
	switch c {
	case '"':
		l.step = (*logReader).text
	case '[':
		l.inList, l.step = true, (*logReader).element
	case '{':
		return 0, l.object()
	case 'n': // null
		l.step = (*logReader).done
	default:
		return 0, l.wrong("the response is neither a string nor a list of strings")
	}
	return 0, nil
}

// object finds the log within an object, which may be an error.
func (l *logReader) object() error {
	d := json.NewDecoder(io.MultiReader(strings.NewReader("{"), l.r))
	_, _ = d.Token()
	small := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return l.broken(err)
		}
		switch name, _ := key.(string); name {
		case "logs", "data", "result", "results":
			l.r = bufio.NewReaderSize(io.MultiReader(d.Buffered(), l.r), 32<<10)
			if c, err := l.token(); err != nil || c != ':' {
				return l.broken(err)
			}
			l.step = (*logReader).value
			return nil
		default:
			var value json.RawMessage
			if err := d.Decode(&value); err != nil {
				return l.broken(err)
			}
			if len(value) < 4<<10 && len(small) < 16 {
				small[name] = value
			}
		}
	}
	body, _ := json.Marshal(small)
	if text := l.detail(string(body)); text != "" && text != string(body) {
		return l.wrong("the response is not a log: " + text)
	}
	return l.wrong("the response has no log")
}

// element starts the next string of a list, or ends the list.
func (l *logReader) element([]byte) (int, error) {
	c, err := l.token()
	if err == nil && c == ',' {
		c, err = l.token()
	}
	switch {
	case err != nil:
		return 0, l.broken(err)
	case c == ']':
		l.step = (*logReader).done
	case c == '"':
		l.last, l.step = 0, (*logReader).text
	default:
		return 0, l.wrong("the list has an element that is not a string")
	}
	return 0, nil
}

// text returns the next bytes of a JSON string.
func (l *logReader) text(p []byte) (int, error) {
	if _, err := l.r.Peek(1); err != nil {
		return 0, l.broken(err)
	}
	b, _ := l.r.Peek(min(len(p), l.r.Buffered()))
	n := 0
	for n < len(b) && b[n] != '"' && b[n] != '\\' {
		n++
	}
	if n > 0 {
		copy(p, b[:n])
		l.last = b[n-1]
		_, _ = l.r.Discard(n)
		return n, nil
	}
	if b[0] == '"' {
		_, _ = l.r.Discard(1)
		l.endText()
		return 0, nil
	}
	return 0, l.escape()
}

// endText ends one string: a line of a list gets its terminator.
func (l *logReader) endText() {
	if !l.inList {
		l.step = (*logReader).done
		return
	}
	if !l.endsDecided {
		l.endsDecided, l.addEnds = true, l.last != '\n'
	}
	if l.addEnds {
		l.pending = []byte{'\n'}
	}
	l.step = (*logReader).element
}

// escape decodes one escaped character.
func (l *logReader) escape() error {
	b, err := l.r.Peek(2)
	if err != nil {
		return l.broken(err)
	}
	size, r := 2, rune(escapes[b[1]])
	if b[1] == 'u' {
		if b, err = l.r.Peek(12); len(b) < 6 {
			return l.broken(err)
		}
		r, size = hexRune(b)
	}
	if size == 0 || r == 0 && size == 2 {
		return l.wrong("the response is not JSON")
	}
	l.pending = utf8.AppendRune(nil, r)
	l.last = l.pending[len(l.pending)-1]
	_, _ = l.r.Discard(size)
	return nil
}

// token returns the next byte that is not white space.
func (l *logReader) token() (byte, error) {
	for {
		c, err := l.r.ReadByte()
		if err != nil || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c, err
		}
	}
}

func (l *logReader) wrong(detail string) error {
	return &ray.Error{Op: l.op, Code: http.StatusInternalServerError, Status: http.StatusOK, Detail: detail}
}

// broken returns the error for an end in the middle of the log; errors of the body are kept.
func (l *logReader) broken(err error) error {
	if e, ok := err.(*ray.Error); ok {
		return e
	}
	if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF {
		return &ray.Error{Op: l.op, Code: http.StatusServiceUnavailable, Status: http.StatusOK, Detail: "the response ended in the middle of the log", Err: io.ErrUnexpectedEOF}
	}
	return l.wrong(fmt.Sprintf("the response is not JSON: %v", err))
}
