package synapsetest

import (
	"math/rand/v2"
	"net/http"
	"time"

	"raytap/ray/internal/fake"
)

// Action is what a fault does.
type Action int

// What can go wrong. The first four take the answer's place; the others let
// After bytes or Messages messages of a tail through first.
const (
	// Respond answers with Fault.Status and Fault.Body.
	Respond Action = iota
	// HTML answers 200 with a page, as a proxy's login does.
	HTML
	// Hang accepts the request and never answers.
	Hang
	// Redirect answers 307 to Fault.Body.
	Redirect
	// CutClose ends the connection with FIN.
	CutClose
	// CutReset ends it with RST.
	CutReset
	// PartialFrame ends it with FIN in the middle of the next message.
	PartialFrame
	// CloseFrame sends a Close frame with Fault.Code (0 = 1000); an SSE body
	// ends well.
	CloseFrame
	// ErrorEvent sends an error event with Fault.Body as its message, and ends.
	ErrorEvent
	// HalfOpen keeps it open, and nothing comes any more, no pong either.
	HalfOpen
	// Delay waits Fault.Delay before each message from there on.
	Delay
)

// Fault says what goes wrong, for which requests, how often. The zero value
// answers every request with 500.
type Fault struct {
	Endpoint      string // one of the Endpoint constants; "" = any
	Job           string // submission id; "" = any
	Action        Action
	Status        int           // of Refuse; 0 = 500
	Body          string        // of Refuse, Redirect and ErrorEvent
	Header        http.Header   // of Refuse, such as Retry-After
	Code          int           // of CloseFrame
	Delay         time.Duration // of Slow
	AfterBytes    int           // bytes of a tail let through, as they go over the wire
	AfterMessages int           // or so many messages
	Skip          int           // matching requests let through first
	Times         int           // then so many are hit; 0 = all, until removed
	// Chance hits a matching request with this probability, drawn from Rand, and
	// Spread adds 0 to Spread-1 to After or Messages. Rand is used under a lock.
	Chance float64
	Spread int
	Rand   *rand.Rand
}

// Injected is a fault in place.
type Injected struct {
	agent   *Agent
	f       Fault
	rule    fake.Rule // guarded by agent.mu, as what follows
	hits    int
	removed bool
}

// Inject puts a fault in place. The first one that matches a request, in the
// order of injection, hits it.
func (a *Agent) Inject(f Fault) *Injected {
	in := &Injected{agent: a, f: f, rule: fake.Rule{Endpoint: f.Endpoint, Job: f.Job, Skip: f.Skip, Times: f.Times, Chance: f.Chance, Rand: f.Rand}}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.faults = append(a.faults, in)
	return in
}

// Hits tells how often it happened. A cut counts when it cuts.
func (in *Injected) Hits() int {
	in.agent.mu.Lock()
	defer in.agent.mu.Unlock()
	return in.hits
}

// Remove takes the fault away. Tails begun under it are still cut.
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
	after, messages int // what is let through; of the two the one that the fault names
}

// matchFault finds the fault for a request, or nil. It counts the request.
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

// respond lets a fault take the answer's place; false: it is none of those.
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

// CutTails ends every open tail of a job ("" = of all jobs) now, by CutClose,
// CutReset, CloseFrame, ErrorEvent or Silence, and tells how many there were.
func (a *Agent) CutTails(how Action, id string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for t := range a.tails {
		if id == "" || t.job.ID == id {
			select {
			case t.cuts <- how:
				n++
			default: // it is being cut already
			}
		}
	}
	return n
}
