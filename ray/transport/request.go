package transport

import (
	"bytes"
	"cmp"
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
	// Stream removes MaxBody, and applies the timeout to the wait for the headers and
	// to each read of the body. It takes one of the streams' slots; only the context
	// bounds the wait for that slot.
	Stream bool
	// LongLived is a stream that stays open for as long as its reader wants. It takes
	// no slot, so that no other request waits for it: callers bound their number
	// themselves, as they do for WebSockets.
	LongLived bool
	// Timeout overrides the client's for this request; 0 does not.
	Timeout time.Duration
	// Idle bounds each read of a stream's body; 0 means the timeout.
	Idle time.Duration
	// AllowStatus lists statuses outside 2xx that are not errors (416).
	AllowStatus []int
	// MaxBody raises the client's bound on the response, for one that is read row by
	// row and never in memory as a whole. A smaller value has no effect.
	MaxBody int64
}

// errTimeout and errTooLarge end a body early; callers get both as a *ray.Error.
var (
	errTimeout  = errors.New("timeout")
	errTooLarge = ray.ErrTooLarge
)

// tooLarge is an errTooLarge with the bound, in bytes.
type tooLarge int64

func (tooLarge) Error() string        { return errTooLarge.Error() }
func (tooLarge) Is(target error) bool { return target == errTooLarge }

// timeoutCause is an errTimeout with its duration.
type timeoutCause time.Duration

func (timeoutCause) Error() string        { return errTimeout.Error() }
func (timeoutCause) Is(target error) bool { return target == errTimeout }

// Do sends a request and returns the response as soon as its headers have arrived. The
// caller must close the body, which releases the slot. Every error, including those of
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
	b := &body{c: c, op: r.Op, parent: ctx, stream: r.Stream, timeout: cmp.Or(r.Timeout, c.timeout), limit: max(c.maxBody, r.MaxBody)}
	b.left = b.limit
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
			return nil, c.slotTimeout(ctx, r.Op, b.ctx)
		}
	}
	if r.Stream {
		b.timer = time.AfterFunc(b.timeout, func() { b.cancel(timeoutCause(b.timeout)) })
	}
	began := time.Now()
	res, err := c.http.Do(req.WithContext(b.ctx))
	if err == nil {
		c.clock.update(res.Header, began, time.Now())
	}
	if err != nil {
		err = c.netError(ctx, b.ctx, r.Op, err)
		b.end()
		return nil, err
	}
	c.auth.answered(req.Header, res.StatusCode)
	b.rc, res.Body = res.Body, b
	if res.StatusCode/100 != 2 && !slices.Contains(r.AllowStatus, res.StatusCode) {
		err := c.statusError(r.Op, req.Header, res)
		_ = b.Close()
		return nil, err
	}
	if r.Stream {
		// A new timer: a read's bound may differ from the timeout.
		b.timer.Stop()
		b.timeout = cmp.Or(r.Idle, b.timeout)
		idle := timeoutCause(b.timeout)
		b.timer = time.AfterFunc(b.timeout, func() { b.cancel(idle) })
		b.timer.Stop()
	}
	return res, nil
}

// build returns the HTTP request.
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

// body is a response's body with the bounds of its request.
type body struct {
	c       *Client
	op      string
	parent  context.Context // the caller's, to distinguish its end from our timeout
	ctx     context.Context
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	rc      io.ReadCloser
	release func()
	stream  bool
	timeout time.Duration // of the request; then, for a stream, of one read
	limit   int64         // maximum size in bytes
	left    int64         // bytes that may still come
	memory  reservation
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
		if b.limit-b.left >= largeResponse {
			if err := b.memory.acquire(b.ctx, b.c.responseMemory, b.c.maxBody); err != nil {
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
			n, err = n-1, tooLarge(b.limit)
		}
	}
	if err != nil && err != io.EOF {
		b.failed = b.c.netError(b.parent, b.ctx, b.op, err)
		err = b.failed
	}
	return n, err
}

// Close releases the slot. It may be called more than once, and while a Read waits.
func (b *body) Close() error {
	b.once.Do(func() {
		b.cancel(context.Canceled)
		_ = b.rc.Close()
		b.timer.Stop()
		b.memory.release()
		b.release()
	})
	return nil
}

// end releases what a request without a response holds.
func (b *body) end() {
	b.cancel(context.Canceled)
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.release != nil {
		b.release()
	}
}

// Get requests JSON and calls read to decode it from a bounded body. A decoding error
// of read is returned as a *ray.Error that describes it.
func (c *Client) Get(ctx context.Context, op, endpoint, path string, query url.Values, read func(*pyjson.Decoder) error) error {
	return c.Call(ctx, Request{Op: op, Endpoint: endpoint, Path: path, Query: query}, read)
}

// GetJSON requests JSON and decodes it into a value, field by field: a field of another
// type is absent.
func (c *Client) GetJSON(ctx context.Context, op, endpoint, path string, query url.Values, into any) error {
	return c.Get(ctx, op, endpoint, path, query, func(d *pyjson.Decoder) error { return d.Decode(into) })
}

// PostJSON sends a POST, with payload as JSON unless it is nil, and decodes the response.
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

// Call is Get for any request that is not a stream.
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

// decode reads one JSON response and closes it. It ignores the content type: servers
// send JSON under any.
func (c *Client) decode(op string, res *http.Response, read func(*pyjson.Decoder) error) error {
	defer res.Body.Close()
	b, _ := res.Body.(*body)
	head := &headReader{}
	text, err := c.content(res)
	if err == nil {
		head.r = text
		err = read(pyjson.NewDecoder(head))
	}
	if b != nil && b.failed != nil {
		return b.failed // not the decoder's error, which follows from it
	}
	if err != nil {
		if head.r != nil { // for the error's text
			_, _ = io.CopyN(io.Discard, head, maxHead)
		}
		return c.decodeError(op, res, head.seen, err)
	}
	// The rest is a line end; the connection can be reused once it is read.
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	return nil
}
