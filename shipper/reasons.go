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
	for _, usual := range []error{errComplete, errUnstarted, errUnproven, errLost, errLimited, errReplaced, errBelied, errEnded, errOver, errNoSlot, errBetter, errGiveUp, ray.ErrTransportNotAllowed, errOutputClosed} {
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
	s.lastRead.set(time.Now())
	if s.failing {
		s.failing = false
		s.failed.Store(nil)
		if s.sh.unread.Add(-1) == 0 {
			s.sh.reading.Recovered("All logs can be read again")
		}
	}
}

// forgive ends the count of a stream that is over while its log could not be read:
// nobody tries any more, which does not mean that it can be read again.
func (s *stream) forgive() {
	if s.failing {
		s.failing = false
		s.failed.Store(nil)
		s.sh.unread.Add(-1)
	}
}

// ends are the reasons of ends that have an error of their own, codes those of a
// call that failed. Labels: what is not in either is an "error".
var (
	ends = []struct {
		reason string
		err    error
	}{
		{"complete", errComplete}, {"limit", errLimited}, {"replaced", errReplaced}, {"closed", errEnded}, {"silent", errSilent},
		{"short_replay", errShort}, {"run_ended", errOver}, {"not_started", errUnstarted}, {"framing_changed", errBelied},
		{"unproven", errUnproven}, {"lost", errLost},
		{"no_slot", errNoSlot}, {"better_transport", errBetter}, {"memory", errGiveUp}, {"refused", ray.ErrTransportNotAllowed},
	}
	codes = map[int]string{
		http.StatusUnauthorized: "unauthorized", http.StatusForbidden: "unauthorized", http.StatusNotFound: "not_found",
		http.StatusRequestTimeout: "timeout", http.StatusTooManyRequests: "too_many_requests",
		http.StatusServiceUnavailable: "connection", http.StatusNotImplemented: "unsupported",
	}
)

const otherEnd = "error"

// endReason names an end in few words, for a label.
func endReason(err error) string {
	for _, e := range ends {
		if errors.Is(err, e.err) {
			return e.reason
		}
	}
	if reason, ok := codes[ray.Code(err)]; ok {
		return reason
	}
	return otherEnd
}

// endReasons are all that endReason gives; some stand twice.
func endReasons() []string {
	all := []string{otherEnd}
	for _, e := range ends {
		all = append(all, e.reason)
	}
	for _, reason := range codes {
		all = append(all, reason)
	}
	return all
}

// retryAfter is how long a server asked to be left alone, 0 where it did not.
func retryAfter(err error) time.Duration {
	var e *ray.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}
