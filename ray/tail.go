package ray

import (
	"fmt"
	"math"
	"net/http"
	"time"
)

// The protocols of a tail.
const (
	TailAuto      = "auto"      // WebSocket, then HTTP if that fails
	TailWebSocket = "websocket" // WebSocket only
	TailHTTP      = "http"      // HTTP only
)

// MaxTailTimeout is the longest TailOptions.Timeout.
const MaxTailTimeout = 300 * time.Second

// TailOptions are the settings of one tail. Start from DefaultTailOptions: the zero
// value is invalid.
type TailOptions struct {
	Protocol string // TailAuto, TailWebSocket or TailHTTP
	// Timeout bounds how long a connection takes to open, and how long it may go
	// without a keep-alive; more than 0, at most 300 s. A silent job does not time out.
	Timeout time.Duration
	Limits  StreamLimits
}

// StreamLimits bound one tail. They are inclusive: what exceeds a limit ends the tail
// with an error of code 429, after everything within it was returned. They count new
// data only, not what a reconnect replays; 0 is no limit.
type StreamLimits struct {
	MaxMessages    int64 // WebSocket frames and SSE events that hold lines
	MaxLines       int64
	MaxBytes       int64 // bytes of lines without their line ends
	MaxMessageSize int   // bytes of one line; a longer one is truncated and marked
}

// DefaultTailOptions returns the default settings.
func DefaultTailOptions() TailOptions {
	return TailOptions{Protocol: TailAuto, Timeout: 30 * time.Second, Limits: StreamLimits{
		MaxMessages: 10_000, MaxLines: 50_000, MaxBytes: 50 << 20, MaxMessageSize: 10 << 10,
	}}
}

// Check returns the first invalid option as an *Error of code 400.
func (o TailOptions) Check() error {
	bad := func(format string, args ...any) error {
		return &Error{Op: "tail job", Code: http.StatusBadRequest, Detail: fmt.Sprintf(format, args...)}
	}
	if o.Timeout <= 0 || o.Timeout > MaxTailTimeout {
		return bad("timeout is %s: it must be more than 0 and at most %s", o.Timeout, MaxTailTimeout)
	}
	switch o.Protocol {
	case TailAuto, TailWebSocket, TailHTTP:
	default:
		return bad("protocol is %q: it must be auto, websocket or http", o.Protocol)
	}
	l := o.Limits
	if l.MaxMessages < 0 || l.MaxLines < 0 || l.MaxBytes < 0 || l.MaxMessageSize < 0 || l.MaxMessageSize > math.MaxInt32 {
		return bad("a stream limit is negative or too large")
	}
	return nil
}

// TailLine is one line of a job's log.
type TailLine struct {
	Text string // without its line end; at most MaxMessageSize bytes
	// Truncated reports whether the line was longer. Bytes is its full length.
	Truncated bool
	Bytes     int
}
