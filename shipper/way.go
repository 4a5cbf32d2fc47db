package shipper

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"sync"
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
	wayWhole // of messages: the whole log as one answer
	ways
)

func (w way) String() string {
	return [...]string{"none", "agent", "websocket", "file", "sse", "whole"}[w]
}

// ladder lists the ways of the stream's protocol, the best one first.
func (s *stream) ladder(now time.Time) []way {
	if s.sh.messages != nil {
		return messageLadder(s.sh.opts.Protocol, s.due(now))
	}
	switch s.sh.opts.Protocol {
	case ProtocolWebSocket:
		return []way{wayWebSocket}
	case ProtocolHTTP:
		return []way{wayAgent, wayFile}
	}
	return []way{wayAgent, wayWebSocket, wayFile}
}

const (
	// stepDown is how long a way that failed is left alone.
	stepDown = 5 * time.Minute
	// stepSlot is how long a stream that found no WebSocket slot reads otherwise.
	stepSlot = time.Minute
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
		return j.DriverAgentURL != "" && !s.sh.hosts.down(j.DriverAgentURL, now)
	case wayWebSocket:
		if !plainID.MatchString(j.SubmissionID) || j.Status == ray.JobPending {
			return false
		}
		if s.sh.opts.Protocol == ProtocolWebSocket {
			return true
		}
		if s.terminalAt.Load() != 0 && !s.sh.noFile.Load() {
			return false // its Close would prove nothing, and another way reads the end
		}
		st := &s.ways[w]
		return s.log.pos.content <= uint64(s.sh.opts.MaxReplay) &&
			!(st.ends >= 2 && st.lastAt == s.log.pos.content)
	}
	return true
}

// better reports whether a way above w may be tried again.
func (s *stream) better(w way, now time.Time) bool {
	for _, b := range s.ladder(now) {
		if b == w {
			return false
		}
		if !s.ways[b].until.After(now) && s.able(b, now) {
			return true
		}
	}
	return false
}

// judge notes how an attempt by way w ended, and reports whether the stream
// stepped off it, so that the next way is tried without waiting.
func (s *stream) judge(w way, err error, grew, well bool, now time.Time) bool {
	st := &s.ways[w]
	if grew {
		st.fails = 0
	}
	leave := func(d time.Duration) bool {
		if rungs := s.ladder(now); w == rungs[len(rungs)-1] {
			return false // there is no way below it
		}
		st.until, st.fails = now.Add(d), 0
		s.sh.metrics.steps.WithLabelValues(s.sh.opts.Cluster, w.String()).Inc()
		s.logger().WithField("way", w.String()).WithError(err).Debug("Reading this log another way for a while")
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
		return leave(stepSlot)
	case errors.Is(err, ray.ErrWayRefused):
		return leave(stepDown)
	case s.sh.messages != nil && s.messagesFailed(w, err, well, now):
		return leave(stepDown)
	}
	switch code := ray.Code(err); {
	case code == http.StatusNotImplemented:
		return leave(stepDown)
	case w == wayAgent && (code == http.StatusUnauthorized || code == http.StatusForbidden):
		return leave(stepDown)
	case w == wayAgent && well && !grew && unreachable(code):
		s.sh.hosts.markDown(s.current().DriverAgentURL, now)
		return leave(stepDown)
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

// hosts remembers the node agents that could not be reached, so that not each
// of their jobs finds it out by a timeout. It is safe for concurrent use.
type hosts struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (h *hosts) down(agent string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.until[agentHost(agent)].After(now)
}

func (h *hosts) markDown(agent string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for host, t := range h.until {
		if !t.After(now) {
			delete(h.until, host) // so that the map is bounded by the nodes of five minutes
		}
	}
	h.until[agentHost(agent)] = now.Add(stepDown)
}

func agentHost(agent string) string {
	if u, err := url.Parse(agent); err == nil {
		return u.Host
	}
	return agent
}
