package synapsetest

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"raytap/ray/internal/fake"
)

// Agent is a fake agent. It is an http.Handler too.
type Agent struct {
	o    options
	addr string // the same for its whole life

	mu        sync.Mutex
	srv       *fake.Server // nil while it is down
	jobs      []*Job
	responses map[string]func(*http.Request) (int, []byte)
	faults    []*Injected
	counts    fake.Counts
	tails     map[*tail]struct{}
	peak      int
	deleted   []string
}

type options struct {
	prefix, token, user, tenant   string
	withoutResources, legacyPaths bool
	noWebSocket                   int
	heartbeat, pollInterval       time.Duration
	connectedEvent, invalidRows   bool
	logFormat                     LogFormat
	noPongs                       bool
}

// Option changes what an agent is from its start.
type Option func(*options)

// Prefix sets the path under which the agent lives: "/agents/a1".
func Prefix(path string) Option { return func(o *options) { o.prefix = strings.TrimRight(path, "/") } }

// Token makes the agent want its token; any other is a 401.
func Token(token string) Option { return func(o *options) { o.token = token } }

// UserTenant makes the agent want these tokens of a user and a tenant too.
func UserTenant(user, tenant string) Option {
	return func(o *options) { o.user, o.tenant = user, tenant }
}

// WithoutResources makes it an agent that knows neither gpu_status nor resources/cluster.
func WithoutResources() Option { return func(o *options) { o.withoutResources = true } }

// LegacyPaths makes the tails lie where they lay before 2026, under ray/.
func LegacyPaths() Option { return func(o *options) { o.legacyPaths = true } }

// NoWebSocket refuses each upgrade with a status: 403, 404, 426.
func NoWebSocket(status int) Option { return func(o *options) { o.noWebSocket = status } }

// Heartbeat has each tail send a sign of life as often: an event on a WebSocket,
// a comment in SSE.
func Heartbeat(d time.Duration) Option { return func(o *options) { o.heartbeat = d } }

// ConnectedEvent begins each tail with a connected event.
func ConnectedEvent() Option { return func(o *options) { o.connectedEvent = true } }

// InvalidRows puts rows among those of each list that are not what they should be.
func InvalidRows() Option { return func(o *options) { o.invalidRows = true } }

// LogsAs sets how a whole log is wrapped.
func LogsAs(shape LogFormat) Option { return func(o *options) { o.logFormat = shape } }

// NoPongs answers no ping.
func NoPongs() Option { return func(o *options) { o.noPongs = true } }

// New starts an agent and closes it with the test.
func New(t testing.TB, o ...Option) *Agent {
	t.Helper()
	a, err := Start(o...)
	if err != nil {
		t.Fatalf("start a fake agent: %v", err)
	}
	t.Cleanup(a.Close)
	return a
}

// Start starts an agent on a free port of loopback. The caller closes it.
func Start(o ...Option) (*Agent, error) {
	a := &Agent{
		o:         options{pollInterval: 5 * time.Millisecond},
		addr:      "127.0.0.1:0",
		responses: map[string]func(*http.Request) (int, []byte){},
		counts:    fake.Counts{},
		tails:     map[*tail]struct{}{},
	}
	for _, set := range o {
		set(&a.o)
	}
	return a, a.Up()
}

// URL is the agent's base URL.
func (a *Agent) URL() string { return "http://" + a.addr + a.o.prefix }

// Close stops the agent and waits for it.
func (a *Agent) Close() { a.Down() }

// Up starts the agent at the address that it had; it does nothing to one that is up.
func (a *Agent) Up() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.srv != nil {
		return nil
	}
	s, err := fake.Listen(a.addr, a)
	if err != nil {
		return err
	}
	a.srv, a.addr = s, s.Addr()
	return nil
}

// Down kills the agent: connections are refused, tails end without a farewell.
// Jobs go on.
func (a *Agent) Down() {
	a.mu.Lock()
	s := a.srv
	a.srv = nil
	a.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

// Requests tells how many requests came for an endpoint (see the Endpoint
// constants); for "" how many came at all.
func (a *Agent) Requests(endpoint string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts.Of(endpoint)
}

// OpenTails tells how many tails are open now, and PeakTails the most that were.
func (a *Agent) OpenTails() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.tails)
}

// PeakTails is the most that OpenTails ever was.
func (a *Agent) PeakTails() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.peak
}

// SetResponse gives an endpoint (one that is no tail) a body of the test's own.
func (a *Agent) SetResponse(endpoint string, body []byte) {
	a.SetResponseFunc(endpoint, func(*http.Request) (int, []byte) { return http.StatusOK, body })
}

// SetResponseFunc is Answer with a function.
func (a *Agent) SetResponseFunc(endpoint string, f func(*http.Request) (int, []byte)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.responses[endpoint] = f
}

// DeletedApplications lists the Serve applications that were deleted.
func (a *Agent) DeletedApplications() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.deleted...)
}
