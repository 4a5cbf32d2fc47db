package tail

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/clock"
	"raytap/shipper/writer"

	"raytap/ray"
)

// Transport is how a log is read.
type Transport int

// The transports. Count is their number.
const (
	None      Transport = iota // none is in use
	NodeAgent                  // ranges of the file, from the agent of the log's node
	WebSocket                  // a stream that replays the log from its start
	File                       // the dashboard's file API: the last lines of the file
	SSE                        // a stream like WebSocket; only of messages
	Snapshot                   // the whole log in one response: of messages, and of Rays without a file API
	Count
)

// String returns the label value.
func (t Transport) String() string {
	return [...]string{"none", "node_agent", "websocket", "file", "sse", "snapshot"}[t]
}

const (
	// transportCooldown is how long a transport that failed is not used.
	transportCooldown = 5 * time.Minute
	// agentRecheckInterval is how often a tail on a WebSocket checks whether the node agent
	// can be used again.
	agentRecheckInterval = time.Minute
)

// transportState is what is remembered about one transport of one tail.
type transportState struct {
	until  time.Time // it is not used before
	fails  int       // reads in a row without new content
	lastAt uint64    // content offset at which the server last closed a stream
	ends   int       // how many times in a row it did so at lastAt
}

// closedAgain counts that the server has closed a stream at a content offset.
func (s *transportState) closedAgain(at uint64) {
	if s.lastAt == at && s.ends > 0 {
		s.ends++
	} else {
		s.lastAt, s.ends = at, 1
	}
}

// conditions are what the selection of a transport depends on, in addition to the
// selector's state.
type conditions struct {
	protocol  string
	messages  bool // the log is read as messages
	terminal  bool // the run is over
	settled   bool // and a read that begins now returns the whole log
	found     bool // Ray does not report the log's node: the log was found by its name
	support   ray.LogTransports
	tailable  bool   // Ray can tail the job over a WebSocket
	slotFree  bool   // a WebSocket or SSE stream may be opened
	refused   bool   // the server refuses WebSocket upgrades
	content   uint64 // content bytes that a WebSocket would replay
	maxReplay int64
	poll      time.Duration // the pause until the end is settled
	agent     func() bool   // whether the node agent may be tried; true also reserves the try
}

// selector selects the transport of a tail. It does no I/O: all that it knows is passed to
// its methods. Not safe for concurrent use.
type selector struct {
	transports [Count]transportState
	textErr    error       // why the log of an ended run cannot be read as text, else nil
	absent     [Count]bool // transports of messages over which the agent has reported no log
}

// plainID matches the ids that Ray can tail. With others Ray opens a WebSocket that stays
// silent, or closes it at once.
var plainID = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)

// candidates returns the transports of the protocol, the best one first.
func (s *selector) candidates(c conditions) []Transport {
	if c.messages {
		return messageTransports(c.protocol, c.settled)
	}
	if c.found {
		return foundLogTransports(c.protocol, c.support)
	}
	return byteTransports(c.protocol, c.support, c.settled, s.textErr != nil)
}

// messageTransports returns the transports of messages. Once the run is over the snapshot
// is the best one: it has the rest of the log and shows where it ends.
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

// byteTransports returns the transports of bytes that this Ray supports. Without a file API
// the snapshot (the whole log as text) replaces the file; once the run is over it also
// replaces the WebSocket, whose end does not prove that the log was complete. textless: the
// log cannot be read as text.
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

// foundLogTransports returns the transports to a log whose node Ray does not report: those
// that select a log by its name.
func foundLogTransports(protocol string, w ray.LogTransports) []Transport {
	if w.NoFile {
		return []Transport{NodeAgent}
	}
	if protocol == ProtocolWebSocket {
		return []Transport{File}
	}
	return []Transport{NodeAgent, File}
}

// pick returns the best transport that may be used now, or None and how long to wait.
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
		return list[len(list)-1], 0 // the last one needs neither a slot nor an agent
	}
	return None, wait
}

// usable reports whether the conditions allow a transport.
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
	if c.found || !c.tailable {
		return false
	}
	if c.terminal && !c.settled {
		return false // it would replay a log that may still grow
	}
	if c.protocol == ProtocolWebSocket {
		return true
	}
	if c.terminal {
		return s.textErr != nil // else a better transport reads the end
	}
	if c.refused || !c.slotFree {
		return false
	}
	st := &s.transports[WebSocket]
	return c.content <= uint64(c.maxReplay) && !(st.ends >= 2 && st.lastAt == c.content)
}

// betterAvailable reports whether a transport better than t can be used again. answers checks that
// it works, so that a working transport is not given up for one that may fail.
func (s *selector) betterAvailable(t Transport, c conditions, now time.Time, answers func(Transport) bool) bool {
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
	grew      bool   // it returned new content
	reachable bool   // the cluster has answered a request since
	content   uint64 // the position's content offset
}

// verdict is what the end of a read means for the next ones, and for other tails.
type verdict struct {
	fellBack  bool // another transport is tried, without a pause
	cooldown  bool // this one is not used for a while
	agentDown bool // the node agent cannot be used, for any job
	refused   bool // the server refuses WebSocket upgrades, for any job
}

// record updates the state of t with the result of a read.
func (s *selector) record(t Transport, r result, c conditions, now time.Time) (v verdict) {
	st := &s.transports[t]
	if r.grew {
		st.fails = 0
	}
	list := s.candidates(c)
	last := t == list[len(list)-1]
	leave := func(d time.Duration) {
		if last {
			return // there is none to fall back to
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
		v.fellBack = !last // usable checks for a free slot
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

// messagesFailed reports whether the failure of a read of messages means that another
// transport is to be used, and whether the server refused a WebSocket upgrade.
func messagesFailed(t Transport, r result) (failed, upgradeRefused bool) {
	if !r.reachable {
		return false, false // another transport would fail, too
	}
	var e *ray.Error
	status, code := 0, 0
	if errors.As(r.err, &e) {
		status, code = e.Status, e.Code
	}
	refused := status != 0 && status != http.StatusSwitchingProtocols && !temporary(status)
	switch t {
	case WebSocket:
		// 404 may be about this job only.
		return refused || code == http.StatusInternalServerError || code == http.StatusBadRequest, refused && status != http.StatusNotFound
	case SSE:
		return refused || code == http.StatusBadRequest || code == http.StatusInternalServerError && !r.grew, false
	case Snapshot:
		return errors.Is(r.err, errSnapshotIncomplete) || refused, false
	}
	return false, false
}

// noLog records a failed read of messages, and reports whether the agent has responded
// that there is no log, both to a snapshot and to a stream.
func (s *selector) noLog(t Transport, err error, reached uint64) bool {
	var e *ray.Error
	switch {
	case reached > 0 || !errors.As(err, &e):
	case e.Code == http.StatusNotFound, t != Snapshot && (e.Code == http.StatusInternalServerError || errors.Is(err, ray.ErrNoWebSocket)):
		s.absent[t] = true
	}
	return s.absent[Snapshot] && (s.absent[WebSocket] || s.absent[SSE]) && reached == 0
}

// notTried reports whether a read ended without a request, so that it says nothing about
// the job or the cluster.
func notTried(err error) bool {
	return errors.Is(err, errNoSlot) || errors.Is(err, errBetterTransport) || errors.Is(err, ray.ErrTransportNotAllowed)
}

// unreachable reports whether a code means that no connection was made.
func unreachable(code int) bool {
	return code == http.StatusServiceUnavailable || code == http.StatusRequestTimeout
}

// rejectsAllJobs reports whether a node agent's error applies to all jobs of its node: the
// agent must not be used, or it rejects the client.
func rejectsAllJobs(err error) bool {
	code := ray.Code(err)
	return errors.Is(err, ray.ErrTransportNotAllowed) || code == http.StatusUnauthorized || code == http.StatusForbidden
}

// refusesUpgrades reports whether the error of a dial means that the server opens no
// WebSocket for any job.
func refusesUpgrades(err error) bool {
	var e *ray.Error
	return errors.As(err, &e) && e.Status != 0 && e.Status != http.StatusSwitchingProtocols &&
		e.Status != http.StatusNotFound && !temporary(e.Status)
}

// errAgentDown ends the read of a tail that waited for a node agent, if another tail has
// found meanwhile that the agent cannot be used.
var errAgentDown = fmt.Errorf("the node agent failed a moment ago: %w", ray.ErrTransportNotAllowed)

// temporary reports whether a request that failed with a status may succeed later.
func temporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// doubtReplaced reports whether a log that looks replaced over a transport which shows only
// the current file may have been rotated: then it waits for the node agent, which shows the
// older ones, for at most LostAfter.
func (t *Tail) doubtReplaced(ctx context.Context, r *retry, tr Transport, err error) (pause time.Duration, wait bool) {
	if t.cl.messages != nil || t.p.log.Unverified {
		return 0, false
	}
	answer := t.askAgent(ctx)
	switch {
	case ctx.Err() != nil, answer == nil:
		t.cl.agents.markUp(t.job.current().DriverAgentURL)
		t.selector.transports[NodeAgent] = transportState{}
		r.doubt = clock.AwakeTime{}
		return 0, true // it is read over the agent now
	case rejectsAllJobs(answer):
		return 0, false // it is not used
	case ray.Code(answer) == http.StatusNotFound: // the current file, which may be on its way to another name
		t.selector.transports[NodeAgent] = transportState{}
	}
	now := time.Now()
	if r.doubt.Last.IsZero() {
		r.doubt.Last = now
		t.job.logger().WithField("transport", tr.String()).WithError(err).Warn("Log was replaced or rotated, waiting for its node agent")
	} else {
		r.doubt.Step(now, r.doubtPause+t.cl.opts.Timeout)
	}
	r.doubtPause = r.backoff.NextBackOff()
	return r.doubtPause, r.doubt.Sum < t.cl.opts.LostAfter
}

// firstReadWait is how long a log waits for its node agent before it is first read over a
// transport that shows only the current file.
const firstReadWait = 10 * time.Second

// waitForAgent reports whether the first read of a log waits for its node agent, which fails
// for the moment, and for how long: it may have been rotated before, and only the agent shows
// the older files. An agent that never answers is waited for once.
//
//go:noinline // follow waits
func (t *Tail) waitForAgent(ctx context.Context, r *retry, tr Transport) (pause time.Duration, wait bool) {
	log, agent := t.p.log, t.job.current().DriverAgentURL
	if tr == None || tr == NodeAgent || t.cl.messages != nil || t.cl.opts.Protocol == ProtocolWebSocket || agent == "" ||
		log.Epoch > 0 || log.Pos.Content > 0 || log.Pos.Lines > 0 || log.Gen != (checkpoint.Generation{}) || t.cl.agents.isSilent(agent) {
		return 0, false
	}
	answer := t.askAgent(ctx)
	switch {
	case ctx.Err() != nil, answer == nil:
		t.cl.agents.markUp(agent)
		t.selector.transports[NodeAgent] = transportState{}
		return 0, true // it is read over the agent now
	case rejectsAllJobs(answer), ray.Code(answer) == http.StatusNotFound:
		return 0, false
	}
	now := time.Now()
	if r.first.Last.IsZero() {
		r.first.Last = now
	} else {
		r.first.Step(now, r.firstPause+t.cl.opts.Timeout)
	}
	r.firstPause = r.backoff.NextBackOff()
	if r.first.Sum < min(t.cl.opts.LostAfter, firstReadWait) {
		return r.firstPause, true
	}
	t.cl.agents.markSilent(agent)
	return 0, false
}
