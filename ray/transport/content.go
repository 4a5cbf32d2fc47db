package transport

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
)

// This file: what came in place of an answer. It is judged by its bytes first;
// the headers are believed of what cannot be told by them.

// maxOpening is how much of an answer's text is remembered for errors, in bytes.
const maxOpening = 1 << 10

// opening remembers how a text begins.
type opening struct {
	r    io.Reader
	seen []byte
}

func (o *opening) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	if room := maxOpening - len(o.seen); room > 0 {
		o.seen = append(o.seen, p[:min(n, room)]...)
	}
	return n, err
}

// errContent says what an answer is that cannot be read.
type errContent string

func (e errContent) Error() string { return string(e) }

// content returns the text of an answer's body, without the compression that a
// server or a proxy was not asked for.
func (c *Client) content(res *http.Response) (io.Reader, error) {
	var first [4]byte
	n, err := io.ReadFull(res.Body, first[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	text := io.MultiReader(bytes.NewReader(first[:n]), res.Body)
	switch head := string(first[:n]); {
	case strings.HasPrefix(head, "\x1f\x8b"):
		b, _ := res.Body.(*body)
		return newInflated(text, b)
	case head == "\x28\xb5\x2f\xfd":
		return nil, errContent("compressed by zstd")
	case strings.HasPrefix(head, "\xff\xfe"), strings.HasPrefix(head, "\xfe\xff"), n >= 2 && (head[0] == 0) != (head[1] == 0):
		return nil, errContent("UTF-16 text")
	}
	return text, nil
}

// inflated is the text of a gzip. It has the bounds of the body that it came in.
type inflated struct {
	zip  io.Reader
	body *body // nil: no bound
	left int64
}

func newInflated(r io.Reader, b *body) (io.Reader, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, errContent("a gzip that is damaged")
	}
	i := &inflated{zip: zip, body: b}
	if b != nil {
		i.left = b.most
	}
	return i, nil
}

func (i *inflated) Read(p []byte) (int, error) {
	b := i.body
	if b != nil && !b.stream && b.most-i.left >= largeAnswer {
		if err := b.large.take(b.ctx, b.c.large, b.c.maxBody); err != nil {
			return 0, b.c.netError(b.parent, b.ctx, b.op, err)
		}
	}
	n, err := i.zip.Read(p)
	if i.left -= int64(n); b != nil && !b.stream && i.left < 0 {
		return 0, b.c.tooLargeError(b.op, tooLarge(b.most))
	}
	if err != nil && err != io.EOF && (b == nil || b.failed == nil) {
		err = errContent("a gzip that is damaged")
	}
	return n, err
}

// errorText reads the beginning of an answer that is an error.
func (c *Client) errorText(res *http.Response) []byte {
	r, err := c.content(res)
	if err != nil {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(r, maxErrorBody))
	return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
}

func isHTML(res *http.Response, text []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(text), []byte("<")) || len(text) == 0 && strings.HasPrefix(res.Header.Get("Content-Type"), "text/html")
}

func (c *Client) htmlDetail() string {
	return "the answer is HTML, not JSON: is " + c.base.Host + " a " + c.service + "?"
}

func (c *Client) tooLargeError(op string, most tooLarge) *ray.Error {
	return &ray.Error{Op: op, Code: http.StatusInternalServerError, Err: errTooLarge,
		Detail: "the answer is larger than " + size(int64(most)) + ": raise the cluster's max_body"}
}

// decodeError says why a complete answer could not be decoded; head is how its
// text begins.
func (c *Client) decodeError(op string, res *http.Response, head []byte, err error) error {
	var known *ray.Error
	if errors.As(err, &known) {
		return err
	}
	e := &ray.Error{Op: op, Code: http.StatusInternalServerError, Status: res.StatusCode, Err: err}
	head = bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")))
	var (
		shape   *pyjson.ShapeError
		content errContent
	)
	packed := strings.ToLower(res.Header.Get("Content-Encoding"))
	switch {
	case errors.As(err, &content):
		e.Detail = c.clean("the answer is " + string(content) + ", which is not read: does a proxy in front of " + c.base.Host + " change it?")
	case len(head) == 0:
		e.Detail = "the answer is empty: is " + c.base.Host + " a " + c.service + "?"
	case head[0] == '<':
		e.Detail = c.htmlDetail()
	case errors.As(err, &shape):
		e.Detail = c.clean(fmt.Sprintf("the answer is not that of a %s: it has %s%s", c.service, shape.Error(), saying(head)))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Detail = "the answer ends in the middle of its JSON"
	case packed != "" && packed != "identity" && packed != "gzip":
		e.Detail = c.clean("the answer is compressed (Content-Encoding: " + clip(packed, 32) + "), which is not read: does a proxy in front of " + c.base.Host + " compress it?")
	default:
		e.Detail = c.clean("the answer is not JSON but " + described(res, head) + ": is " + c.base.Host + " a " + c.service + "?")
	}
	return e
}

// saying is what an object in place of an answer says, or which keys it has.
func saying(head []byte) string {
	if head[0] != '{' {
		return ""
	}
	if text := jsonMessage(head); text != "" {
		return fmt.Sprintf(", and says %q", clip(text, 120))
	}
	var keys []string
	d := pyjson.NewDecoder(bytes.NewReader(head))
	_ = d.Object(func(key []byte) error {
		keys = append(keys, clip(string(key), 32))
		return d.Skip()
	})
	if len(keys) == 0 {
		return ""
	}
	return ", with the keys " + strings.Join(keys[:min(len(keys), 5)], ", ")
}

// described tells what a text is, and how it begins.
func described(res *http.Response, head []byte) string {
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if kind = strings.TrimSpace(kind); kind == "" || strings.HasSuffix(kind, "json") {
		kind = "text"
	}
	return fmt.Sprintf("%s that begins with %q", clip(kind, 64), clip(printable(string(head)), 40))
}
