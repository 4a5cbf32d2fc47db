package shipper

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"raytap/ray"
)

// complain logs a read that failed, at a bounded rate for all streams together.
func (s *stream) complain(w way, err error) {
	for _, usual := range []error{errComplete, errUnstarted, errLimited, errReplaced, errBelied, errEnded, errOver, errNoSlot, errBetter, errGiveUp, ray.ErrWayRefused, errOutputClosed} {
		if errors.Is(err, usual) {
			return
		}
	}
	if !s.failing {
		s.failing = true
		s.sh.unread.Add(1)
	}
	text := shownError(err)
	s.failed.Store(&text)
	s.sh.reading.Failed(fmt.Sprintf("A job's log cannot be read by the %s way, and is tried again", w), err)
}

// readable notes a successful read.
func (s *stream) readable() {
	s.lastRead.Store(time.Now().UnixNano())
	if s.failing {
		s.failing = false
		s.failed.Store(nil)
		if s.sh.unread.Add(-1) == 0 {
			s.sh.reading.Well("All logs can be read again")
		}
	}
}

// broken are the reasons of ends that tell of a broken connection.
var broken = []string{"closed", "silent", "timeout", "connection"}

// endReason names an end in few words, for a label.
func endReason(err error) string {
	for reason, e := range map[string]error{
		"complete": errComplete, "limit": errLimited, "replaced": errReplaced, "closed": errEnded, "silent": errSilent,
		"short_replay": errShort, "run_over": errOver, "unstarted": errUnstarted, "other_form": errBelied, "no_slot": errNoSlot, "better_way": errBetter, "memory": errGiveUp, "refused": ray.ErrWayRefused,
	} {
		if errors.Is(err, e) {
			return reason
		}
	}
	switch code := ray.Code(err); code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "unauthorized"
	case http.StatusNotFound:
		return "not_found"
	case http.StatusRequestTimeout:
		return "timeout"
	case http.StatusTooManyRequests:
		return "too_many_requests"
	case http.StatusServiceUnavailable:
		return "connection"
	case http.StatusNotImplemented:
		return "unsupported"
	}
	return "error"
}

// retryAfter is how long a server asked to be left alone, 0 where it did not.
func retryAfter(err error) time.Duration {
	var e *ray.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}
