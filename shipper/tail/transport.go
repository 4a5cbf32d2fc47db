package tail

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"raytap/shipper/writer"

	"raytap/ray"
)

// transport is how a log is read.
type Transport int

const (
	None Transport = iota
	NodeAgent
	WebSocket
	File
	SSE      // of messages
	Snapshot // the whole log in one answer: of messages, and of Rays without a file API
	Count
)

// String returns the label value.
func (t Transport) String() string {
	return [...]string{"none", "node_agent", "websocket", "file", "sse", "snapshot"}[t]
}

const (
	// transportCooldown is how long a transport that failed is not used.
	transportCooldown = 5 * time.Minute
	// agentRecheckInterval is how often a tail on a WebSocket checks whether a node agent
	// can be used again.
	agentRecheckInterval = time.Minute
)

// transportState is how one transport works for one tail.
type transportState struct {
	until  time.Time // not used before
	fails  int       // ends in a row that brought nothing new
	lastAt uint64    // WebSocket: the content offset of the last end by a Close
	ends   int       // WebSocket: such ends in a row at lastAt
}

// closedAgain counts an end by a Close at a content offset.
func (s *transportState) closedAgain(at uint64) {
	if s.lastAt == at && s.ends > 0 {
		s.ends++
	} else {
		s.lastAt, s.ends = at, 1
	}
}

// conditions are what the choice of a transport depends on, besides how each has
// worked so far.
type conditions struct {
	protocol  string
	messages  bool // the log comes as messages
	terminal  bool // the run is over
	settled   bool // and a read that begins now finds all of the log
	home      bool // Ray does not report the log's node: it is known by its name alone
	support   ray.LogTransports
	tailable  bool   // the job can be tailed over a WebSocket at all
	slotFree  bool   // a WebSocket or SSE stream may be opened
	refused   bool   // the server refuses WebSocket upgrades
	content   uint64 // content bytes that a WebSocket would replay
	maxReplay int64
	poll      time.Duration // the pause while an end is not settled
	agent     func() bool   // whether the node agent may be tried: asking takes the turn
}

// selector decides over which transport a log is read. It is pure: what it knows comes
// with its calls. It is for one goroutine.
type selector struct {
	transports [Count]transportState
	textErr    error       // why the log cannot be had as text, now that its run is over; else nil
	absent     [Count]bool // of messages: transports over which the agent has no log
}

// plainID matches the ids that Ray's tail can serve: it opens others and stays silent,
// or closes at once.
var plainID = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)

// candidates lists the transports of the protocol, the best one first.
func (s *selector) candidates(c conditions) []Transport {
	if c.messages {
		return messageTransports(c.protocol, c.settled)
	}
	if c.home {
		return homeTransports(c.protocol, c.support)
	}
	return byteTransports(c.protocol, c.support, c.settled, s.textErr != nil)
}

// messageTransports lists the transports where logs are messages. Once the run is over
// the snapshot is the best one: it shows the end, and has all that is left.
func messageTransports(protocol string, settled bool) []Transport {
	list := []Transport{WebSocket, SSE}
	switch protocol {
	case ProtocolWebSocket:
		list = list[:1]
	case ProtocolHTTP:
		list = list[1:]
	}
	if settled {
		return append([]Transport{Snapshot}, list...)
	}
	return append(list, Snapshot)
}

// byteTransports lists the transports where logs are bytes, without those that this Ray
// lacks. Where it has no file API, the whole log as text is the last one, and the first
// one once the run is over: the end of a tail proves nothing. textless: the log cannot
// be had as text, now that the run is over.
func byteTransports(protocol string, w ray.LogTransports, settled, textless bool) []Transport {
	last := File
	if w.NoFile {
		last = Snapshot
	}
	tails := protocol != ProtocolHTTP && (protocol == ProtocolWebSocket || !w.TailsBlock)
	list := []Transport{NodeAgent}
	if protocol == ProtocolWebSocket {
		list = nil
	}
	switch {
	case w.NoFile && settled && tails && textless:
		return append(list, WebSocket)
	case w.NoFile && settled:
		return append(list, Snapshot)
	case protocol == ProtocolWebSocket:
		return append(list, WebSocket)
	case tails:
		return append(list, WebSocket, last)
	}
	return append(list, last)
}

// homeTransports lists the transports to a log that Ray does not report: those by its
// name.
func homeTransports(protocol string, w ray.LogTransports) []Transport {
	if w.NoFile {
		return []Transport{NodeAgent}
	}
	if protocol == ProtocolWebSocket {
		return []Transport{File}
	}
	return []Transport{NodeAgent, File}
}

// pick returns the best transport that may be used now, or transportNone and how long to
// wait for one.
func (s *selector) pick(c conditions, now time.Time) (Transport, time.Duration) {
	wait := transportCooldown
	list := s.candidates(c)
	if c.terminal && !c.settled {
		wait = c.poll
	}
	for _, t := range list {
		if left := s.transports[t].until.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		if s.usable(t, c) {
			return t, 0
		}
	}
	if c.messages || c.protocol == ProtocolAuto || c.protocol == ProtocolHTTP {
		return list[len(list)-1], 0 // the last one always works in some way
	}
	return None, wait
}

// usable reports whether a transport makes sense for the log at all, now.
func (s *selector) usable(t Transport, c conditions) bool {
	switch {
	case c.messages:
		return t == Snapshot || c.slotFree && (t != WebSocket || !c.refused)
	case t == NodeAgent:
		return c.agent()
	case t == WebSocket:
		return s.webSocketUsable(c)
	}
	return true
}

func (s *selector) webSocketUsable(c conditions) bool {
	if c.home || !c.tailable {
		return false
	}
	if c.terminal && !c.settled {
		return false // each would be a replay of a log that may still grow
	}
	if c.protocol == ProtocolWebSocket {
		return true
	}
	if c.terminal {
		return s.textErr != nil // its Close would prove nothing, and another transport reads the end
	}
	if c.refused || !c.slotFree {
		return false
	}
	st := &s.transports[WebSocket]
	return c.content <= uint64(c.maxReplay) && !(st.ends >= 2 && st.lastAt == c.content)
}

// better returns the transports above t that can be used again. What works is not
// given up for a mere try: the caller checks that a node agent answers.
func (s *selector) better(t Transport, c conditions, now time.Time, answers func(Transport) bool) bool {
	for _, b := range s.candidates(c) {
		if b == t {
			return false
		}
		if !s.transports[b].until.After(now) && s.usable(b, c) && answers(b) {
			return true
		}
	}
	return false
}

// result is how a read ended.
type result struct {
	err       error
	grew      bool   // it brought new content
	reachable bool   // the cluster answered a question after it
	content   uint64 // the position's content offset
}

// verdict is what a read's end means for the choice of transports, and for others.
type verdict struct {
	fellBack  bool // the tail left the transport: the next one is tried without a pause
	cooldown  bool // and does not use it for a while
	agentDown bool // the node agent cannot be used, by any job
	refused   bool // the server refuses WebSocket upgrades, of any job
}

// record notes how a read over t ended.
func (s *selector) record(t Transport, r result, c conditions, now time.Time) (v verdict) {
	st := &s.transports[t]
	if r.grew {
		st.fails = 0
	}
	list := s.candidates(c)
	last := t == list[len(list)-1]
	leave := func(d time.Duration) {
		if last {
			return // there is none below it
		}
		st.until, st.fails = now.Add(d), 0
		v.fellBack, v.cooldown = true, true
	}
	if t == WebSocket && (errors.Is(r.err, errClosed) || errors.Is(r.err, errUnreadable)) {
		st.closedAgain(r.content)
	}
	switch {
	case errors.Is(r.err, errBetterTransport), errors.Is(r.err, errReplaced), errors.Is(r.err, errRunEnded):
		v.fellBack = true
		return v
	case errors.Is(r.err, writer.ErrMemoryPressure), errors.Is(r.err, errFramingMismatch):
		return v
	case errors.Is(r.err, errNoSlot):
		v.fellBack = !last // usable reports when one is free
		return v
	case c.messages:
		failed, refused := messagesFailed(t, r)
		v.refused = refused
		if failed {
			leave(transportCooldown)
			return v
		}
	}
	switch code := ray.Code(r.err); {
	case errors.Is(r.err, errAgentDown):
		leave(0)
		return v
	case t == NodeAgent && (errors.Is(r.err, ray.ErrTokenWithheld) || rejectsAllJobs(r.err) || r.reachable && !r.grew && unreachable(code)):
		v.agentDown = true
		leave(0)
		return v
	case code == http.StatusNotImplemented:
		leave(transportCooldown)
		return v
	case t == WebSocket && r.reachable && refusesUpgrades(r.err):
		v.refused = true
	}
	if r.reachable && !r.grew {
		if st.fails++; st.fails >= 2 {
			leave(transportCooldown)
		}
	}
	return v
}

// messagesFailed reports whether a read of messages failed in such a manner that the
// next transport is tried at once, and whether the server refused a WebSocket upgrade.
func messagesFailed(t Transport, r result) (failed, upgradeRefused bool) {
	if !r.reachable {
		return false, false // no transport is better
	}
	var e *ray.Error
	status, code := 0, 0
	if errors.As(r.err, &e) {
		status, code = e.Status, e.Code
	}
	refused := status != 0 && status != http.StatusSwitchingProtocols && !temporary(status)
	switch t {
	case WebSocket:
		// 404 may be about the job alone.
		return refused || code == http.StatusInternalServerError || code == http.StatusBadRequest, refused && status != http.StatusNotFound
	case SSE:
		return refused || code == http.StatusBadRequest || code == http.StatusInternalServerError && !r.grew, false
	case Snapshot:
		return errors.Is(r.err, errSnapshotIncomplete) || refused, false
	}
	return false, false
}

// noLog takes a read of messages that failed while the agent answered, and reports
// whether the agent has said that there is no log: neither a snapshot nor a stream.
func (s *selector) noLog(t Transport, err error, reached uint64) bool {
	var e *ray.Error
	switch {
	case reached > 0 || !errors.As(err, &e):
	case e.Code == http.StatusNotFound, t != Snapshot && (e.Code == http.StatusInternalServerError || errors.Is(err, ray.ErrNoWebSocket)):
		s.absent[t] = true
	}
	return s.absent[Snapshot] && (s.absent[WebSocket] || s.absent[SSE]) && reached == 0
}

// notTried reports whether a read ended without an answer of the cluster, so that its
// end is no question and no failure.
func notTried(err error) bool {
	return errors.Is(err, errNoSlot) || errors.Is(err, errBetterTransport) || errors.Is(err, ray.ErrTransportNotAllowed)
}

// unreachable reports whether a code says that no connection came about.
func unreachable(code int) bool {
	return code == http.StatusServiceUnavailable || code == http.StatusRequestTimeout
}

// rejectsAllJobs reports whether an agent's error is about all the jobs of its node: it
// must not be used, or rejects the client.
func rejectsAllJobs(err error) bool {
	code := ray.Code(err)
	return errors.Is(err, ray.ErrTransportNotAllowed) || code == http.StatusUnauthorized || code == http.StatusForbidden
}

// refusesUpgrades reports whether a failed dial shows that this server opens no WebSocket
// at all, whatever the job.
func refusesUpgrades(err error) bool {
	var e *ray.Error
	return errors.As(err, &e) && e.Status != 0 && e.Status != http.StatusSwitchingProtocols &&
		e.Status != http.StatusNotFound && !temporary(e.Status)
}

// errAgentDown ends the read of a tail that waited for a node agent while another tail
// found out that it cannot be used.
var errAgentDown = fmt.Errorf("the node agent failed a moment ago: %w", ray.ErrTransportNotAllowed)

// temporary reports whether a status says that the same request may succeed later.
func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
