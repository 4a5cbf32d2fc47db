package tail

import (
	"context"
	"io"
	"time"

	"raytap/shipper/aggregate"

	"github.com/sirupsen/logrus"

	"raytap/ray"
)

// API is what discovery and a tail need to know of a cluster: answers of their own, never
// cached.
type API interface {
	Version(ctx context.Context) (ray.Version, error)
	Job(ctx context.Context, id string) (ray.Job, error)
}

// NodeLister lists the nodes of a cluster. The answer may be shared with others.
type NodeLister interface {
	Nodes(ctx context.Context) ([]ray.Node, error)
}

// Client is what a tail needs of a cluster whose logs are read as bytes.
type Client interface {
	API
	// TailLog opens a WebSocket that replays the log from its first byte.
	TailLog(ctx context.Context, ref ray.LogRef) (ray.LogStream, error)
	// AgentLog reads the log's raw bytes from an offset on, from the node's
	// agent. ray.ErrTransportNotAllowed: this agent must not be used.
	AgentLog(ctx context.Context, ref ray.LogRef, from int64) (ray.LogRange, error)
	// LogLines reads the last n lines, each ended by \n; all of them if n <= 0.
	LogLines(ctx context.Context, ref ray.LogRef, n int) (io.ReadCloser, error)
	// LogText returns the whole log as text. ray.ErrNotText, ray.ErrTooLarge: it can never
	// be returned so.
	LogText(ctx context.Context, ref ray.LogRef) (io.ReadCloser, error)
	// LogTransports returns which of these calls this Ray has.
	LogTransports() ray.LogTransports
}

// MessageClient is what a tail needs of a cluster that sends logs as messages.
type MessageClient interface {
	API
	// TailWebSocket and TailSSE open a stream of a job's messages, from the first
	// one on.
	TailWebSocket(ctx context.Context, id string) (ray.MessageStream, error)
	TailSSE(ctx context.Context, id string) (ray.MessageStream, error)
	// JobLogs returns the whole log as text, as it is now.
	JobLogs(ctx context.Context, id string) (io.ReadCloser, error)
}

// Protocols that a tail may be restricted to. Where logs are messages, each has the
// snapshot as its last transport; so where a Ray has no file API, in its place.
const (
	ProtocolAuto      = "auto"      // node agent, else WebSocket, else file; of messages: WebSocket, else SSE
	ProtocolWebSocket = "websocket" // WebSocket, and the file to verify the end
	ProtocolHTTP      = "http"      // node agent, else file; of messages: SSE
)

// TailOptions are the settings of one cluster's tails. The zero value of each field means
// its default.
type Options struct {
	Cluster        string        // the records' ray_cluster and the metrics' label
	Protocol       string        // ProtocolAuto
	Timeout        time.Duration // of opening a stream, and of one read that brings nothing; 30 s
	PollInterval   time.Duration // between two reads of a log that grows; 1 s
	MaxTails       int           // WebSockets open at once, of messages also SSE streams; 8
	MaxReplay      int64         // content bytes past which a WebSocket is not dialled again; 8 MiB; not of messages
	FileRate       float64       // reads of the file API a second, of all tails; 5
	BackoffInitial time.Duration // 500 ms
	BackoffMax     time.Duration // 30 s
	GracePeriod    time.Duration // how long children may print after a job's end; 5 s
	LostAfter      time.Duration // how long a terminal job's log may be unreadable before it is lost; 10 min
	AbsentFor      time.Duration // how long answers must lack a job before that is believed; 15 s
	Limits         Limits
	Record         RecordOptions
	Aggregate      aggregate.Options
	Log            logrus.FieldLogger
}

// RecordOptions are what records have besides the line. The zero value adds nothing.
type RecordOptions struct {
	Labels   map[string]string // constant keys of every record
	Metadata []string          // keys of the jobs' metadata that records carry
	// LineTime adds the time that a line states. Location is where one was taken that names
	// no zone; nil: UTC.
	LineTime bool
	Location *time.Location
	// StripANSI removes escape sequences from messages.
	StripANSI bool
}

// Limits bound one tail; 0 is no limit. They are inclusive and count new data only, never
// what a reconnect replays.
type Limits struct {
	MaxMessages    uint64        // WebSocket frames
	MaxLines       uint64        //
	MaxBytes       uint64        // content bytes
	MaxMessageSize int           // bytes of one line's message, past which it is truncated; 256 KiB
	DropOversized  bool          // drop an oversized line instead of truncating it
	Interval       time.Duration // the counters start again after it; 0: never
	Pause          bool          // at a limit wait for the interval's end instead of ending the job's shipping
}

func (o Options) WithDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Timeout, 30*time.Second)
	def(&o.BackoffInitial, 500*time.Millisecond)
	def(&o.BackoffMax, 30*time.Second)
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

// TailStatus is the status of one log that is tailed.
type Status struct {
	SubmissionID string
	Status       string // of the job, as last listed
	Transport    string // over which it is read; none before the first read
	State        string // reading, or waiting to try again
	LastRead     time.Time
	// Error is why the last read failed, maxShownError bytes of it at most; empty
	// once one went well, and where a log merely had to be asked for anew.
	Error string
	// Lines and Bytes are what the sink has taken since the log's start; bytes
	// count without line ends.
	Lines, Bytes uint64
}
