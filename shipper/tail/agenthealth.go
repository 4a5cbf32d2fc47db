package tail

import (
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"raytap/ray"
)

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
