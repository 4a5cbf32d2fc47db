package tail

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"raytap/shipper/clock"
	"raytap/shipper/writer"

	"github.com/cenkalti/backoff/v4"

	"raytap/ray"
)

// health is the status of one tail's reads. lastRead and currentError are safe for
// concurrent use; the rest is for the tail's goroutine.
type health struct {
	cl       *Cluster
	lastRead clock.Moment           // the last successful read
	failing  bool                   // the last read failed
	failed   atomic.Pointer[string] // why; nil if it did not fail
}

// failure records and logs a failed read, at a limited rate for all tails together. It
// ignores errors that are usual ends of a read.
func (h *health) failure(t Transport, err error) {
	for _, usual := range []error{errComplete, errNotStarted, errUnverified, errLost, errLimited, errReplaced, errFramingMismatch, errClosed, errRunEnded, errNoSlot, errBetterTransport, writer.ErrMemoryPressure, ray.ErrTransportNotAllowed, writer.ErrClosed} {
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

// success records a successful read.
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

// end stops counting the tail as failing, without reporting a recovery: it is over.
func (h *health) end() {
	if h.failing {
		h.failing = false
		h.failed.Store(nil)
		h.cl.health.failing.Add(-1)
	}
}

// currentError returns why the last read failed, "" if it did not.
func (h *health) currentError() string {
	if p := h.failed.Load(); p != nil {
		return *p
	}
	return ""
}

// endReasonByError are the label values of ends with an error of their own, endReasonByCode
// those of failed requests. Others are endReasonOther.
var (
	endReasonByError = []struct {
		reason string
		err    error
	}{
		{"complete", errComplete}, {"limit", errLimited}, {"replaced", errReplaced}, {"closed", errClosed}, {"silent", errSilent},
		{"short_replay", errShortReplay}, {"run_ended", errRunEnded}, {"not_started", errNotStarted}, {"framing_changed", errFramingMismatch},
		{"unverified", errUnverified}, {"lost", errLost},
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

// endReasons returns all values of endReason; it has duplicates.
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

// maxShownError is the maximum size of a shown error in bytes: thousands of tails can have
// one.
const maxShownError = 300

// shownError returns the start of an error's text, without a partial character.
func shownError(err error) string {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) <= maxShownError {
		return text
	}
	const more = "…"
	return strings.ToValidUTF8(text[:maxShownError-len(more)], "") + more
}

// agentHealth is a circuit breaker: it remembers which node agents cannot be used, so that
// not each of their jobs has to try. Safe for concurrent use.
type agentHealth struct {
	mu     sync.Mutex
	down   map[string]downAgent // by host and port
	silent map[string]bool      // by host and port: a log that was not read yet has waited in vain
}

// downAgent is an agent that could not be used.
type downAgent struct {
	until  time.Time // it is not tried before
	reason string    // one of refusals, or refusalDenied; "" if it is unreachable
}

// refusals are why an agent is not used although it may be reachable, by their label values.
var refusals = []struct {
	reason string
	err    error
}{
	{"token", ray.ErrTokenWithheld},
	{"not_allowed", ray.ErrAgentNotAllowed},
	{"not_live", ray.ErrAgentNotAlive},
	{"address", ray.ErrAgentAddress},
	{"off", ray.ErrAgentsDisabled},
}

// refusalDenied is the label value for an agent that responds with 401 or 403.
const refusalDenied = "denied"

// refusalOf returns the label value for an agent's error, "" if it is not a refusal.
func refusalOf(err error) string {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	if code := ray.Code(err); code == http.StatusUnauthorized || code == http.StatusForbidden {
		return refusalDenied
	}
	return ""
}

// allow reports whether an agent may be tried. For an agent that is down it returns true
// once in each transportCooldown, until the agent has answered.
func (h *agentHealth) allow(agent string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	host := agentHost(agent)
	agentDown, known := h.down[host]
	if agentDown.until.After(now) {
		return false
	}
	if known {
		agentDown.until = now.Add(transportCooldown)
		h.down[host] = agentDown
	}
	return true
}

// generation returns a value that changes when the agent is marked as down.
func (h *agentHealth) generation(agent string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down[agentHost(agent)].until
}

// markDown records that an agent is not to be used for transportCooldown; err is why.
func (h *agentHealth) markDown(agent string, err error, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(now)
	host := agentHost(agent)
	d := h.down[host]
	if d.reason = refusalOf(err); !d.until.After(now) {
		d.until = now.Add(transportCooldown)
	}
	h.down[host] = d
}

// forget removes the agents that no tail has tried for some time. h.mu is held.
func (h *agentHealth) forget(now time.Time) {
	for host, d := range h.down {
		if now.Sub(d.until) > transportCooldown {
			delete(h.down, host)
		}
	}
}

// refused returns how many agents are not used, by reason. An agent that no job needs any
// more is counted for ten minutes at most.
func (h *agentHealth) refused(now time.Time) map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forget(now)
	counts := map[string]int{}
	for _, d := range h.down {
		if d.reason != "" {
			counts[d.reason]++
		}
	}
	return counts
}

// markUp records that an agent has answered.
func (h *agentHealth) markUp(agent string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.down, agentHost(agent))
	delete(h.silent, agentHost(agent))
}

// markSilent records that no log waits for an agent until it has answered.
func (h *agentHealth) markSilent(agent string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.silent == nil {
		h.silent = map[string]bool{}
	}
	h.silent[agentHost(agent)] = true
}

func (h *agentHealth) isSilent(agent string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.silent[agentHost(agent)]
}

func agentHost(agent string) string {
	if u, err := url.Parse(agent); err == nil {
		return u.Host
	}
	return agent
}

// RefusedAgents returns how many node agents are not used, by reason.
func (c *Cluster) RefusedAgents(now time.Time) map[string]int { return c.agents.refused(now) }

// recordResult passes the result of a read to the selector, and reports whether the next
// transport is tried without a pause.
func (t *Tail) recordResult(tr Transport, err error, reachable bool) bool {
	now := time.Now()
	v := t.selector.record(tr, result{err: err, grew: t.p.progress.grew, reachable: reachable, content: t.p.log.Pos.Content}, t.conditions(now), now)
	if v.refused {
		t.cl.refusals.Note(now)
	}
	if v.agentDown {
		if errors.Is(err, ray.ErrTokenWithheld) {
			t.cl.warnOnce("token", "Node agents are not used, logs are read through the head", err)
		}
		t.cl.agents.markDown(t.job.current().DriverAgentURL, err, now)
	}
	if v.cooldown {
		t.cl.Metrics.Fallbacks(tr.String()).Inc()
		t.job.logger().WithField("transport", tr.String()).WithError(err).Debug("Falling back to another transport for a while")
	}
	return v.fellBack
}

// retry is when the next read of a tail is due, and when its log is lost.
type retry struct {
	backoff *backoff.ExponentialBackOff
	max     time.Duration
	lost    lostWatch
	// doubt is how long no node agent has answered whether the log was replaced.
	doubt      clock.AwakeTime
	doubtPause time.Duration
	// first is how long the first read has waited for the node agent.
	first      clock.AwakeTime
	firstPause time.Duration
}

func newRetry(o *Options) *retry {
	return &retry{max: o.Backoff.Max, backoff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(o.Backoff.Initial),
		backoff.WithMaxInterval(o.Backoff.Max),
		backoff.WithMaxElapsedTime(0), // never stop
	)}
}

// slotPause returns how long to wait before the next check for a free slot.
func (r *retry) slotPause() time.Duration { return r.max/2 + rand.N(r.max) }

// endsTail reports whether a read's error ends the tail.
func endsTail(err error) bool {
	for _, last := range []error{errComplete, errNotStarted, errUnverified, errLost, errLimited, writer.ErrClosed} {
		if errors.Is(err, last) {
			return true
		}
	}
	return false
}

// triesToLose is how many reads in a row have to fail, within the configured time, before a
// log is lost.
const triesToLose = 5

// lostWatch decides when a log is lost. It counts the time in which raytap tried to read it,
// not the time that passed: a process that was stopped has tried nothing.
type lostWatch struct {
	fails   int             // failed reads in a row
	read    time.Time       // the last successful read
	failing clock.AwakeTime // since then
	over    clock.AwakeTime // since then, and since the end of the run is known
	pause   time.Duration   // planned before the next read
}

// check counts a failed read. It returns errLost if the log is lost.
func (l *lostWatch) check(ctx context.Context, t *Tail, err error, now time.Time) error {
	if errors.Is(err, errNoSlot) || errors.Is(err, ray.ErrTransportNotAllowed) {
		return nil // nothing was requested
	}
	if read := t.health.lastRead.Get(); !read.Equal(l.read) {
		l.read, l.failing, l.over = read, clock.AwakeTime{Last: read}, clock.AwakeTime{Last: read}
	}
	if t.p.progress.grew || errors.Is(err, errBetterTransport) || errors.Is(err, errRunEnded) || errors.Is(err, writer.ErrMemoryPressure) {
		l.fails = 0
		return nil
	}
	l.fails++
	opts := &t.cl.opts
	expected := l.pause + opts.Timeout
	l.failing.Step(now, expected)
	over := t.job.terminalAt.IsSet()
	if over {
		if at := t.job.terminalAt.Get(); l.over.Last.Before(at) {
			l.over.Last = at
		}
		l.over.Step(now, expected)
	}
	if l.over.Sum >= opts.LostAfter && l.over.Steps >= triesToLose {
		return fmt.Errorf("%w: no transport has read it for %s since the job's end, in %d tries: %v", errLost, l.over.Sum.Round(time.Second), l.over.Steps, err)
	}
	if errors.Is(err, errUnreadable) && over {
		return fmt.Errorf("%w: %v", errLost, err)
	}
	// Every transport has failed, and the node may be gone.
	if l.fails > len(t.selector.candidates(t.conditions(now))) && l.failing.Sum > opts.GracePeriod && t.nodeDead(ctx) {
		return fmt.Errorf("%w: its node is dead: %v", errLost, err)
	}
	return nil
}

// nodeDead reports whether Ray lists the log's node as dead.
func (t *Tail) nodeDead(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, t.cl.opts.Timeout)
	defer cancel()
	nodes, err := t.cl.lists.Nodes(ctx)
	if err != nil {
		return false
	}
	for _, n := range nodes {
		if n.ID == t.p.log.Node {
			return n.State == ray.NodeDead
		}
	}
	return false
}
