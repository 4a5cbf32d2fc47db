package synapsetest

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"raytap/ray/internal/fake"
)

// Agent is a fake agent. It implements http.Handler.
type Agent struct {
	o    options
	addr string // unchanged by restarts

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

// Option sets a property of a new agent.
type Option func(*options)

// Prefix sets the base path of the agent: "/agents/a1".
func Prefix(path string) Option { return func(o *options) { o.prefix = strings.TrimRight(path, "/") } }

// Token makes the agent require this token; any other is a 401.
func Token(token string) Option { return func(o *options) { o.token = token } }

// UserTenant makes the agent require these tokens of a user and a tenant, too.
func UserTenant(user, tenant string) Option {
	return func(o *options) { o.user, o.tenant = user, tenant }
}

// WithoutResources makes it an older agent, without gpu_status and resources/cluster.
func WithoutResources() Option { return func(o *options) { o.withoutResources = true } }

// LegacyPaths serves the tails at their paths from before 2026, under ray/.
func LegacyPaths() Option { return func(o *options) { o.legacyPaths = true } }

// NoWebSocket refuses each upgrade with a status: 403, 404, 426.
func NoWebSocket(status int) Option { return func(o *options) { o.noWebSocket = status } }

// Heartbeat makes each tail send a keep-alive at this interval: an event on a WebSocket,
// a comment in SSE.
func Heartbeat(d time.Duration) Option { return func(o *options) { o.heartbeat = d } }

// ConnectedEvent makes each tail start with a connected event.
func ConnectedEvent() Option { return func(o *options) { o.connectedEvent = true } }

// InvalidRows adds invalid rows to each list.
func InvalidRows() Option { return func(o *options) { o.invalidRows = true } }

// LogsAs sets the format of a whole log.
func LogsAs(shape LogFormat) Option { return func(o *options) { o.logFormat = shape } }

// NoPongs disables pongs.
func NoPongs() Option { return func(o *options) { o.noPongs = true } }

// New starts an agent and closes it when the test ends.
func New(t testing.TB, o ...Option) *Agent {
	t.Helper()
	a, err := Start(o...)
	if err != nil {
		t.Fatalf("start a fake agent: %v", err)
	}
	t.Cleanup(a.Close)
	return a
}

// Start starts an agent on a free port of loopback. The caller must close it.
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

// URL returns the agent's base URL.
func (a *Agent) URL() string { return "http://" + a.addr + a.o.prefix }

// Close stops the agent and waits for it.
func (a *Agent) Close() { a.Down() }

// Up starts the agent at its previous address; it does nothing if the agent is up.
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

// Down kills the agent: connections are refused, tails end without a Close frame. Jobs
// keep running.
func (a *Agent) Down() {
	a.mu.Lock()
	s := a.srv
	a.srv = nil
	a.mu.Unlock()
	if s != nil {
		s.Close()
	}
}

// Requests returns the number of requests to an endpoint (see the Endpoint constants);
// for "" the number of all requests.
func (a *Agent) Requests(endpoint string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.counts.Of(endpoint)
}

// OpenTails returns the number of open tails.
func (a *Agent) OpenTails() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.tails)
}

// PeakTails returns the maximum of OpenTails so far.
func (a *Agent) PeakTails() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.peak
}

// SetResponse sets the response body of an endpoint (not of a tail).
func (a *Agent) SetResponse(endpoint string, body []byte) {
	a.SetResponseFunc(endpoint, func(*http.Request) (int, []byte) { return http.StatusOK, body })
}

// SetResponseFunc is SetResponse with a function of the request.
func (a *Agent) SetResponseFunc(endpoint string, f func(*http.Request) (int, []byte)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.responses[endpoint] = f
}

// DeletedApplications returns the Serve applications that were deleted.
func (a *Agent) DeletedApplications() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.deleted...)
}
