package shipper

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"raytap/ray"
)

// way is a way to read a log.
type way int

const (
	wayNone way = iota
	wayAgent
	wayWebSocket
	wayFile
	waySSE   // of messages
	wayWhole // the whole log as one answer: of messages, and of Rays that give no files
	ways
)

func (w way) String() string {
	return [...]string{"none", "node_agent", "websocket", "file", "sse", "snapshot"}[w]
}

// ladder lists the ways of the stream's protocol, the best one first.
func (s *stream) ladder(now time.Time) []way {
	if s.sh.messages != nil {
		return messageLadder(s.sh.opts.Protocol, s.due(now))
	}
	if s.home.Load() != nil {
		return s.homeLadder(now)
	}
	return byteLadder(s.sh.opts.Protocol, s.sh.logWays(now), s.due(now), s.textless != nil)
}

const (
	// stepDown is how long a way that failed is left alone.
	stepDown = 5 * time.Minute
	// agentLook is how often a stream on a WebSocket looks whether an agent may be
	// had again.
	agentLook = time.Minute
)

// wayState is how one way fares with one stream.
type wayState struct {
	until  time.Time // not tried before
	fails  int       // ends in a row that brought nothing new
	lastAt uint64    // WebSocket: the content offset of the last end by a Close
	ends   int       // WebSocket: such ends in a row at lastAt
}

// plainID matches the ids that Ray's tail can serve: it opens others and stays
// silent, or closes at once.
var plainID = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)

// choose picks the best way that may be tried now, or wayNone and how long to
// wait for one.
func (s *stream) choose(now time.Time) (way, time.Duration) {
	wait := stepDown
	rungs := s.ladder(now)
	if s.terminalAt.isSet() && !s.due(now) {
		wait = s.sh.opts.PollInterval
	}
	for _, w := range rungs {
		if left := s.ways[w].until.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		if s.able(w, now) {
			return w, 0
		}
	}
	if s.sh.messages != nil || s.sh.opts.Protocol == ProtocolAuto || s.sh.opts.Protocol == ProtocolHTTP {
		return rungs[len(rungs)-1], 0 // the last rung always bears
	}
	return wayNone, wait
}

// able reports whether a way makes sense for the stream at all, now.
func (s *stream) able(w way, now time.Time) bool {
	if s.sh.messages != nil {
		return s.messagesAble(w, now)
	}
	j := s.current()
	switch w {
	case wayAgent:
		return j.DriverAgentURL != "" && s.sh.hosts.mayTry(j.DriverAgentURL, now)
	case wayWebSocket:
		if s.home.Load() != nil || !plainID.MatchString(j.SubmissionID) || j.Status == ray.JobPending {
			return false
		}
		over := s.terminalAt.isSet()
		if over && !s.due(now) {
			return false // each would be a replay of a log that may still grow
		}
		if s.sh.opts.Protocol == ProtocolWebSocket {
			return true
		}
		if over {
			return s.textless != nil // its Close would prove nothing, and another way reads the end
		}
		if s.sh.upgradesRefused(now) || !s.slots.free() {
			return false
		}
		st := &s.ways[w]
		return s.log.pos.content <= uint64(s.sh.opts.MaxReplay) &&
			!(st.ends >= 2 && st.lastAt == s.log.pos.content)
	}
	return true
}

// better reports whether a way above w can be had again. What goes well is not
// given up for a mere try: a slot must be free, and an agent must answer.
func (s *stream) better(ctx context.Context, w way) bool {
	now := time.Now()
	for _, b := range s.ladder(now) {
		if b == w {
			return false
		}
		if !s.ways[b].until.After(now) && s.able(b, now) && (b != wayAgent || s.agentAnswers(ctx)) {
			return true
		}
	}
	return false
}

// unasked reports whether an attempt ended without a word from the cluster, so
// that its end is no question and no failure.
func unasked(err error) bool {
	return errors.Is(err, errNoSlot) || errors.Is(err, errBetter) || errors.Is(err, ray.ErrTransportNotAllowed)
}

// judge notes how an attempt by way w ended, and reports whether the stream
// stepped off it, so that the next way is tried without waiting.
func (s *stream) judge(w way, err error, grew, well bool, now time.Time) bool {
	st := &s.ways[w]
	if grew {
		st.fails = 0
	}
	rungs := s.ladder(now)
	last := w == rungs[len(rungs)-1]
	leave := func(d time.Duration) bool {
		if last {
			return false // there is no way below it
		}
		st.until, st.fails = now.Add(d), 0
		s.sh.metrics.steps.WithLabelValues(s.sh.opts.Cluster, w.String()).Inc()
		s.logger().WithField("transport", w.String()).WithError(err).Debug("Reading this log another way for a while")
		return true
	}
	if w == wayWebSocket && (errors.Is(err, errEnded) || errors.Is(err, errUnpassable)) {
		if st.lastAt == s.log.pos.content && st.ends > 0 {
			st.ends++
		} else {
			st.lastAt, st.ends = s.log.pos.content, 1
		}
	}
	switch {
	case errors.Is(err, errBetter), errors.Is(err, errReplaced), errors.Is(err, errOver):
		return true
	case errors.Is(err, errGiveUp), errors.Is(err, errBelied):
		return false
	case errors.Is(err, errNoSlot):
		return !last // able tells when one is free
	case s.sh.messages != nil && s.messagesFailed(w, err, well, now):
		return leave(stepDown)
	}
	switch code := ray.Code(err); {
	case errors.Is(err, errAgentDown):
		return leave(0)
	case w == wayAgent && errors.Is(err, ray.ErrTokenWithheld):
		s.sh.warnOnce("token", "Logs are not read from node agents, but through the head: "+shownError(err))
		s.sh.hosts.markDown(s.current().DriverAgentURL, err, now)
		return leave(0)
	case w == wayAgent && (shutsOut(err) || well && !grew && unreachable(code)):
		s.sh.hosts.markDown(s.current().DriverAgentURL, err, now)
		return leave(0)
	case code == http.StatusNotImplemented:
		return leave(stepDown)
	case w == wayWebSocket && well && refusesUpgrades(err):
		s.sh.refused.set(now)
	}
	if well && !grew {
		if st.fails++; st.fails >= 2 {
			return leave(stepDown)
		}
	}
	return false
}

// unreachable reports whether a code says that no connection came about.
func unreachable(code int) bool {
	return code == http.StatusServiceUnavailable || code == http.StatusRequestTimeout
}

// shutsOut reports whether an agent's error is about all the jobs of its node: it
// must not be asked, or does not want to be.
func shutsOut(err error) bool {
	code := ray.Code(err)
	return errors.Is(err, ray.ErrTransportNotAllowed) || code == http.StatusUnauthorized || code == http.StatusForbidden
}

// refusesUpgrades reports whether a failed dial says that no WebSocket can be had
// of this server at all, whatever the job.
func refusesUpgrades(err error) bool {
	var e *ray.Error
	return errors.As(err, &e) && e.Status != 0 && e.Status != http.StatusSwitchingProtocols &&
		e.Status != http.StatusNotFound && !temporary(e.Status)
}

// upgradesRefused reports whether the server has refused a WebSocket lately.
func (s *Shipper) upgradesRefused(now time.Time) bool {
	return s.refused.isSet() && now.Sub(s.refused.get()) < stepDown
}

// errAgentDown is errors of a stream that waited to read from an agent while
// another one found out that it cannot be read from.
var errAgentDown = fmt.Errorf("the node's agent could not be used a moment ago: %w", ray.ErrTransportNotAllowed)
