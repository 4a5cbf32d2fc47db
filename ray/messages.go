package ray

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// ErrNoWebSocket is in the chain of an error if a server, or a proxy in front of it,
// refused to upgrade to a WebSocket. Another transport may work. Its code is 404 if
// that was the status, else 503: the status of a refused upgrade is no statement about
// credentials (a FastAPI server answers 403 for a path that it does not have).
var ErrNoWebSocket = errors.New("WebSocket upgrade refused")

// refusalTTL is how long a refused WebSocket upgrade is remembered.
const refusalTTL = 5 * time.Minute

// UpgradeRefusals remembers for five minutes that a server refuses WebSocket upgrades, so
// that not each job has to find out. The zero value remembers nothing. Safe for concurrent
// use.
type UpgradeRefusals struct{ last atomic.Pointer[time.Time] }

// Note records that the server refused an upgrade at now.
func (r *UpgradeRefusals) Note(now time.Time) { r.last.Store(&now) }

// Recent reports whether the server refused an upgrade in the five minutes before now.
func (r *UpgradeRefusals) Recent(now time.Time) bool {
	last := r.last.Load()
	return last != nil && now.Sub(*last) < refusalTTL
}

// MessageStream returns the messages of a job's log from the first one on, as a Synapse
// agent sends them: one line each, several lines, or parts of lines.
//
// The context given on opening applies to the whole stream. Close may be called at any
// time, from any goroutine, and ends a blocked Next. Apart from Close a stream is used
// by one goroutine.
type MessageStream interface {
	// Next waits for a message and returns it as it was sent, with its newline if it
	// has one. The bytes are valid until the next call.
	//
	// io.EOF means that the server reported the log as complete. Any other end is an
	// *Error that describes how the stream ended (a Close frame, a broken connection, a
	// peer that no longer responds) and is no statement about the job: code 500 if the
	// server sent an error, else 503. A silent job does not end its stream while the
	// connection is known to be alive.
	Next() ([]byte, error)
	io.Closer
}

// UnknownSession is the Session of a cluster whose API does not report one. Equal
// values do not mean the same head or the same cluster.
const UnknownSession = "unknown"
