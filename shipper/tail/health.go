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

// agentHealth remembers the node agents that cannot be used, and why, so that not each of
// their jobs finds it out. It is safe for concurrent use.
type agentHealth struct {
	mu   sync.Mutex
	down map[string]downAgent // by host and port
}

// downAgent is an agent that could not be used.
type downAgent struct {
	until  time.Time // not tried before
	reason string    // one of refusals; "" where it was merely out of reach
}

// refusals are the reasons for which an agent is left aside though nothing says that
// it is out of reach, as the metric has them.
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

// refusalDenied is the reason of an agent that answers 401 or 403.
const refusalDenied = "denied"

// refusalOf returns the reason that an agent's error tells, "" for an error of another
// kind.
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

// allow reports whether an agent may be tried. Of all who ask for one that could
// not be used, one may every five minutes, until it has answered: for the one that is
// told so the time starts again.
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

// generation returns until when an agent is left alone, which changes with each mark.
func (h *agentHealth) generation(agent string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down[agentHost(agent)].until
}

// markDown notes that an agent cannot be used for a while; err says why.
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

// forget drops the agents that nobody asks for any more. h.mu is held.
func (h *agentHealth) forget(now time.Time) {
	for host, d := range h.down {
		if now.Sub(d.until) > transportCooldown {
			delete(h.down, host)
		}
	}
}

// refused counts the agents that are left aside, by reason. One that no job asks for
// any more is counted for ten minutes at most.
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

// markUp tells that an agent has answered.
func (h *agentHealth) markUp(agent string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.down, agentHost(agent))
}

func agentHost(agent string) string {
	if u, err := url.Parse(agent); err == nil {
		return u.Host
	}
	return agent
}

// RefusedAgents counts the node agents that are not used, by reason.
func (c *Cluster) RefusedAgents(now time.Time) map[string]int { return c.agents.refused(now) }

// retry is what the reads of one tail have come to.
type retry struct {
	backoff *backoff.ExponentialBackOff
	max     time.Duration
	lost    lostWatch
}

func newRetry(o *Options) *retry {
	return &retry{max: o.BackoffMax, backoff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(o.BackoffInitial),
		backoff.WithMaxInterval(o.BackoffMax),
		backoff.WithMaxElapsedTime(0), // never stop
	)}
}

// slotPause returns how long to wait for a free slot.
func (r *retry) slotPause() time.Duration { return r.max/2 + rand.N(r.max) }

// endsTail reports whether a read's error ends the tail.
func endsTail(err error) bool {
	for _, last := range []error{errComplete, errNotStarted, errUnproven, errLost, errLimited, writer.ErrClosed} {
		if errors.Is(err, last) {
			return true
		}
	}
	return false
}

// triesToLose is how many tries in a row have to fail, over the time that is allowed,
// before a log is given up.
const triesToLose = 5

// lostWatch decides when a log is out of reach for good. It counts time in which the log
// was tried, by the monotonic clock, not time that passed: a process that was stopped has
// tried nothing.
type lostWatch struct {
	fails   int
	read    time.Time       // the last successful read that it knows of
	failing clock.AwakeTime // since then
	over    clock.AwakeTime // since then and since the end of the run was known
	pause   time.Duration   // until the next try, as it was planned
}

// check takes the failure of a read. errLost: no more reads.
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
	// Each transport had its turn, and the node is known to be gone.
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
