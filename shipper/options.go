// Package shipper turns the driver logs of a cluster's jobs into records: one
// JSON object a line.
//
// It has three layers, each testable without the next. A stream follows one
// job for ever: it chooses a way to read, waits after failures and decides what
// an end means (stream.go, attempt.go, end.go). A reader makes one connection or one poll
// (agent.go, websocket.go, file.go, text.go; where logs come as messages, messages.go and
// whole.go). Pure functions over bytes make lines, proofs and records of what was
// read (join.go, cutter.go, position.go, record.go). Where lines are joined or
// thinned they are held between cutter and record (shape.go).
//
// Around them: discovery starts the streams (discover.go); one writer gives
// their batches to the sink and saves what is remembered (output.go,
// positions.go); recovery learns from a sink file what was written after the
// last save (recovery.go).
package shipper

import (
	"context"
	"io"
	"math"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/namepattern"
	"raytap/ray"
)

// Lists is what discovery needs of a cluster: answers that may be shared with
// others who ask.
type Lists interface {
	// JobsNewerThan lists the jobs as they were at t or later.
	JobsNewerThan(ctx context.Context, t time.Time) ([]ray.Job, error)
	Nodes(ctx context.Context) ([]ray.Node, error)
}

// Cluster is what discovery and a stream need to know of a cluster: answers of
// their own, never cached.
type Cluster interface {
	Version(ctx context.Context) (ray.Version, error)
	Job(ctx context.Context, id string) (ray.Job, error)
}

// Client is what a stream needs of a cluster whose logs are read as bytes.
type Client interface {
	Cluster
	// TailLog opens a WebSocket that replays the log from its first byte.
	TailLog(ctx context.Context, ref ray.LogRef) (ray.LogStream, error)
	// AgentLog reads the log's raw bytes from an offset on, from the node's
	// agent. ray.ErrTransportNotAllowed: this agent must not be asked.
	AgentLog(ctx context.Context, ref ray.LogRef, from int64) (ray.LogRange, error)
	// LogLines reads the last n lines, each ended by \n; all of them if n <= 0.
	LogLines(ctx context.Context, ref ray.LogRef, n int) (io.ReadCloser, error)
	// LogText gives the whole log as text. ray.ErrNotText, ray.ErrTooLarge: it can
	// never be given so.
	LogText(ctx context.Context, ref ray.LogRef) (io.ReadCloser, error)
	// LogTransports tells which of these calls this Ray has.
	LogTransports() ray.LogTransports
}

// MessageClient is what a stream needs of a cluster that gives logs as messages.
type MessageClient interface {
	Cluster
	// TailWebSocket and TailSSE open a stream of a job's messages, from the first
	// one on.
	TailWebSocket(ctx context.Context, id string) (ray.MessageStream, error)
	TailSSE(ctx context.Context, id string) (ray.MessageStream, error)
	// JobLogs gives the whole log as text, as it is now.
	JobLogs(ctx context.Context, id string) (io.ReadCloser, error)
}

// Protocols that a stream may be told to keep to. Where logs are messages, each
// has the whole log as its last way; so where a Ray gives no files, in their place.
const (
	ProtocolAuto      = "auto"      // agent, else websocket, else file; of messages: websocket, else sse
	ProtocolWebSocket = "websocket" // websocket, and the file for the end's proof
	ProtocolHTTP      = "http"      // agent, else file; of messages: sse
)

// Backfills: what is shipped of the jobs that a cluster lists when it is first seen.
const (
	BackfillRunning = "running" // those that are not terminal, from their first byte
	BackfillAll     = "all"     // finished ones too
	BackfillNone    = "none"    // no submission listed then
)

// Options are the settings of one cluster's shipping. The zero value of each
// field means its default.
type Options struct {
	Cluster  string        // the records' ray_cluster and the metrics' label
	Interval time.Duration // between two looks at the job list; 5 s
	Backfill string        // BackfillRunning
	// Include picks the jobs to ship: all where it is empty, else those that
	// one of them matches. Exclude then takes out those that one of it matches.
	Include, Exclude []Selector
	Protocol         string        // ProtocolAuto
	Timeout          time.Duration // of opening a stream, and of one read that brings nothing; 30 s
	MaxTails         int           // WebSockets held, of messages also SSE streams; 8
	MaxReplay        int64         // content bytes past which a WebSocket is not dialled again; 8 MiB; not of messages
	BackoffInitial   time.Duration // 500 ms
	BackoffMax       time.Duration // 30 s
	Limits           Limits
	Shaping          Shaping
	Labels           map[string]string // constant keys of every record
	Metadata         []string          // keys of the jobs' metadata that records carry
	EndTimeout       time.Duration     // how long a terminal job's log may be unreadable before it is lost; 10 min
	Linger           time.Duration     // how long children may print after a job's end; 5 s
	AbsentFor        time.Duration     // how long answers must lack a job before it is believed to be gone; 15 s
	PollInterval     time.Duration     // between two reads of a log that grows; 1 s
	FileRate         float64           // reads by the file way that the cluster bears a second; 5
	// Recheck is how long after the end of a run, and after the check before it, its
	// log is checked for what was printed later; 15 s, 1 min, 5 min.
	Recheck []time.Duration
	Log     logrus.FieldLogger
}

// Limits bound one stream; 0 is no limit. They are inclusive and count new
// data only, never what a reconnect replays.
type Limits struct {
	MaxMessages    uint64        // WebSocket frames
	MaxLines       uint64        //
	MaxBytes       uint64        // content bytes
	MaxMessageSize int           // bytes of one line's message, past which it is cut; 256 KiB
	SkipOversized  bool          // leave an oversized line out instead of cutting it
	Window         time.Duration // the counters start anew after it; 0: never
	Pause          bool          // at a limit wait for the window's end instead of giving the job up
}

// Selector matches jobs by patterns as of package namepattern; an empty field
// matches every job.
type Selector struct {
	SubmissionID string
	JobName      string
	Metadata     map[string]string
}

func (s Selector) match(j ray.Job) bool {
	if !matches(s.SubmissionID, j.SubmissionID) || !matches(s.JobName, j.Name()) {
		return false
	}
	for k, pattern := range s.Metadata {
		if v, ok := j.Metadata[k]; !ok || !matches(pattern, v) {
			return false
		}
	}
	return true
}

func matches(pattern, s string) bool { return pattern == "" || namepattern.Match(pattern, s) }

func (o *Options) wants(j ray.Job) bool {
	any := func(ss []Selector) bool {
		for _, s := range ss {
			if s.match(j) {
				return true
			}
		}
		return false
	}
	return (len(o.Include) == 0 || any(o.Include)) && !any(o.Exclude)
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Interval, 5*time.Second)
	def(&o.Timeout, 30*time.Second)
	def(&o.BackoffInitial, 500*time.Millisecond)
	def(&o.BackoffMax, 30*time.Second)
	def(&o.EndTimeout, 10*time.Minute)
	def(&o.Linger, 5*time.Second)
	def(&o.AbsentFor, 15*time.Second)
	def(&o.PollInterval, time.Second)
	if o.Recheck == nil {
		o.Recheck = recheckAfter
	}
	if o.Backfill == "" {
		o.Backfill = BackfillRunning
	}
	if o.Protocol == "" {
		o.Protocol = ProtocolAuto
	}
	if o.MaxTails == 0 {
		o.MaxTails = 8
	}
	if o.MaxReplay == 0 {
		o.MaxReplay = 8 << 20
	}
	if o.FileRate == 0 {
		o.FileRate = 5
	}
	if o.Limits.MaxMessageSize == 0 {
		o.Limits.MaxMessageSize = 256 << 10
	}
	def(&o.Shaping.Wait, 1500*time.Millisecond)
	if o.Shaping.MaxLines == 0 {
		o.Shaping.MaxLines = 500
	}
	o.Shaping.MaxLines = min(o.Shaping.MaxLines, math.MaxUint16)
	if o.Shaping.Location == nil {
		o.Shaping.Location = time.UTC
	}
	if o.Log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		o.Log = l
	}
	return o
}
