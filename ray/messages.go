package ray

import (
	"errors"
	"io"
)

// ErrNoWebSocket is in the chain of an error that says that a server, or a
// proxy before it, answered and did not open a WebSocket. Another way to the log
// may serve. Its code is 404 where the server said so, 503 otherwise, for a
// refused upgrade says nothing of credentials (a FastAPI server answers 403 on a
// path that it does not have).
var ErrNoWebSocket = errors.New("no WebSocket is opened there")

// MessageStream gives the messages of a job's log from its first one on, as an
// agent sends them: a line each, several lines, or pieces of lines.
//
// The context given on opening governs the whole stream; Close may be called
// at any time, from any goroutine, and ends a blocked Next. Apart from Close a
// stream is used by one goroutine.
type MessageStream interface {
	// Next waits for a message and gives it as it was sent, with its newline if
	// it had one. The bytes are good until the next call.
	//
	// io.EOF means that the server said that the log is complete. Every other
	// end is an *Error that says how the stream ended (a Close frame, a broken
	// connection, silence on a connection that does not answer any more), which
	// tells nothing of the job: code 500 where the server sent an error, 503
	// otherwise. A job that is silent does not end its stream, as long as the
	// connection can be told to be alive.
	Next() ([]byte, error)
	io.Closer
}

// UnknownSession is the Session of a cluster whose API tells none: it does not
// tell one life of the head from another, nor one cluster from another.
const UnknownSession = "unknown"
