package raytest

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"raytap/ray/internal/fake"
)

// Head is a fake head: a dashboard and the node agents.
type Head struct {
	o    options
	addr string // of the dashboard, unchanged by restarts

	mu            sync.Mutex
	dash          *fake.Server // nil while it is down
	slots         chan struct{}
	session       string
	jobs          []*Job
	drivers       []jobObject
	nodes         []*Node
	tails         map[*tail]struct{}
	peak          int
	counts        fake.Counts
	responses     map[string]func(*http.Request) (int, []byte)
	faults        []*Injected
	stateRequests int // requests in progress over /api/v0/*
	serve         serveState
	restarts      int
}

type options struct {
	pollInterval     time.Duration
	slotReleaseDelay time.Duration
	slots            int
	frame            int
	token            string
	ray              string
	ip               string
}

// Option sets a property of a new head.
type Option func(*options)

// PollInterval sets how often a tail reads its file, 20 ms by default. Ray's is 1 s.
func PollInterval(d time.Duration) Option { return func(o *options) { o.pollInterval = d } }

// SlotReleaseDelay sets how long the slot of a closed tail stays in use after the job's
// next output: ten polls by default, like Ray's 10 s.
func SlotReleaseDelay(d time.Duration) Option { return func(o *options) { o.slotReleaseDelay = d } }

// Slots sets how many requests to the Jobs API, including open tails, the dashboard
// processes at once: 100 by default.
func Slots(n int) Option { return func(o *options) { o.slots = n } }

// MaxFrame sets the largest batch of a tail, in bytes; a larger one ends it. 4 MiB by default.
func MaxFrame(n int) Option { return func(o *options) { o.frame = n } }

// Token enables token authentication.
func Token(token string) Option { return func(o *options) { o.token = token } }

// IP sets the address of the head's node, 127.0.0.1 by default. This machine must have it.
func IP(ip string) Option { return func(o *options) { o.ip = ip } }

// RayVersion makes the head an older one. "2.40.0" and "2.9.3" are implemented: they
// differ in the log transports, the version response and error_type.
func RayVersion(v string) Option { return func(o *options) { o.ray = v } }

// New starts a head and closes it when the test ends.
func New(t testing.TB, o ...Option) *Head {
	t.Helper()
	h, err := Start(o...)
	if err != nil {
		t.Fatalf("start a fake head: %v", err)
	}
	t.Cleanup(h.Close)
	return h
}

// Start starts a head on a free port of loopback. The caller must close it.
func Start(o ...Option) (*Head, error) {
	h := &Head{
		o:         options{pollInterval: 20 * time.Millisecond, slots: 100, frame: 4 << 20, ray: "2.60.0", ip: "127.0.0.1"},
		session:   sessionName(0),
		tails:     map[*tail]struct{}{},
		counts:    fake.Counts{},
		responses: map[string]func(*http.Request) (int, []byte){},
	}
	for _, set := range o {
		set(&h.o)
	}
	if h.o.slotReleaseDelay == 0 {
		h.o.slotReleaseDelay = 10 * h.o.pollInterval
	}
	if _, err := h.addNode(h.o.ip, true); err != nil {
		return nil, err
	}
	h.addr = h.o.ip + ":0"
	if err := h.Up(); err != nil {
		h.nodes[0].AgentDown()
		return nil, err
	}
	return h, nil
}

func sessionName(life int) string {
	return fmt.Sprintf("session_2026-11-24_15-02-08_458718_%d", 7011+life)
}

// URL returns the dashboard's base URL.
func (h *Head) URL() string { return "http://" + h.addr }

// Session returns the current session name.
func (h *Head) Session() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.session
}

// Close stops everything and waits for it.
func (h *Head) Close() {
	h.Down()
	for _, n := range h.Nodes() {
		n.AgentDown()
	}
}

// Up starts the dashboard at its previous address. It does nothing if the dashboard
// is up.
func (h *Head) Up() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dash != nil {
		return nil
	}
	s, err := fake.Listen(h.addr, http.HandlerFunc(h.serveDashboard))
	if err != nil {
		return err
	}
	h.dash, h.addr = s, s.Addr()
	h.slots = make(chan struct{}, h.o.slots)
	return nil
}

// Down kills the dashboard like kill -9: connections are refused, tails see the end of
// TCP without a Close frame. Node agents and jobs keep running.
func (h *Head) Down() {
	h.mu.Lock()
	s := h.dash
	h.dash = nil
	h.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

// RestartOptions set what a restarted head keeps; the zero value is a head without GCS
// fault tolerance.
type RestartOptions struct {
	KeepSession bool // the session name, as with GCS fault tolerance
	KeepJobs    bool // the job list, as with GCS fault tolerance
	KeepLogs    bool // the files: same disk and same session directory
}

// Restart stops the head and starts it again at the same addresses.
func (h *Head) Restart(o RestartOptions) error {
	h.Down()
	h.mu.Lock()
	h.restarts++
	if !o.KeepSession {
		h.session = sessionName(h.restarts)
	}
	if !o.KeepJobs {
		for _, j := range h.jobs {
			j.deleted = true
		}
		h.jobs, h.drivers = nil, nil
	}
	if !o.KeepLogs {
		for _, n := range h.nodes {
			clear(n.files)
		}
	}
	h.mu.Unlock()
	return h.Up()
}

// Requests returns the number of requests to an endpoint (see the Endpoint constants),
// including refused and broken ones; for "" the number of all requests.
func (h *Head) Requests(endpoint string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts.Of(endpoint)
}

// OpenTails returns the number of tails with an open connection.
func (h *Head) OpenTails() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.openTails()
}

func (h *Head) openTails() int {
	n := 0
	for t := range h.tails {
		if !t.clientGone {
			n++
		}
	}
	return n
}

// PeakTails returns the maximum of OpenTails so far.
func (h *Head) PeakTails() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.peak
}

// SlotsInUse returns the number of Jobs API slots in use: by tails, open or abandoned,
// and by requests in progress.
func (h *Head) SlotsInUse() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.slots)
}

// SetResponse sets the response body of an endpoint (not of a log or a job), such as a
// recorded one.
func (h *Head) SetResponse(endpoint string, body []byte) {
	h.SetResponseFunc(endpoint, func(*http.Request) (int, []byte) { return http.StatusOK, body })
}

// SetResponseFunc is SetResponse with a function of the request.
func (h *Head) SetResponseFunc(endpoint string, f func(*http.Request) (int, []byte)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.responses[endpoint] = f
}

// minor returns 60 for Ray 2.60.0.
func (h *Head) minor() int {
	_, rest, _ := strings.Cut(h.o.ray, ".")
	m, _, _ := strings.Cut(rest, ".")
	n, _ := strconv.Atoi(m)
	return n
}

// acquireSlot waits for a slot of the Jobs API; false: the client left first.
func (h *Head) acquireSlot(ctx context.Context) (release func(), ok bool) {
	h.mu.Lock()
	slots := h.slots
	h.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return sync.OnceFunc(func() { <-slots }), true
	case <-ctx.Done():
		return nil, false
	}
}
