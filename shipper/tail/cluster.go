package tail

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"raytap/shipper/clock"
	"raytap/shipper/metrics"
	"raytap/shipper/writer"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"raytap/logthrottle"
	"raytap/ray"
	"raytap/shipper/record"
)

const (
	// rereadRate is how many bytes a second may be read again to verify a position:
	// 200 MB cost Ray 0.4 CPU-seconds (2.60.0), so this is 1 % of a core.
	rereadRate  = 5 << 20
	rereadBurst = 8 << 20
	// rereadJitter spreads the full reads of many jobs after a restart.
	rereadJitter = time.Second
	// maxConcurrentPolls is how many polls of node agents may run at once.
	maxConcurrentPolls = 16
	// maxConcurrentReplays is how many logs may be replayed at once to verify a
	// position.
	maxConcurrentReplays = 4
)

// tailCluster is what all tails of one cluster share: its clients, the writer, what
// is known of its transports, and what its logs may cost it. Safe for concurrent use.
type Cluster struct {
	opts     Options
	lists    NodeLister
	api      API
	client   Client        // of logs as bytes, or
	messages MessageClient // of logs as messages; the other one is nil
	out      *writer.Writer
	Metrics  *metrics.Cluster
	agents   agentHealth
	load     readLimits
	health   clusterHealth

	webSocketRefused   clock.Moment // when the server last refused a WebSocket
	fileAPIUnsupported clock.Moment // when Ray was last found to lack the file API

	mu        sync.Mutex
	nodeTails map[string]bool // nodes with an open WebSocket, where they serve only one
	warned    map[string]bool // what was warned of
}

// newTailCluster returns what the tails of a cluster share. One of client and message
// is nil.
func NewCluster(lists NodeLister, api API, client Client, message MessageClient, out *writer.Writer, o Options) *Cluster {
	return &Cluster{
		opts: o, lists: lists, api: api, client: client, messages: message, out: out, Metrics: out.Opts.Metrics.ForCluster(o.Cluster),
		agents: agentHealth{down: map[string]downAgent{}},
		load: readLimits{
			polls:       semaphore.NewWeighted(maxConcurrentPolls),
			fullReads:   semaphore.NewWeighted(1),
			replays:     semaphore.NewWeighted(maxConcurrentReplays),
			filePolls:   rate.NewLimiter(rate.Limit(o.FileRate), 5),
			rereadBytes: rate.NewLimiter(rereadRate, rereadBurst),
		},
		health: clusterHealth{condition: logthrottle.Condition{Log: o.Log, Gap: time.Minute}},
	}
}

// clusterHealth counts the logs of a cluster that cannot be read, and logs that.
type clusterHealth struct {
	condition logthrottle.Condition
	failing   atomic.Int64 // tails whose last read failed
}

// readLimits bound what the reads of all tails together cost the cluster.
type readLimits struct {
	polls       *semaphore.Weighted // of node agents
	fullReads   *semaphore.Weighted // one after another
	replays     *semaphore.Weighted // of messages
	filePolls   *rate.Limiter
	rereadBytes *rate.Limiter
}

// waitFilePoll waits until the cluster can serve another read of its file API.
func (l *readLimits) waitFilePoll(ctx context.Context) error {
	r := l.filePolls.Reserve()
	t := time.NewTimer(r.Delay())
	defer t.Stop()
	select {
	case <-ctx.Done():
		r.Cancel()
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// chargeFilePoll counts one more read within a turn: it does not wait, but the next
// turn comes later.
func (l *readLimits) chargeFilePoll() { l.filePolls.Reserve() }

// waitReread waits until n content bytes may be read again.
func (l *readLimits) waitReread(ctx context.Context, n uint64) error {
	if n == 0 {
		return nil
	}
	select {
	case <-time.After(rand.N(rereadJitter)):
	case <-ctx.Done():
		return ctx.Err()
	}
	for n > 0 {
		part := min(n, rereadBurst)
		if err := l.rereadBytes.WaitN(ctx, int(part)); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

// upgradesRefused reports whether the server has refused a WebSocket upgrade lately.
// It is tried again after a while.
func (c *Cluster) upgradesRefused(now time.Time) bool {
	return c.webSocketRefused.IsSet() && now.Sub(c.webSocketRefused.Get()) < transportCooldown
}

// support returns which calls this Ray has to read logs as bytes: by its version, and
// by an answer that reported that it has no file API.
func (c *Cluster) support(now time.Time) ray.LogTransports {
	if c.client == nil {
		return ray.LogTransports{}
	}
	w := c.client.LogTransports()
	w.NoFile = w.NoFile || c.fileAPIUnsupported.IsSet() && now.Sub(c.fileAPIUnsupported.Get()) < transportCooldown
	return w
}

// noteFileAPI takes the error of a read of the file API.
func (c *Cluster) noteFileAPI(err error, now time.Time) {
	if ray.Code(err) == http.StatusNotImplemented {
		c.fileAPIUnsupported.Set(now)
	}
}

// acquireNodeTail takes the one WebSocket that the agent of a node serves, where tails
// block it. release gives it back; ok is false while another tail has it.
func (c *Cluster) acquireNodeTail(node string) (release func(), ok bool) {
	w := c.support(time.Now())
	if !w.TailsBlock {
		return func() {}, true
	}
	c.warnOnce("tails block", "One job per node is tailed at a time: this Ray blocks a node's job agent while a log there is tailed over a WebSocket. Other logs are read when their jobs have ended. Set protocol to auto", nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodeTails[node] {
		return nil, false
	}
	if c.nodeTails == nil {
		c.nodeTails = map[string]bool{}
	}
	c.nodeTails[node] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.nodeTails, node)
	}, true
}

// warnOnce logs a warning, at most once for each topic. err becomes its field error,
// unless it is nil.
func (c *Cluster) warnOnce(topic, message string, err error) {
	c.mu.Lock()
	before := c.warned[topic]
	if c.warned == nil {
		c.warned = map[string]bool{}
	}
	c.warned[topic] = true
	c.mu.Unlock()
	if before {
		return
	}
	log := c.opts.Log
	if w := c.support(time.Now()); w.Ray != "" {
		log = log.WithField("ray_version", w.Ray)
	}
	if err != nil {
		log = log.WithField("error", shownError(err))
	}
	log.Warn(message)
}

// labelValues returns the values that the labels of the cluster's counters can have.
func (c *Cluster) LabelValues() metrics.LabelValues {
	transports := []Transport{NodeAgent, WebSocket, File, Snapshot}
	if c.messages != nil {
		transports = []Transport{WebSocket, SSE, Snapshot}
	}
	names := make([]string, len(transports))
	for i, t := range transports {
		names[i] = t.String()
	}
	return metrics.LabelValues{
		Transports: names, EndReasons: endReasons(), Limits: limitNames, EndChecks: []string{"same", "grown", "failed"},
		Events: []string{record.EventStart, record.EventGap, record.EventEpoch, record.EventLimit, record.EventEnd, record.EventReopened, record.EventClock},
	}
}

// CanDrain reports whether a log can be read by its node once its id is another run's.
func (c *Cluster) CanDrain() bool {
	return c.messages == nil && c.opts.Protocol != ProtocolWebSocket
}

// FullChecks reports whether a check of a log after its end may have to read all of it.
func (c *Cluster) FullChecks() bool {
	return c.messages != nil || c.support(time.Now()).NoFile
}

const (
	// sessionAnswers is how many answers in a row must name the same new session.
	sessionAnswers = 3
	// sessionPause is the longest pause between two of them.
	sessionPause = time.Second
)

var (
	// errNoSession: Ray before 2.40 reports its session about 2 s after its
	// version, with the first row of its node list (2.9.3 and 2.30.0).
	errNoSession   = errors.New("the head does not report its session yet (its node list is empty): nothing is shipped until it does")
	errTwoSessions = errors.New("answers of one address name different sessions: does a proxy distribute requests over several heads?")
)

// currentSession returns the session that the cluster reports. One that differs from
// known is returned only after several answers in a row have named it. known
// may be "": then one answer is enough.
func (c *Cluster) CurrentSession(ctx context.Context, known string) (string, error) {
	first, err := c.askSession(ctx)
	if err != nil || first == known || known == "" {
		return first, err
	}
	for range sessionAnswers - 1 {
		select {
		case <-time.After(min(c.opts.PollInterval, sessionPause)):
		case <-ctx.Done():
			return "", ctx.Err()
		}
		again, err := c.askSession(ctx)
		if err != nil {
			return "", err
		}
		if again != first {
			return "", fmt.Errorf("%w (%s, %s)", errTwoSessions, first, again)
		}
	}
	return first, nil
}

func (c *Cluster) askSession(ctx context.Context) (string, error) {
	v, err := c.api.Version(ctx)
	if err == nil && v.Session == "" {
		err = errNoSession
	}
	return v.Session, err
}

// The limits of a stream, by their names in the configuration.
const (
	limitMessages = "max_messages"
	limitLines    = "max_lines"
	limitBytes    = "max_bytes"
)

var limitNames = []string{limitMessages, limitLines, limitBytes}

// limiter counts one stream's new data against its limits. The zero value with
// Limits set is ready; it is for one goroutine.
type limiter struct {
	Limits
	messages, lines, bytes uint64
	since                  time.Time // the window's start
}

// bounds reports whether there is a limit on lines at all.
func (l *limiter) bounds() bool { return l.MaxLines > 0 || l.MaxBytes > 0 }

// admit counts one line of size content bytes. It names the limit that the
// line would exceed, or gives "": exactly as many as a limit says pass.
func (l *limiter) admit(size int64, now time.Time) string {
	l.turn(now)
	switch {
	case l.MaxLines > 0 && l.lines+1 > l.MaxLines:
		return limitLines
	case l.MaxBytes > 0 && l.bytes+uint64(size) > l.MaxBytes:
		return limitBytes
	}
	l.lines++
	l.bytes += uint64(size)
	return ""
}

// admitMessages counts n messages of a WebSocket in the same manner.
func (l *limiter) admitMessages(n uint64, now time.Time) string {
	l.turn(now)
	if l.MaxMessages > 0 && l.messages+n > l.MaxMessages {
		return limitMessages
	}
	l.messages += n
	return ""
}

// turn starts the counters anew once the window has passed.
func (l *limiter) turn(now time.Time) {
	if l.since.IsZero() || l.Interval > 0 && now.Sub(l.since) >= l.Interval {
		l.since = now
		l.messages, l.lines, l.bytes = 0, 0, 0
	}
}

// rest is how long the window still lasts.
func (l *limiter) rest(now time.Time) time.Duration {
	return max(0, l.Interval-now.Sub(l.since))
}
