package ray

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Error is the one error of every call to a cluster.
//
// Its text never holds a URL with credentials, a token or a header value.
type Error struct {
	// Op is what was tried, verb first: "list jobs".
	Op string
	// Code is the kind of the error: 400 bad id, timeout or protocol; 401 and 403;
	// 404; 408 timeout; 429 limit; 500 server or library; 501 not supported by this
	// version of Ray or by this API; 503 connection failed or closed.
	Code int
	// Status is the server's HTTP status, 0 if there was no response.
	Status int
	// RetryAfter is the server's Retry-After header, at most an hour; 0 without one.
	RetryAfter time.Duration
	// Detail is text for people, of bounded length: the server's or raytap's.
	Detail string
	// Err is the cause, or nil.
	Err error
}

// ErrStreamLimit is in the chain of an error of code 429 if a tail exceeds one of its
// own StreamLimits. A retry would exceed it again.
var ErrStreamLimit = errors.New("stream limit exceeded")

// Error returns "list jobs: 503 connection refused". A failure despite a successful
// status, such as a response that cannot be decoded, shows that status alone: "500
// (HTTP 200)" would read as an error of the server.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %d", e.Op, e.Code)
	switch {
	case e.Status/100 == 2 && e.Code == http.StatusInternalServerError:
		s = fmt.Sprintf("%s: unusable response (HTTP %d):", e.Op, e.Status)
	case e.Status != 0 && e.Status != e.Code:
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	switch {
	case e.Detail != "":
		s += " " + e.Detail
	case e.Err != nil:
		s += " " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same call with the same credentials may succeed later.
func (e *Error) Temporary() bool {
	if errors.Is(e.Err, ErrStreamLimit) {
		return false
	}
	switch e.Code {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case http.StatusInternalServerError:
		return true // Ray answers 500 while a module restarts
	}
	return false
}

// Code returns the code of the Error in err's chain; 408 for a deadline, 0 for nil or a
// cancellation, and 500 for anything else.
func Code(err error) int {
	var e *Error
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return 0
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusRequestTimeout
	}
	return http.StatusInternalServerError
}

// IsTemporary reports whether the Error in err's chain is temporary; false without one.
func IsTemporary(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Temporary()
}

// RetryAfter returns the RetryAfter of the Error in err's chain; 0 without one.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}
