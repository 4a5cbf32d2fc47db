package tail

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"raytap/shipper/clock"
	"raytap/shipper/writer"

	"raytap/ray"
)

// health is whether one log can be read. success and failure are for the tail's
// goroutine, the rest is safe for concurrent use.
type health struct {
	cl       *Cluster
	lastRead clock.Moment // the last successful read
	failing  bool         // the last read failed, and that was reported
	failed   atomic.Pointer[string]
}

// failure reports a read that failed, at a bounded rate for all tails together.
// Ends that are no failure are ignored.
func (h *health) failure(t Transport, err error) {
	for _, usual := range []error{errComplete, errNotStarted, errUnproven, errLost, errLimited, errReplaced, errFramingMismatch, errClosed, errRunEnded, errNoSlot, errBetterTransport, writer.ErrMemoryPressure, ray.ErrTransportNotAllowed, writer.ErrClosed} {
		if errors.Is(err, usual) {
			return
		}
	}
	if !h.failing {
		h.failing = true
		h.cl.health.failing.Add(1)
	}
	text := shownError(err)
	h.failed.Store(&text)
	h.cl.health.condition.Failed("Log read over "+t.String()+" failed, retrying", err)
}

// success notes a successful read.
func (h *health) success() {
	h.lastRead.Set(time.Now())
	if h.failing {
		h.failing = false
		h.failed.Store(nil)
		if h.cl.health.failing.Add(-1) == 0 {
			h.cl.health.condition.Recovered("Log reads recovered")
		}
	}
}

// end stops counting a tail that is over while its log could not be read: it is not
// tried any more, which does not mean that it can be read again.
func (h *health) end() {
	if h.failing {
		h.failing = false
		h.failed.Store(nil)
		h.cl.health.failing.Add(-1)
	}
}

// currentError returns why the last read failed, "" where it did not.
func (h *health) currentError() string {
	if p := h.failed.Load(); p != nil {
		return *p
	}
	return ""
}

// endReasonByError names the ends that have an error of their own, endReasonByCode
// those of a call that failed. They are label values: what is in neither is "error".
var (
	endReasonByError = []struct {
		reason string
		err    error
	}{
		{"complete", errComplete}, {"limit", errLimited}, {"replaced", errReplaced}, {"closed", errClosed}, {"silent", errSilent},
		{"short_replay", errShortReplay}, {"run_ended", errRunEnded}, {"not_started", errNotStarted}, {"framing_changed", errFramingMismatch},
		{"unverified", errUnproven}, {"lost", errLost},
		{"no_slot", errNoSlot}, {"better_transport", errBetterTransport}, {"memory", writer.ErrMemoryPressure}, {"refused", ray.ErrTransportNotAllowed},
	}
	endReasonByCode = map[int]string{
		http.StatusUnauthorized: "unauthorized", http.StatusForbidden: "unauthorized", http.StatusNotFound: "not_found",
		http.StatusRequestTimeout: "timeout", http.StatusTooManyRequests: "too_many_requests",
		http.StatusServiceUnavailable: "connection", http.StatusNotImplemented: "unsupported",
	}
)

const endReasonOther = "error"

// endReason returns the label value for the end of a read.
func endReason(err error) string {
	for _, e := range endReasonByError {
		if errors.Is(err, e.err) {
			return e.reason
		}
	}
	if reason, ok := endReasonByCode[ray.Code(err)]; ok {
		return reason
	}
	return endReasonOther
}

// endReasons returns all values of endReason; some are in it twice.
func endReasons() []string {
	all := []string{endReasonOther}
	for _, e := range endReasonByError {
		all = append(all, e.reason)
	}
	for _, reason := range endReasonByCode {
		all = append(all, reason)
	}
	return all
}

// retryAfter returns how long the server asks clients to wait, 0 where it does not.
func RetryAfter(err error) time.Duration {
	var e *ray.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// maxShownError bounds what is shown of an error: thousands of tails can have one.
const maxShownError = 300

// shownError returns the start of an error's text, of whole characters.
func shownError(err error) string {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) <= maxShownError {
		return text
	}
	const more = "…"
	return strings.ToValidUTF8(text[:maxShownError-len(more)], "") + more
}
