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

// Head is a fake head: a dashboard and the agents of its nodes.
type Head struct {
	o    options
	addr string // of the dashboard, the same for its whole life

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

// Option changes what a head is from its start.
type Option func(*options)

// PollInterval sets how often a tail looks at its file, 20 ms by default. Ray's is 1 s.
func PollInterval(d time.Duration) Option { return func(o *options) { o.pollInterval = d } }

// SlotReleaseDelay sets how long the slot of a closed tail is held on after the job's
// next output: ten polls by default, as Ray's 10 s.
func SlotReleaseDelay(d time.Duration) Option { return func(o *options) { o.slotReleaseDelay = d } }

// Slots sets how many requests to the Jobs API, open tails among them, the
// dashboard can have in progress: 100 by default.
func Slots(n int) Option { return func(o *options) { o.slots = n } }

// MaxFrame sets the largest batch that a tail survives: 4 MiB by default.
func MaxFrame(n int) Option { return func(o *options) { o.frame = n } }

// Token switches token authentication on.
func Token(token string) Option { return func(o *options) { o.token = token } }

// IP puts the head's node on an address of this machine, 127.0.0.1 by default.
func IP(ip string) Option { return func(o *options) { o.ip = ip } }

// RayVersion makes the head an older one: "2.40.0" and "2.9.3" are known, where
// they differ in the log ways, the version answer and error_type.
func RayVersion(v string) Option { return func(o *options) { o.ray = v } }

// New starts a head and closes it with the test.
func New(t testing.TB, o ...Option) *Head {
	t.Helper()
	h, err := Start(o...)
	if err != nil {
		t.Fatalf("start a fake head: %v", err)
	}
	t.Cleanup(h.Close)
	return h
}

// Start starts a head on a free port of loopback. The caller closes it.
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

// URL is the dashboard's base URL.
func (h *Head) URL() string { return "http://" + h.addr }

// Session is the session's name now.
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

// Up starts the dashboard at the address that it had; it does nothing to one
// that is up.
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

// Down kills the dashboard as kill -9 does: connections are refused, tails see
// the end of TCP without a Close frame. Agents and jobs go on.
func (h *Head) Down() {
	h.mu.Lock()
	s := h.dash
	h.dash = nil
	h.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

// RestartOptions say what a new life of the head keeps of the old one; the zero
// value is a head without GCS fault tolerance.
type RestartOptions struct {
	KeepSession bool // the session's name, as with GCS fault tolerance
	KeepJobs    bool // the job list, as with GCS fault tolerance
	KeepLogs    bool // the files: the same disk and the same session's directory
}

// Restart ends the head and starts it anew at the same addresses.
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
			n.files = map[string]*file{}
		}
	}
	h.mu.Unlock()
	return h.Up()
}

// Requests tells how many requests came for an endpoint (see the Endpoint
// constants), refused and broken ones too; for "" how many came at all.
func (h *Head) Requests(endpoint string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts.Of(endpoint)
}

// OpenTails tells how many tails have an open connection now.
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

// PeakTails is the most that OpenTails ever was.
func (h *Head) PeakTails() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.peak
}

// SlotsInUse tells how many slots of the Jobs API are taken now: by tails, open
// or abandoned, and by requests in progress.
func (h *Head) SlotsInUse() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.slots)
}

// SetResponse gives an endpoint (one that is no log and no job) a body of the test's
// own, such as a recorded one.
func (h *Head) SetResponse(endpoint string, body []byte) {
	h.SetResponseFunc(endpoint, func(*http.Request) (int, []byte) { return http.StatusOK, body })
}

// SetResponseFunc is Answer with a function, which may look at the query.
func (h *Head) SetResponseFunc(endpoint string, f func(*http.Request) (int, []byte)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.responses[endpoint] = f
}

// minor is 60 for Ray 2.60.0.
func (h *Head) minor() int {
	_, rest, _ := strings.Cut(h.o.ray, ".")
	m, _, _ := strings.Cut(rest, ".")
	n, _ := strconv.Atoi(m)
	return n
}

// acquireSlot waits for a slot of the Jobs API; false: the caller left first.
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
