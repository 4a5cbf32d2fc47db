package ray

import (
	"fmt"
	"math"
	"net/http"
	"time"
)

// How a tail may be asked to connect.
const (
	TailAuto      = "auto"      // WebSocket, then HTTP if that fails
	TailWebSocket = "websocket" // WebSocket alone
	TailHTTP      = "http"      // HTTP alone
)

// MaxTailTimeout is the longest TailOptions.Timeout.
const MaxTailTimeout = 300 * time.Second

// TailOptions say how one job's log is tailed. Start from DefaultTailOptions:
// the zero value is refused.
type TailOptions struct {
	Protocol string // TailAuto, TailWebSocket or TailHTTP
	// Timeout bounds the opening of a connection, and how long one may give no
	// sign of life; more than 0, at most 300 s. A job that is silent is no
	// dead connection.
	Timeout time.Duration
	Limits  StreamLimits
}

// StreamLimits bound one tail. They are inclusive: exactly as much passes, and
// more ends the tail with an error of code 429 after everything before it was
// given. They count what is new, never what a reconnect replays; 0 is no limit.
type StreamLimits struct {
	MaxMessages    int64 // WebSocket frames and SSE events that hold lines
	MaxLines       int64
	MaxBytes       int64 // bytes of lines, their newlines not counted
	MaxMessageSize int   // bytes of one line, past which it is cut and marked so
}

// DefaultTailOptions are the settings of a tail that asks for nothing special.
func DefaultTailOptions() TailOptions {
	return TailOptions{Protocol: TailAuto, Timeout: 30 * time.Second, Limits: StreamLimits{
		MaxMessages: 10_000, MaxLines: 50_000, MaxBytes: 50 << 20, MaxMessageSize: 10 << 10,
	}}
}

// Check reports the first option that cannot be, as an *Error of code 400.
func (o TailOptions) Check() error {
	bad := func(format string, args ...any) error {
		return &Error{Op: "tail job", Code: http.StatusBadRequest, Detail: fmt.Sprintf(format, args...)}
	}
	if o.Timeout <= 0 || o.Timeout > MaxTailTimeout {
		return bad("the timeout is %s: it must be more than 0 and at most %s", o.Timeout, MaxTailTimeout)
	}
	switch o.Protocol {
	case TailAuto, TailWebSocket, TailHTTP:
	default:
		return bad("the protocol is %q: it must be auto, websocket or http", o.Protocol)
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
	// Truncated is true where the line was longer, and Bytes is then its
	// length in full (else the length of Text).
	Truncated bool
	Bytes     int
}
