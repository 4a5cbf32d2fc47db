package synapsetest

import (
	"math/rand/v2"
	"net/http"
	"time"

	"raytap/ray/internal/fake"
)

// Action is what a fault does.
type Action int

// The actions. The first four replace the response; the others first send AfterBytes
// bytes or AfterMessages messages of a tail.
const (
	// Respond responds with Fault.Status and Fault.Body.
	Respond Action = iota
	// HTML responds with status 200 and an HTML page, like a proxy's login.
	HTML
	// Hang accepts the request and never responds.
	Hang
	// Redirect responds with 307 to Fault.Body.
	Redirect
	// CutClose ends the connection with FIN.
	CutClose
	// CutReset ends it with RST.
	CutReset
	// PartialFrame ends it with FIN in the middle of the next message.
	PartialFrame
	// CloseFrame sends a Close frame with Fault.Code (0 = 1000); an SSE body ends
	// cleanly.
	CloseFrame
	// ErrorEvent sends an error event with Fault.Body as its message, and ends.
	ErrorEvent
	// HalfOpen keeps the connection open and sends nothing more, not even pongs.
	HalfOpen
	// Delay waits for Fault.Delay before each message from there on.
	Delay
)

// Fault is what goes wrong, for which requests, how often. The zero value responds to
// every request with 500.
type Fault struct {
	Endpoint      string // one of the Endpoint constants; "" = any
	Job           string // submission id; "" = any
	Action        Action
	Status        int           // of Respond; 0 = 500
	Body          string        // of Respond, Redirect and ErrorEvent
	Header        http.Header   // of Respond, such as Retry-After
	Code          int           // of CloseFrame
	Delay         time.Duration // of Delay
	AfterBytes    int           // bytes of a tail to send first, including framing
	AfterMessages int           // or number of messages to send first
	Skip          int           // number of matching requests to let through first
	Times         int           // number of requests to hit after that; 0 = all, until removed
	// Chance hits a matching request with this probability, drawn from Rand, and Spread
	// adds 0 to Spread-1 to AfterBytes or AfterMessages. Rand is used under a lock.
	Chance float64
	Spread int
	Rand   *rand.Rand
}

// Injected is an injected fault.
type Injected struct {
	agent   *Agent
	f       Fault
	rule    fake.Rule // guarded by agent.mu, like the following
	hits    int
	removed bool
}

// Inject injects a fault. The first one that matches a request, in the order of
// injection, hits it.
func (a *Agent) Inject(f Fault) *Injected {
	in := &Injected{agent: a, f: f, rule: fake.Rule{Endpoint: f.Endpoint, Job: f.Job, Skip: f.Skip, Times: f.Times, Chance: f.Chance, Rand: f.Rand}}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, in)
	return in
}

// Hits returns how often the fault happened. A cut counts when it cuts.
func (in *Injected) Hits() int {
	in.agent.mu.Lock()
	defer in.agent.mu.Unlock()
	return in.hits
}

// Remove removes the fault. Tails started before are still cut.
func (in *Injected) Remove() {
	in.agent.mu.Lock()
	defer in.agent.mu.Unlock()
	in.removed = true
}

func (in *Injected) hit() {
	in.agent.mu.Lock()
	defer in.agent.mu.Unlock()
	in.hits++
}

// cut is a fault chosen for one tail.
type cut struct {
	*Injected
	after, messages int // what to send first; the fault uses one of the two
}

// matchFault returns the fault for a request, or nil. It counts the request.
func (a *Agent) matchFault(endpoint, job string) *cut {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.counts[endpoint]++
	for _, in := range a.faults {
		f := &in.f
		if in.removed || !in.rule.Applies(endpoint, job) {
			continue
		}
		c := &cut{Injected: in, after: f.AfterBytes, messages: f.AfterMessages}
		if f.Spread > 0 {
			spread := f.Rand.IntN(f.Spread)
			if f.AfterBytes > 0 {
				c.after += spread
			} else {
				c.messages += spread
			}
		}
		return c
	}
	return nil
}

// respond sends the fault's response; false: the fault does not replace the response.
func (c *cut) respond(w http.ResponseWriter, r *http.Request) bool {
	if c == nil {
		return false
	}
	switch c.f.Action {
	case Respond:
		for name, values := range c.f.Header {
			w.Header()[name] = values
		}
		status, body := c.f.Status, c.f.Body
		if status == 0 {
			status = http.StatusInternalServerError
		}
		if body == "" {
			body = `{"detail":"` + http.StatusText(status) + `"}`
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	case HTML:
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!DOCTYPE html><html><body>Sign in</body></html>"))
	case Hang:
		c.hit()
		<-r.Context().Done()
		return true
	case Redirect:
		w.Header().Set("Location", c.f.Body)
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		return false
	}
	c.hit()
	return true
}

// CutTails ends every open tail of a job ("" = of all jobs) now, by CutClose, CutReset,
// CloseFrame, ErrorEvent or HalfOpen, and returns their number.
func (a *Agent) CutTails(how Action, id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for t := range a.tails {
		if id == "" || t.job.ID == id {
			select {
			case t.cuts <- how:
				n++
			default: // already being cut
			}
		}
	}
	return n
}
