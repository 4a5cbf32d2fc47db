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
	// Op says what was tried, verb first: "list jobs".
	Op string
	// Code is the decision that a caller makes on it: 400 bad id, timeout or
	// protocol; 401 and 403; 404; 408 timeout; 429 limit; 500 server or
	// library; 501 what this version of Ray cannot do; 503 connection failed
	// or closed.
	Code int
	// Status is the HTTP status that the server answered, 0 where none came.
	Status int
	// RetryAfter is how long the server asked to be left alone (of its
	// Retry-After, in seconds; at most an hour); 0 where it did not ask.
	RetryAfter time.Duration
	// Detail is human text of bounded length, the server's or our own.
	Detail string
	// Err is the cause, or nil.
	Err error
}

// ErrStreamLimit is in the chain of an error of code 429 that says that a tail is
// over one of its own StreamLimits: the same tail would come to the same end.
var ErrStreamLimit = errors.New("a limit of the tail")

// Error gives "list jobs: 503 connection refused". A failure that came with a status
// of success, or an answer that cannot be used, is told by that status alone: "500
// (HTTP 200)" would read as an error of the server.
func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %d", e.Op, e.Code)
	switch {
	case e.Status/100 == 2 && e.Code == http.StatusInternalServerError:
		s = fmt.Sprintf("%s: unusable answer (HTTP %d):", e.Op, e.Status)
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

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same call can succeed later without anybody
// changing the call or the credentials.
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

// Code gives the code of the Error in err's chain; 408 for a deadline, 0 for
// nil or a cancellation, and 500 for anything else.
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
