package tail

import (
	"context"
	"io"
	"time"

	"raytap/shipper/aggregate"
	"raytap/shipper/record"

	"github.com/sirupsen/logrus"

	"raytap/ray"
)

// API requests what discovery and a tail need to know about a cluster. Its responses are
// not cached.
type API interface {
	Version(ctx context.Context) (ray.Version, error)
	Job(ctx context.Context, id string) (ray.Job, error)
}

// NodeLister lists the nodes of a cluster. The list may be shared with other callers.
type NodeLister interface {
	Nodes(ctx context.Context) ([]ray.Node, error)
}

// Client reads the logs of a cluster as bytes.
type Client interface {
	API
	// TailLog opens a WebSocket that replays the log from its first byte.
	TailLog(ctx context.Context, ref ray.LogRef) (ray.LogStream, error)
	// AgentLog reads the log's raw bytes from an offset on, from its node's agent.
	// ray.ErrTransportNotAllowed: this agent must not be used.
	AgentLog(ctx context.Context, ref ray.LogRef, from int64) (ray.LogRange, error)
	// AgentFile reads the bytes [from,to) of a file in a node's log directory, and
	// AgentFileStat describes it. Code 404: there is no such file.
	AgentFile(ctx context.Context, agentURL, name string, from, to int64) (ray.FilePart, error)
	AgentFileStat(ctx context.Context, agentURL, name string) (ray.FileStat, error)
	// LogLines reads the last n lines, each with a \n; all lines if n <= 0.
	LogLines(ctx context.Context, ref ray.LogRef, n int) (io.ReadCloser, error)
	// LogText returns the whole log as text. ray.ErrNotText and ray.ErrTooLarge are
	// permanent.
	LogText(ctx context.Context, ref ray.LogRef) (io.ReadCloser, error)
	// LogTransports returns which of these calls this Ray has.
	LogTransports() ray.LogTransports
}

// MessageClient reads the logs of a cluster that sends them as messages.
type MessageClient interface {
	API
	// TailWebSocket and TailSSE open a stream of all messages of a job, from the first one
	// on.
	TailWebSocket(ctx context.Context, id string) (ray.MessageStream, error)
	TailSSE(ctx context.Context, id string) (ray.MessageStream, error)
	// JobLogs returns the whole log as text, as it is now.
	JobLogs(ctx context.Context, id string) (io.ReadCloser, error)
}

// Protocols that restrict the transports of a tail. If logs are messages, the snapshot is
// the last transport of each protocol. If a Ray has no file API, it takes its place.
const (
	ProtocolAuto      = "auto"      // node agent, else WebSocket, else file; for messages: WebSocket, else SSE
	ProtocolWebSocket = "websocket" // WebSocket, and the file to verify the end
	ProtocolHTTP      = "http"      // node agent, else file; for messages: SSE
)

// Options are the settings of one cluster's tails. The zero value of a field is its
// default.
type Options struct {
	Cluster      string        // the records' ray_cluster and the metrics' label
	Protocol     string        // ProtocolAuto
	Timeout      time.Duration // to open a stream, and until a silent stream is checked; 30 s
	PollInterval time.Duration // between two reads of a log that grows; 1 s
	MaxTails     int           // WebSockets open at once, for messages also SSE streams; 8
	MaxReplay    int64         // content bytes of a log above which no WebSocket is opened; 8 MiB; not for messages
	FileRate     float64       // reads of the file API per second, for all tails; 5
	Backoff      Backoff
	GracePeriod  time.Duration // how long child processes may print after a job's end; 5 s
	LostAfter    time.Duration // how long the log of an ended job may be unreadable before it counts as lost; 10 min
	AbsentFor    time.Duration // how long a job must be missing from responses to count as deleted; 15 s
	Limits       Limits
	Record       RecordOptions
	Aggregate    aggregate.Options
	Log          logrus.FieldLogger
}

// Backoff is the pause between failed reads, which grows from Initial (500 ms) to Max (30 s).
type Backoff struct{ Initial, Max time.Duration }

// RecordOptions say what records have in addition to the line. The zero value adds nothing.
type RecordOptions struct {
	Labels   map[string]string // constant keys of every record
	Metadata []string          // keys of the jobs' metadata that are added
	// ClusterLabels are keys of every record that may change; nil: none.
	ClusterLabels *record.Labels
	// LineTime adds the time that a line states. Location is the zone of times that name
	// none; nil: UTC.
	LineTime bool
	Location *time.Location
	// StripANSI removes escape sequences from messages.
	StripANSI bool
	// Relayed adds what Ray says of a line of another process, Structured what a line of its
	// JSON logging says of what printed it.
	Relayed, Structured bool
}

// Limits are the limits of one tail; 0 is no limit. They are inclusive and count new data
// only, not what a reconnect replays.
type Limits struct {
	MaxMessages    uint64        // WebSocket frames
	MaxLines       uint64        //
	MaxBytes       uint64        // content bytes
	MaxMessageSize int           // bytes of a line above which it is truncated; 256 KiB
	DropOversized  bool          // drop an oversized line instead of truncating it
	Interval       time.Duration // the counters are reset after it; 0: never
	Pause          bool          // at a limit wait for the end of the interval, instead of ending the tail
}

// WithDefaults returns o with the default of each field that is zero.
func (o Options) WithDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Timeout, 30*time.Second)
	def(&o.Backoff.Initial, 500*time.Millisecond)
	def(&o.Backoff.Max, 30*time.Second)
	def(&o.LostAfter, 10*time.Minute)
	def(&o.GracePeriod, 5*time.Second)
	def(&o.AbsentFor, 15*time.Second)
	def(&o.PollInterval, time.Second)
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
	o.Aggregate = o.Aggregate.WithDefaults()
	if o.Log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		o.Log = l
	}
	return o
}

// Status is the status of one tail.
type Status struct {
	SubmissionID string
	Status       string    // of the job, as last listed
	Transport    string    // in use; none before the first read
	State        string    // reading or waiting
	LastRead     time.Time // last successful read
	// Error is why the last read failed, at most maxShownError bytes; empty after a
	// successful read, and if the read only has to be repeated.
	Error string
	// Lines and Bytes are what the sink has accepted since the log's start; bytes are
	// content bytes, without line ends.
	Lines, Bytes uint64
}
