package ray

import "errors"

// LogTransports reports which transports for driver logs a version of Ray lacks. The
// zero value is a version that has them all.
type LogTransports struct {
	// Ray is the version that this is true of; "" while it is unknown.
	Ray string
	// NoFile: Ray does not return log files unchanged, so that LogLines is always an
	// error of code 501 (Ray before 2.40).
	NoFile bool
	// TailsBlock: a WebSocket tail blocks the job agent of its node for a second each
	// time that it reaches the log's end (Ray 2.11 to 2.37). With five of them a
	// submit took 14 to 28 s, and 10 s after their client had disconnected (2.30.0).
	TailsBlock bool
}

// ErrNotText is in the chain of an error if a log is not UTF-8 and cannot be returned
// as text.
var ErrNotText = errors.New("the log is not UTF-8")

// ErrTooLarge is in the chain of an error of code 500 if a response is larger than the
// client accepts.
var ErrTooLarge = errors.New("response too large")
