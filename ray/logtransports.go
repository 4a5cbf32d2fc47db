package ray

import "errors"

// LogTransports tells which ways to read driver logs a Ray has. The zero value is one
// that has them all.
type LogTransports struct {
	// Ray is the version that this is known of; "" while none was told.
	Ray string
	// NoFile: it does not give log files unchanged, so that LogLines is always an
	// error of code 501 (Ray before 2.40).
	NoFile bool
	// TailsBlock: a WebSocket tail stops the job agent of its node for a second each
	// time that it reaches the log's end (Ray 2.11 to 2.37). Five of them made a
	// submit take 14 to 28 s, and 10 s after their client had gone (2.30.0).
	TailsBlock bool
}

// ErrNotText is in the chain of an error that says that a log is not UTF-8, so that
// it cannot be given as text.
var ErrNotText = errors.New("the log is not UTF-8")

// ErrTooLarge is in the chain of an error that says that an answer is larger than
// the client takes. It has code 500.
var ErrTooLarge = errors.New("answer too large")
