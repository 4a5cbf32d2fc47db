package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
)

// Request is one request to the server.
type Request struct {
	Op       string // for errors, verb first: "list jobs"
	Endpoint string // constant label for Observe: "/api/jobs/{id}", never with an id
	Method   string // "" is GET
	Path     string // escaped, begins with "/"; joined to the base URL
	Query    url.Values
	Header   http.Header // in addition to the client's own, e.g. Range
	Body     []byte      // JSON; nil for none
	// Stream lifts MaxBody and limits the timeout to the wait for the headers
	// and to each single read of the body; the slot is one of the streams'.
	// Waiting for that slot is bounded by the context alone.
	Stream bool
	// LongLived says of a stream that it stays open for as long as somebody listens. It
	// takes no slot, so that calls which end never wait for it: whoever opens such
	// has a bound of its own on them, as on WebSockets.
	LongLived bool
	// Timeout replaces the client's for this request; 0 is the client's.
	Timeout time.Duration
	// Idle bounds each read of a stream's body; 0 is the timeout.
	Idle time.Duration
	// AllowStatus lists statuses outside 2xx that are answers, not errors (416).
	AllowStatus []int
	// MaxBody raises the client's bound on the answer, for one that is read row by
	// row and never held in memory as a whole; a smaller one changes nothing.
	MaxBody int64
}

// errTimeout and errTooLarge end a body early; both reach the caller as a *ray.Error.
var (
	errTimeout  = errors.New("timeout")
	errTooLarge = ray.ErrTooLarge
)

// tooLarge is an errTooLarge that knows the bound, in bytes.
type tooLarge int64

func (tooLarge) Error() string        { return errTooLarge.Error() }
func (tooLarge) Is(target error) bool { return target == errTooLarge }

// timeoutCause is an errTimeout that knows how long it took.
type timeoutCause time.Duration

func (timeoutCause) Error() string        { return errTimeout.Error() }
func (timeoutCause) Is(target error) bool { return target == errTimeout }

// Do sends a request and gives the answer once its headers are there; the
// caller must close the body, which frees the slot. Every error, also one of
// reading the body, is a *ray.Error.
func (c *Client) Do(ctx context.Context, r Request) (*http.Response, error) {
	began := time.Now()
	res, err := c.open(ctx, r)
	status := 0
	if res != nil {
		status = res.StatusCode
	}
	c.observed(ctx, r.Endpoint, status, err, began)
	return res, err
}

func (c *Client) open(ctx context.Context, r Request) (*http.Response, error) {
	req, err := c.build(r)
	if err != nil {
		return nil, err
	}
	b := &body{c: c, op: r.Op, parent: ctx, stream: r.Stream, timeout: orDefault(r.Timeout, c.timeout), most: max(c.maxBody, r.MaxBody)}
	b.left = b.most
	b.ctx, b.cancel = context.WithCancelCause(ctx)
	slots := c.calls
	if r.Stream {
		slots = c.streams
	} else {
		b.timer = time.AfterFunc(b.timeout, func() { b.cancel(timeoutCause(b.timeout)) })
	}
	if r.LongLived {
		b.release = func() {}
	} else {
		select {
		case slots <- struct{}{}:
			b.release = func() { <-slots }
		case <-b.ctx.Done():
			b.end()
			return nil, c.waitError(ctx, r.Op, b.ctx)
		}
	}
	if r.Stream {
		b.timer = time.AfterFunc(b.timeout, func() { b.cancel(timeoutCause(b.timeout)) })
	}
	began := time.Now()
	res, err := c.http.Do(req.WithContext(b.ctx))
	if err == nil {
		c.clock.note(res.Header, began, time.Now())
	}
	if err != nil {
		err = c.netError(ctx, b.ctx, r.Op, err)
		b.end()
		return nil, err
	}
	b.rc, res.Body = res.Body, b
	if res.StatusCode/100 != 2 && !slices.Contains(r.AllowStatus, res.StatusCode) {
		err := c.statusError(r.Op, req.Header, res)
		_ = b.Close()
		return nil, err
	}
	if r.Stream {
		// A timer of its own, for a read's bound may be another one.
		b.timer.Stop()
		b.timeout = orDefault(r.Idle, b.timeout)
		idle := timeoutCause(b.timeout)
		b.timer = time.AfterFunc(b.timeout, func() { b.cancel(idle) })
		b.timer.Stop()
	}
	return res, nil
}

// build makes the request, or says why it cannot be made.
func (c *Client) build(r Request) (*http.Request, error) {
	u, err := c.resolve(r.Path, r.Query)
	if err != nil {
		return nil, &ray.Error{Op: r.Op, Code: http.StatusBadRequest, Detail: err.Error(), Err: err}
	}
	header, err := c.Header()
	if err != nil {
		return nil, &ray.Error{Op: r.Op, Code: http.StatusUnauthorized, Detail: err.Error(), Err: err}
	}
	for name, values := range r.Header {
		header[name] = values
	}
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	var payload io.Reader
	if r.Body != nil {
		payload = bytes.NewReader(r.Body)
		header.Set("Content-Type", "application/json")
	}
	req, err := http.NewRequest(method, u.String(), payload)
	if err != nil {
		return nil, &ray.Error{Op: r.Op, Code: http.StatusBadRequest, Detail: "the request cannot be built"}
	}
	req.Header = header
	return req, nil
}

// body is an answer's body under the bounds of its request.
type body struct {
	c       *Client
	op      string
	parent  context.Context // the caller's, to tell its end from our timeout
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	rc      io.ReadCloser
	release func()
	stream  bool
	timeout time.Duration // of the request; then, of a stream, of one read
	most    int64         // bytes that the answer may have
	left    int64         // bytes of them that may still come
	large   largeHold
	failed  error // what Read returned last, if not io.EOF
	once    sync.Once
}

func (b *body) Read(p []byte) (int, error) {
	if b.failed != nil {
		return 0, b.failed
	}
	if b.stream {
		b.timer.Reset(b.timeout)
		defer b.timer.Stop()
	} else {
		if b.most-b.left >= largeAnswer {
			if err := b.large.take(b.ctx, b.c.large, b.c.maxBody); err != nil {
				b.failed = b.c.netError(b.parent, b.ctx, b.op, err)
				return 0, b.failed
			}
		}
		if int64(len(p)) > b.left+1 {
			p = p[:b.left+1]
		}
	}
	n, err := b.rc.Read(p)
	if !b.stream {
		if b.left -= int64(n); b.left < 0 {
			n, err = n-1, tooLarge(b.most)
		}
	}
	if err != nil && err != io.EOF {
		b.failed = b.c.netError(b.parent, b.ctx, b.op, err)
		err = b.failed
	}
	return n, err
}

// Close frees the slot. It may be called more than once, and while a Read waits.
func (b *body) Close() error {
	b.once.Do(func() {
		b.cancel(context.Canceled)
		_ = b.rc.Close()
		b.timer.Stop()
		b.large.end()
		b.release()
	})
	return nil
}

// end frees what an answer that never came held.
func (b *body) end() {
	b.cancel(context.Canceled)
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.release != nil {
		b.release()
	}
}

// Get asks for JSON and lets read decode it from a bounded body; a decoding
// error of read comes back as a *ray.Error that says what was wrong.
func (c *Client) Get(ctx context.Context, op, endpoint, path string, query url.Values, read func(*pyjson.Decoder) error) error {
	return c.Call(ctx, Request{Op: op, Endpoint: endpoint, Path: path, Query: query}, read)
}

// GetJSON asks for JSON and decodes it into a value, field by field: one of
// another type is absent.
func (c *Client) GetJSON(ctx context.Context, op, endpoint, path string, query url.Values, into any) error {
	return c.Get(ctx, op, endpoint, path, query, func(d *pyjson.Decoder) error { return d.Decode(into) })
}

// PostJSON sends a POST, with a JSON body unless that is nil, and decodes the answer.
func (c *Client) PostJSON(ctx context.Context, op, endpoint, path string, payload, into any) error {
	r := Request{Op: op, Endpoint: endpoint, Method: http.MethodPost, Path: path}
	if payload != nil {
		var err error
		if r.Body, err = json.Marshal(payload); err != nil {
			return &ray.Error{Op: op, Code: http.StatusInternalServerError, Detail: "the request cannot be encoded", Err: err}
		}
	}
	return c.Call(ctx, r, func(d *pyjson.Decoder) error { return d.Decode(into) })
}

// Call is Get for any request that is no stream.
func (c *Client) Call(ctx context.Context, r Request, read func(*pyjson.Decoder) error) error {
	began := time.Now()
	res, err := c.open(ctx, r)
	status := 0
	if res != nil {
		status = res.StatusCode
	}
	if err == nil {
		err = c.decode(r.Op, res, read)
	}
	c.observed(ctx, r.Endpoint, status, err, began)
	return err
}

// decode reads one JSON answer and closes it. What it is, is judged by its
// content: a server may call JSON anything.
func (c *Client) decode(op string, res *http.Response, read func(*pyjson.Decoder) error) error {
	defer res.Body.Close()
	b, _ := res.Body.(*body)
	head := &opening{}
	text, err := c.content(res)
	if err == nil {
		head.r = text
		err = read(pyjson.NewDecoder(head))
	}
	if b != nil && b.failed != nil {
		return b.failed // the body broke, whatever the decoder made of it
	}
	if err != nil {
		if head.r != nil { // for the error's text
			_, _ = io.CopyN(io.Discard, head, maxOpening)
		}
		return c.decodeError(op, res, head.seen, err)
	}
	// The rest is a line end; reading it lets the connection be used again.
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	return nil
}
