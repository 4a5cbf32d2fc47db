package raytest

import (
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"unicode/utf8"

	"raytap/ray/internal/fake"
)

// Action is what a fault does.
type Action int

// The actions. Respond, HTML and Hang replace the response; the others first send
// AfterBytes of it.
const (
	// Respond responds with Fault.Status and Fault.Body.
	Respond Action = iota
	// HTML responds with status 200 and an HTML page, like a proxy's login.
	HTML
	// Hang accepts the request and never responds.
	Hang
	// CutClose ends the connection with FIN.
	CutClose
	// CutReset ends it with RST.
	CutReset
	// HalfOpen keeps the connection open and sends nothing more.
	HalfOpen
	// CloseFrame sends Close 1000 on a tail, at the end of a frame; for other
	// responses it is CutClose.
	CloseFrame
)

// Fault is what goes wrong, for which requests, how often. The zero value responds to
// every request with Ray's 500.
type Fault struct {
	Endpoint   string // one of the Endpoint constants; "" = any
	Job        string // submission id, or the name of another file or directory of a node agent; "" = any
	Action     Action
	Status     int    // of Respond; 0 = 500
	Body       string // of Respond; "" = aiohttp's text for an unhandled exception
	AfterBytes int64  // bytes: of a tail's frames with their headers, of another response's body
	Skip       int    // number of matching requests to let through first
	Times      int    // number of requests to hit after that; 0 = all, until removed
	// Chance hits a matching request with this probability, drawn from Rand, instead
	// of always; Spread adds 0 to Spread-1 bytes to AfterBytes. Rand is used under the
	// head's lock.
	Chance float64
	Spread int64
	Rand   *rand.Rand
}

// Injected is an injected fault.
type Injected struct {
	head    *Head
	f       Fault
	rule    fake.Rule // guarded by head.mu
	removed bool      // guarded by head.mu

	// The following are counted while a response is written, sometimes under head.mu.
	mu   sync.Mutex
	hits int
	// cuts within a character, and between \r and \n
	runes, crlfs int
}

// Inject injects a fault. The first one that matches a request, in the order of
// injection, hits it.
func (h *Head) Inject(f Fault) *Injected {
	in := &Injected{head: h, f: f, rule: fake.Rule{Endpoint: f.Endpoint, Job: f.Job, Skip: f.Skip, Times: f.Times, Chance: f.Chance, Rand: f.Rand}}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, in)
	return in
}

// Hits returns how often the fault happened. A cut counts when it cuts, not when the
// request arrives.
func (in *Injected) Hits() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.hits
}

// Splits returns how many of its cuts were within a character, and how many between a
// \r and its \n.
func (in *Injected) Splits() (runes, crlfs int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.runes, in.crlfs
}

// countSplits counts whether a cut of b at i splits a character or a line terminator.
func (in *Injected) countSplits(b []byte, i int64) {
	if i <= 0 || i >= int64(len(b)) {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if b[i-1] == '\r' && b[i] == '\n' {
		in.crlfs++
	}
	for start := i - 1; start >= max(0, i-utf8.UTFMax+1); start-- {
		if !utf8.RuneStart(b[start]) {
			continue
		}
		if r, n := utf8.DecodeRune(b[start:]); r != utf8.RuneError && start+int64(n) > i {
			in.runes++
		}
		return
	}
}

// Remove removes the fault. Responses started before are still cut.
func (in *Injected) Remove() {
	in.head.mu.Lock()
	defer in.head.mu.Unlock()
	in.removed = true
}

func (in *Injected) hit() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.hits++
}

// cut is a fault chosen for one response.
type cut struct {
	*Injected
	left int64
}

// matchFault returns the fault for a request, or nil.
func (h *Head) matchFault(endpoint, job string) *cut {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, in := range h.faults {
		if in.removed || !in.rule.Applies(endpoint, job) {
			continue
		}
		c := &cut{Injected: in, left: in.f.AfterBytes}
		if in.f.Spread > 0 {
			c.left += in.f.Rand.Int64N(in.f.Spread)
		}
		return c
	}
	return nil
}

// applyFault counts a request and applies a fault to it: false if the fault was the
// response, otherwise the writer for the response.
func (h *Head) applyFault(w http.ResponseWriter, r *http.Request, endpoint, job string) (http.ResponseWriter, bool) {
	h.mu.Lock()
	h.counts[endpoint]++
	h.mu.Unlock()
	c := h.matchFault(endpoint, job)
	if c == nil {
		return w, true
	}
	switch c.f.Action {
	case Respond:
		c.hit()
		status, body := c.f.Status, c.f.Body
		if status == 0 {
			status = http.StatusInternalServerError
		}
		if body == "" {
			body = "500 Internal Server Error\n\nServer got itself in trouble"
		}
		text(w, status, body)
		return nil, false
	case HTML:
		c.hit()
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!DOCTYPE html><html><body>Sign in</body></html>"))
		return nil, false
	case Hang:
		c.hit()
		<-r.Context().Done()
		return nil, false
	}
	return &cutWriter{ResponseWriter: w, r: r, cut: c}, true
}

// cutWriter passes a fault's bytes through and then cuts the connection.
type cutWriter struct {
	http.ResponseWriter
	r    *http.Request
	cut  *cut
	done bool
}

// Unwrap is for http.ResponseController.
func (w *cutWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *cutWriter) Write(p []byte) (int, error) {
	if w.done {
		return 0, net.ErrClosed
	}
	if int64(len(p)) <= w.cut.left {
		w.cut.left -= int64(len(p))
		return w.ResponseWriter.Write(p)
	}
	w.done = true
	w.cut.countSplits(p, w.cut.left)
	_, _ = w.ResponseWriter.Write(p[:w.cut.left])
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	c, err := fake.Hijack(w.ResponseWriter, w.r)
	if err != nil {
		return 0, err
	}
	w.cut.hit()
	if w.cut.f.Action != HalfOpen {
		fake.Disconnect(c, w.cut.f.Action == CutReset)
		fake.CloseConn(w.r, c)
	}
	return 0, net.ErrClosed
}
