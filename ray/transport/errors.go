package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"raytap/ray"
	"raytap/secret"
)

// Bounds of an error's text, in bytes.
const (
	maxDetail    = 256
	maxErrorBody = 64 << 10
)

// slotTimeout returns the error of a call for which no slot became free.
func (c *Client) slotTimeout(parent context.Context, op string, ctx context.Context) error {
	if err := c.contextError(parent, ctx, op); err != nil {
		if e, ok := err.(*ray.Error); ok && errors.Is(context.Cause(ctx), errTimeout) {
			e.Detail = fmt.Sprintf("no free slot for the request within %s: %d other requests to %s are in progress", short(c.timeoutOf(ctx)), cap(c.calls), c.base.Host)
		}
		return err
	}
	return &ray.Error{Op: op, Code: http.StatusServiceUnavailable, Detail: "no free slot"}
}

// contextError returns the error of a call that its caller or its timeout ended, else
// nil.
func (c *Client) contextError(parent, ctx context.Context, op string) error {
	switch {
	case errors.Is(parent.Err(), context.Canceled):
		return &ray.Error{Op: op, Code: http.StatusServiceUnavailable, Detail: "cancelled", Err: context.Canceled}
	case parent.Err() != nil:
		return &ray.Error{Op: op, Code: http.StatusRequestTimeout, Err: context.DeadlineExceeded,
			Detail: "no response from " + c.base.Host + " before the caller's deadline"}
	case errors.Is(context.Cause(ctx), errTimeout):
		return &ray.Error{Op: op, Code: http.StatusRequestTimeout, Err: context.DeadlineExceeded,
			Detail: fmt.Sprintf("no response from %s within %s: %s", c.base.Host, short(c.timeoutOf(ctx)), c.overload())}
	}
	return nil
}

// timeoutOf returns the timeout that ended a context.
func (c *Client) timeoutOf(ctx context.Context) time.Duration {
	var cause timeoutCause
	if errors.As(context.Cause(ctx), &cause) {
		return time.Duration(cause)
	}
	return c.timeout
}

func (c *Client) overload() string {
	if c.service == defaultService {
		return "it may be overloaded, or its GCS may be down"
	}
	return "it may be overloaded"
}

// netError returns the *ray.Error of a network failure, before or within a body.
func (c *Client) netError(parent, ctx context.Context, op string, err error) error {
	if e := c.contextError(parent, ctx, op); e != nil {
		return e
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // its text repeats the URL
	}
	var large tooLarge
	if errors.As(err, &large) {
		return c.tooLargeError(op, large)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, http.ErrBodyReadAfterClose) { // the body was closed under a read
		return &ray.Error{Op: op, Code: http.StatusServiceUnavailable, Detail: "closed", Err: net.ErrClosed}
	}
	code := http.StatusServiceUnavailable
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		code = http.StatusRequestTimeout
	}
	return &ray.Error{Op: op, Code: code, Detail: c.netDetail(err), Err: err}
}

// netDetail describes a network failure, and what to check.
func (c *Client) netDetail(err error) string {
	host := c.base.Host
	var (
		dns       *net.DNSError
		oe        *net.OpError
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		alert     tls.AlertError
	)
	switch {
	case errors.As(err, &oe) && oe.Op == "proxyconnect":
		return "the proxy is unreachable: check proxy_url, HTTP_PROXY and NO_PROXY"
	case errors.As(err, &dns):
		return "the host of " + host + " cannot be resolved: check the url and the DNS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused by " + host + ": check that a " + c.service + " is running there"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to " + host
	case errors.As(err, &authority):
		return "the certificate of " + host + " is signed by an unknown authority: set tls.ca_file"
	case errors.As(err, &hostname):
		return "the certificate of " + host + " is for another name: correct the url or set tls.server_name"
	case errors.As(err, &invalid):
		return "the certificate of " + host + " is not valid: check whether it has expired"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return host + " does not speak TLS: use http:// in the url"
	case errors.As(err, &alert):
		return host + " refused the TLS connection: it may require a client certificate (tls.cert_file)"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return host + " closed the connection before the response was complete"
	case strings.Contains(err.Error(), "malformed HTTP"):
		// net/http has no type for it.
		return host + " does not respond in HTTP/1.1: it may require https:// in the url"
	}
	return c.redact("connection to " + host + " failed: " + err.Error())
}

// statusError returns the error of a response with an error status.
func (c *Client) statusError(op string, sent http.Header, res *http.Response) error {
	status := res.StatusCode
	e := &ray.Error{Op: op, Code: statusCode(status), Status: status, RetryAfter: retryAfter(res)}
	if status/100 == 3 {
		e.Detail = c.redirectDetail(res)
		return e
	}
	text := c.errorText(res)
	message := c.Detail(string(text))
	html := isHTML(res, text)
	if html {
		message = ""
	}
	where := "auth.token_file"
	if c.service == defaultService || c.service == nodeAgentService {
		where += ", RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
	}
	if source, ok := c.auth.token.(fmt.Stringer); ok {
		where = source.String()
	}
	switch {
	case status == http.StatusUnauthorized && sent.Get("Authorization") == "":
		message = join(message, "set "+where)
	case status == http.StatusUnauthorized, status == http.StatusForbidden && sent.Get("Authorization") != "":
		message = join(message, "the token was rejected: check "+where)
	case status == http.StatusForbidden:
		message = join(message, "no token was sent: the server may require one")
	case status == http.StatusProxyAuthRequired:
		message = "the proxy requires a user and a password: set them in proxy_url"
	case html && statusCode(status) == http.StatusServiceUnavailable:
		message = "a proxy in front of " + c.base.Host + " returned an HTML page (" + http.StatusText(status) + "): it cannot reach the " + c.service
	case html:
		message = c.htmlDetail()
	case message == "":
		message = http.StatusText(status)
	}
	e.Detail = message
	return e
}

func statusCode(status int) int {
	switch status {
	case 400, 401, 403, 404, 408, 429, 501:
		return status
	case 407:
		return http.StatusForbidden
	case 502, 503, 504:
		return http.StatusServiceUnavailable
	}
	if status >= 500 {
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// maxRetryAfter is the longest Retry-After that is followed.
const maxRetryAfter = time.Hour

// retryAfter returns the duration of a Retry-After header in seconds. A date is ignored:
// it follows the server's clock.
func retryAfter(res *http.Response) time.Duration {
	seconds, err := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 32)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}

func (c *Client) redirectDetail(res *http.Response) string {
	to, err := res.Location()
	if err != nil {
		return c.base.Host + " returned a redirect without a location: " + c.checkServer()
	}
	if to.Host == c.base.Host && to.Scheme == c.base.Scheme {
		return c.base.Host + " redirects in a loop: " + c.checkServer()
	}
	return c.redact(fmt.Sprintf("%s redirects to %s://%s, which is not followed: set the url to the final address", c.base.Host, to.Scheme, to.Host))
}

// Detail returns one line of a server's error text: bounded, printable, without the
// client's own secrets.
func (c *Client) Detail(text string) string { return c.redact(errorSummary(text)) }

// errorSummary returns one line of a server's error text: the last line of a Python
// traceback, the msg of a State API response, else the first line that is more than the
// status. Ray sends whole tracebacks, with paths of the head in them.
func errorSummary(text string) string {
	if trimmed := strings.TrimSpace(text); strings.HasPrefix(trimmed, "{") {
		if message := jsonMessage([]byte(trimmed)); message != "" {
			text = message
		}
	}
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	trace := strings.Contains(text, "Traceback (most recent call last)")
	best := ""
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if !strings.ContainsFunc(line, unicode.IsLetter) || isStatusLine(line) {
			continue
		}
		if best = line; !trace {
			break
		}
	}
	return best
}

// jsonMessage returns the message of a JSON error: the msg of Ray's State API; the
// detail of a FastAPI server, a text or a list of a request's errors; or a message,
// after the type of the error.
func jsonMessage(b []byte) string {
	var e struct {
		Msg     string          `json:"msg"`
		Detail  json.RawMessage `json:"detail"`
		Kind    string          `json:"error_type"`
		Message string          `json:"message"`
	}
	if json.Unmarshal(b, &e) != nil {
		return ""
	}
	var text string
	var wrong []struct {
		Where []any  `json:"loc"`
		Msg   string `json:"msg"`
	}
	switch {
	case e.Msg != "":
		return e.Msg
	case len(e.Detail) > 0 && json.Unmarshal(e.Detail, &text) == nil && text != "":
		return text
	case len(e.Detail) > 0 && json.Unmarshal(e.Detail, &wrong) == nil && len(wrong) > 0:
		for i, w := range wrong {
			where := strings.Trim(strings.ReplaceAll(fmt.Sprint(w.Where), " ", "."), "[]")
			if i > 0 {
				text += "; "
			}
			text += where + ": " + w.Msg
		}
		return text
	case len(e.Detail) > 0 && e.Detail[0] == '{':
		return jsonMessage(e.Detail)
	case e.Kind != "" && e.Message != "":
		return e.Kind + ": " + e.Message
	}
	return e.Message
}

// isStatusLine reports whether a line is a bare status such as "500 Internal Server
// Error".
func isStatusLine(line string) bool {
	return len(line) > 4 && strings.Trim(line[:3], "0123456789") == "" && line[3] == ' ' &&
		http.StatusText(int(line[0]-'0')*100+int(line[1]-'0')*10+int(line[2]-'0')) == line[4:]
}

// redact bounds a text and replaces the client's secrets in it, in case a server or a
// proxy has sent them back.
func (c *Client) redact(text string) string {
	text = printable(text)
	hide := func(value string) {
		if len(value) >= 4 {
			text = strings.ReplaceAll(text, value, secret.Placeholder)
		}
	}
	if c.auth.token != nil {
		if token, err := c.auth.token.Token(); err == nil {
			hide(token)
		}
	}
	for _, source := range c.auth.tokens {
		if token, err := source.Token(); err == nil {
			hide(token)
		}
	}
	for name, values := range c.auth.header() {
		if name != "User-Agent" {
			hide(values[0])
		}
	}
	return truncate(text, maxDetail)
}

// printable replaces control characters and invalid UTF-8 with spaces.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s))
}

// truncate returns at most n bytes of a text, cut at a rune boundary.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func join(message, advice string) string {
	if message == "" {
		return advice
	}
	return message + ": " + advice
}

func short(d time.Duration) string { return d.Round(time.Millisecond).String() }

func size(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
