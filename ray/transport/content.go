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

// This file describes responses that are not what was requested. It looks at their
// bytes first, and at the headers only if the bytes do not suffice.

// maxHead is how many bytes of a response are kept for errors.
const maxHead = 1 << 10

// headReader keeps the first bytes of a text.
type headReader struct {
	r    io.Reader
	seen []byte
}

func (h *headReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	if room := maxHead - len(h.seen); room > 0 {
		h.seen = append(h.seen, p[:min(n, room)]...)
	}
	return n, err
}

// errContent describes the content of a response that cannot be read.
type errContent string

func (e errContent) Error() string { return string(e) }

// content returns the text of a response's body, decompressed: servers and proxies
// compress responses without being asked to.
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
		return newGunzipReader(text, b)
	case head == "\x28\xb5\x2f\xfd":
		return nil, errContent("compressed by zstd")
	case strings.HasPrefix(head, "\xff\xfe"), strings.HasPrefix(head, "\xfe\xff"), n >= 2 && (head[0] == 0) != (head[1] == 0):
		return nil, errContent("UTF-16 text")
	}
	return text, nil
}

// errBadGzip describes a gzip that cannot be decompressed.
const errBadGzip = errContent("invalid gzip")

// gunzipReader decompresses a gzip within the bounds of the body that it is read from.
type gunzipReader struct {
	zip  io.Reader
	body *body // nil: no bound
	left int64
}

func newGunzipReader(r io.Reader, b *body) (io.Reader, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, errBadGzip
	}
	g := &gunzipReader{zip: zip, body: b}
	if b != nil {
		g.left = b.limit
	}
	return g, nil
}

func (g *gunzipReader) Read(p []byte) (int, error) {
	b := g.body
	if b != nil && !b.stream && b.limit-g.left >= largeResponse {
		if err := b.memory.acquire(b.ctx, b.c.responseMemory, b.c.maxBody); err != nil {
			return 0, b.c.netError(b.parent, b.ctx, b.op, err)
		}
	}
	n, err := g.zip.Read(p)
	if g.left -= int64(n); b != nil && !b.stream && g.left < 0 {
		return 0, b.c.tooLargeError(b.op, tooLarge(b.limit))
	}
	if err != nil && err != io.EOF && (b == nil || b.failed == nil) {
		err = errBadGzip
	}
	return n, err
}

// errorText returns the first bytes of a response with an error status.
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
	return "the response is HTML, not JSON: " + c.checkServer()
}

// checkServer is the advice to check the address.
func (c *Client) checkServer() string {
	return "check that " + c.base.Host + " is a " + c.service
}

func (c *Client) tooLargeError(op string, limit tooLarge) *ray.Error {
	return &ray.Error{Op: op, Code: http.StatusInternalServerError, Err: errTooLarge,
		Detail: "the response is larger than " + size(int64(limit)) + ": raise the cluster's max_body"}
}

// decodeError returns why a complete response could not be decoded. head is the start
// of its text.
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
		e.Detail = c.redact("the response is " + string(content) + ", which is not supported: check for a proxy in front of " + c.base.Host + " that changes it")
	case len(head) == 0:
		e.Detail = "the response is empty: " + c.checkServer()
	case head[0] == '<':
		e.Detail = c.htmlDetail()
	case errors.As(err, &shape):
		e.Detail = c.redact(fmt.Sprintf("the response is not that of a %s: it has %s%s", c.service, shape.Error(), objectSummary(head)))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		e.Detail = "the response ends in the middle of its JSON"
	case packed != "" && packed != "identity" && packed != "gzip":
		e.Detail = c.redact("the response is compressed (Content-Encoding: " + truncate(packed, 32) + "), which is not supported: check for a proxy in front of " + c.base.Host + " that compresses it")
	default:
		e.Detail = c.redact("the response is not JSON but " + textSummary(res, head) + ": " + c.checkServer())
	}
	return e
}

// objectSummary returns the message of an unexpected object, or its keys.
func objectSummary(head []byte) string {
	if head[0] != '{' {
		return ""
	}
	if text := jsonMessage(head); text != "" {
		return fmt.Sprintf(", with the message %q", truncate(text, 120))
	}
	var keys []string
	d := pyjson.NewDecoder(bytes.NewReader(head))
	_ = d.Object(func(key []byte) error {
		keys = append(keys, truncate(string(key), 32))
		return d.Skip()
	})
	if len(keys) == 0 {
		return ""
	}
	return ", with the keys " + strings.Join(keys[:min(len(keys), 5)], ", ")
}

// textSummary returns the type of an unexpected text, and its start.
func textSummary(res *http.Response, head []byte) string {
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if kind = strings.TrimSpace(kind); kind == "" || strings.HasSuffix(kind, "json") {
		kind = "text"
	}
	return fmt.Sprintf("%s that begins with %q", truncate(kind, 64), truncate(printable(string(head)), 40))
}
