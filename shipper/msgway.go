package shipper

import (
	"errors"
	"net/http"
	"time"

	"raytap/ray"
)

// messageLadder lists the ways of a protocol where logs are messages, the best
// one first. Once the run is over the whole log is: it tells the end, and gives
// all that is left.
func messageLadder(protocol string, over bool) []way {
	rungs := []way{wayWebSocket, waySSE}
	switch protocol {
	case ProtocolWebSocket:
		rungs = rungs[:1]
	case ProtocolHTTP:
		rungs = rungs[1:]
	}
	if over {
		return append([]way{wayWhole}, rungs...)
	}
	return append(rungs, wayWhole)
}

// messagesAble is able where logs are messages.
func (s *stream) messagesAble(w way, now time.Time) bool {
	return w == wayWhole || s.slots.free() && (w != wayWebSocket || !s.sh.upgradesRefused(now))
}

// messagesFailed reports whether an attempt failed in such a manner that the
// next way is tried at once. well tells that the agent answers.
func (s *stream) messagesFailed(w way, err error, well bool, now time.Time) bool {
	if !well {
		return false // no way is better
	}
	var e *ray.Error
	status, code := 0, 0
	if errors.As(err, &e) {
		status, code = e.Status, e.Code
	}
	refused := status != 0 && status != http.StatusSwitchingProtocols && !temporary(status)
	switch w {
	case wayWebSocket:
		if refused && status != http.StatusNotFound { // 404 may be about the job alone
			s.sh.refused.set(now)
		}
		return refused || code == http.StatusInternalServerError || code == http.StatusBadRequest
	case waySSE:
		return refused || code == http.StatusBadRequest || code == http.StatusInternalServerError && !s.grown
	case wayWhole:
		return errors.Is(err, errUnhelpful) || refused
	}
	return false
}

// noLog takes an attempt that failed while the agent answered, and reports
// whether the job ended without a log: it is over, nobody told where it ran, and
// the agent has no log of it, neither as a whole nor as a stream.
func (s *stream) noLog(w way, err error) bool {
	var e *ray.Error
	switch {
	case s.log.reached > 0 || !errors.As(err, &e):
	case e.Code == http.StatusNotFound, w != wayWhole && (e.Code == http.StatusInternalServerError || errors.Is(err, ray.ErrNoWebSocket)):
		s.absent[w] = true
	}
	return s.absent[wayWhole] && (s.absent[wayWebSocket] || s.absent[waySSE]) && s.log.reached == 0 &&
		s.due(time.Now()) && s.current().Status.Terminal() && s.current().DriverNodeID == ""
}

// temporary reports whether a status says that the same request may do later.
func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// mayHaveLog reports whether there may be something to read of a job. An agent
// need not tell where the driver runs.
func (s *stream) mayHaveLog(j *ray.Job) bool {
	return j.Status != ray.JobPending && j.Status != "SUBMITTED"
}

// finished reports whether the run's end is known.
func (s *stream) finished() bool {
	return s.current().Status.Terminal() || s.due(time.Now())
}

// missedForLong reports whether a job that an agent does not know was asked for so
// many times that the agent has had its time to find it again: it counts questions
// since a process that is stopped asks none.
func (s *stream) missedForLong() bool {
	if s.sh.messages == nil || s.current().Status.Terminal() {
		return true
	}
	return s.missed.Load() >= triesToLose
}

// lingers is how long after its end a run may still be printed to. A job that an
// agent does not know any more may be one that the agent has lost sight of.
func (s *stream) lingers() time.Duration {
	if s.sh.messages != nil && !s.current().Status.Terminal() {
		return s.sh.opts.EndTimeout
	}
	return s.sh.opts.Linger
}
