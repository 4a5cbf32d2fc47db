package tail

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
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
	// rereadRate is how many bytes per second may be read again to verify a position: 200 MB
	// cost Ray 0.4 CPU-seconds (2.60.0), so this is 1 % of a core.
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

// Cluster is what all tails of one cluster share: clients, the writer, what is known about
// its transports, and the limits of what reads may cost it. Make it with NewCluster. Safe
// for concurrent use.
type Cluster struct {
	opts     Options
	lists    NodeLister
	api      API
	client   Client        // reads logs as bytes; nil if messages is set
	messages MessageClient // reads logs as messages; nil if client is set
	out      *writer.Writer
	Metrics  *metrics.Cluster
	agents   agentHealth
	load     readLimits
	health   clusterHealth
	deletion deletion

	refusals           ray.UpgradeRefusals
	fileAPIUnsupported clock.Moment // when Ray was last found to lack the file API

	mu        sync.Mutex
	nodeTails map[string]bool // nodes with an open WebSocket, if each can serve only one
	warned    map[string]bool // topics of warnOnce
}

// NewCluster returns what the tails of a cluster share. Either client or message is nil.
func NewCluster(lists NodeLister, api API, client Client, message MessageClient, out *writer.Writer, o Options) *Cluster {
	return &Cluster{
		opts: o, lists: lists, api: api, client: client, messages: message, out: out, Metrics: out.Metrics().ForCluster(o.Cluster),
		agents: agentHealth{down: map[string]downAgent{}},
		load: readLimits{
			polls:       make(chan struct{}, maxConcurrentPolls),
			fullReads:   semaphore.NewWeighted(1),
			replays:     semaphore.NewWeighted(maxConcurrentReplays),
			filePolls:   rate.NewLimiter(rate.Limit(o.FileRate), 5),
			rereadBytes: rate.NewLimiter(rereadRate, rereadBurst),
		},
		health:   clusterHealth{condition: logthrottle.Condition{Log: o.Log, Gap: time.Minute}},
		deletion: deletion{begun: make(chan struct{})},
	}
}

// deletion is the time in which a cluster is being deleted: its head may stop at any moment.
type deletion struct {
	once  sync.Once
	begun chan struct{} // closed when it begins
}

const (
	// DrainInterval is the longest pause of a tail while its cluster is being deleted.
	DrainInterval = 200 * time.Millisecond
	// drainGrace is then how long child processes may print after a job's end.
	drainGrace = 2 * DrainInterval
)

// Drain makes all tails read without longer pauses than DrainInterval from now on, because
// the cluster is being deleted. A run that is over is at its end sooner than otherwise.
func (c *Cluster) Drain() { c.deletion.once.Do(func() { close(c.deletion.begun) }) }

// draining reports whether Drain was called.
func (c *Cluster) draining() bool {
	select {
	case <-c.deletion.begun:
		return true
	default:
		return false
	}
}

// clusterHealth counts and logs the failing tails of a cluster.
type clusterHealth struct {
	condition logthrottle.Condition
	failing   atomic.Int64 // tails whose last read failed
}

// readLimits limit what the reads of all tails together cost the cluster.
type readLimits struct {
	polls       chan struct{}       // reads of node agents at once: sent to begin one
	fullReads   *semaphore.Weighted // reads of whole logs at once: one
	replays     *semaphore.Weighted // replays of messages at once
	filePolls   *rate.Limiter       // reads of the file API per second
	rereadBytes *rate.Limiter       // bytes per second that are read again
}

// waitFilePoll waits until the rate allows another read of the file API.
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

// chargeFilePoll counts another read without waiting: the next waitFilePoll waits longer.
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

// support returns which transports of bytes this Ray supports: by its version, and by
// whether the file API has responded.
func (c *Cluster) support(now time.Time) ray.LogTransports {
	if c.client == nil {
		return ray.LogTransports{}
	}
	w := c.client.LogTransports()
	w.NoFile = w.NoFile || c.fileAPIUnsupported.IsSet() && now.Sub(c.fileAPIUnsupported.Get()) < transportCooldown
	return w
}

// noteFileAPI records whether err, from a read of the file API, means that there is none.
func (c *Cluster) noteFileAPI(err error, now time.Time) {
	if ray.Code(err) == http.StatusNotImplemented {
		c.fileAPIUnsupported.Set(now)
	}
}

// acquireNodeTail acquires the only WebSocket of a node, on Rays whose job agent serves one
// at a time; on others it always succeeds. ok is false while another tail has it.
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

// LabelValues returns the values that the labels of the cluster's counters can have.
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

// CanDrain reports whether a log can be selected by its node, when another run already has
// its id.
func (c *Cluster) CanDrain() bool {
	return c.messages == nil && c.opts.Protocol != ProtocolWebSocket
}

// FullChecks reports whether a check of an ended log may have to read the whole log.
func (c *Cluster) FullChecks() bool {
	return c.messages != nil || c.support(time.Now()).NoFile
}

const (
	// sessionConfirmations is how many responses in a row must have the same new session.
	sessionConfirmations = 3
	// maxSessionPause is the maximum pause between two of them.
	maxSessionPause = time.Second
)

var (
	// errNoSession: Ray before 2.40 reports its session about 2 s later than its version,
	// with the first row of its node list (2.9.3 and 2.30.0).
	errNoSession   = errors.New("the head does not report its session yet (its node list is empty): nothing is shipped until it does")
	errTwoSessions = errors.New("responses from one address name different sessions: give each head a URL of its own if a proxy distributes requests over several")
)

// CurrentSession returns the session that the cluster reports. A session other than known
// has to be in several responses in a row, else it returns an error. If known is "", one
// response is enough.
func (c *Cluster) CurrentSession(ctx context.Context, known string) (string, error) {
	first, err := c.requestSession(ctx)
	if err != nil || first == known || known == "" {
		return first, err
	}
	for range sessionConfirmations - 1 {
		select {
		case <-time.After(min(c.opts.PollInterval, maxSessionPause)):
		case <-ctx.Done():
			return "", ctx.Err()
		}
		again, err := c.requestSession(ctx)
		if err != nil {
			return "", err
		}
		if again != first {
			return "", fmt.Errorf("%w (%s, %s)", errTwoSessions, first, again)
		}
	}
	return first, nil
}

func (c *Cluster) requestSession(ctx context.Context) (string, error) {
	v, err := c.api.Version(ctx)
	if err == nil && v.Session == "" {
		err = errNoSession
	}
	return v.Session, err
}

// The limits of a tail, by their names in the configuration.
const (
	limitMessages = "max_messages"
	limitLines    = "max_lines"
	limitBytes    = "max_bytes"
)

var limitNames = []string{limitMessages, limitLines, limitBytes}

// Limiter counts one tail's new data against its limits. The zero value with Limits set is
// ready. Not safe for concurrent use.
type Limiter struct {
	Limits
	messages, lines, bytes uint64
	since                  time.Time // the interval's start
}

// bounds reports whether there is a limit on lines or bytes.
func (l *Limiter) bounds() bool { return l.MaxLines > 0 || l.MaxBytes > 0 }

// Admit counts one line of size content bytes. It returns the limit that the line would
// exceed, or "" if the line passes.
func (l *Limiter) Admit(size int64, now time.Time) string {
	l.resetExpired(now)
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

// admitMessages is Admit for n messages of a stream.
func (l *Limiter) admitMessages(n uint64, now time.Time) string {
	l.resetExpired(now)
	if l.MaxMessages > 0 && l.messages+n > l.MaxMessages {
		return limitMessages
	}
	l.messages += n
	return ""
}

// resetExpired resets the counters if the interval is over.
func (l *Limiter) resetExpired(now time.Time) {
	if l.since.IsZero() || l.Interval > 0 && now.Sub(l.since) >= l.Interval {
		l.since = now
		l.messages, l.lines, l.bytes = 0, 0, 0
	}
}

// Remaining returns how long the interval still lasts.
func (l *Limiter) Remaining(now time.Time) time.Duration {
	return max(0, l.Interval-now.Sub(l.since))
}

// driverFiles are the files of a job's log on its node.
type driverFiles struct {
	client Client
	log    ray.LogRef
}

func (f driverFiles) name(k int) string {
	if k == 0 {
		return f.log.FileName()
	}
	return f.log.FileName() + "." + strconv.Itoa(k)
}

// Stat and Read make it the Files of a rotation.Reader.
func (f driverFiles) Stat(ctx context.Context, k int) (ray.FileStat, error) {
	return f.client.AgentFileStat(ctx, f.log.AgentURL, f.name(k))
}

func (f driverFiles) Read(ctx context.Context, k int, from, to int64) (ray.FilePart, error) {
	return f.client.AgentFile(ctx, f.log.AgentURL, f.name(k), from, to)
}
