// Package sink writes records to stdout or to a rotated file, and recovers the
// file after a crash.
//
// It handles bytes and records (a record ends with a newline and contains no
// other one), and does not interpret their content.
package sink

import (
	"context"
	"errors"
)

// Sink writes whole records, in order, from one writer.
//
// Order: records come out in the order of the calls to Write. No record follows a
// partial one.
//
// Ownership: p belongs to the caller. Write neither changes nor retains it.
//
// Durability: nil from Write means accepted. For Stdout that is "in the pipe";
// for File "written", and on disk according to its fsync policy. The sink never
// writes an accepted record again.
//
// Concurrency: Write and Close must not be called concurrently. Implementations
// document the concurrency of their other methods.
type Sink interface {
	// Write accepts p, one or more whole newline-terminated records, or returns
	// an error. It blocks on back-pressure (a reader that does not read, a full
	// disk) until ctx ends.
	//
	// If the error wraps ctx's own error and not ErrFailed, nothing of p was
	// written: the sink is unchanged, and p can be written again. Every other
	// error is final: a part of p may be written, possibly ending within a record,
	// and each later Write returns the same error. So pass a ctx that ends only
	// when the time to drain is over.
	Write(ctx context.Context, p []byte) error

	// Close ends the sink and frees what it opened. It does not wait for readers.
	// A second Close does nothing.
	Close() error
}

var (
	// ErrClosed means that stdout has no reader any more (EPIPE), or that the sink
	// was closed.
	ErrClosed = errors.New("closed")

	// ErrFailed means that the sink has failed permanently. Recover its content as
	// at start-up.
	ErrFailed = errors.New("failed")

	// ErrRemoved means that another process removed the sink's file. What was
	// written since the last check is lost with it, and nothing is written until
	// File.Recreate has made a new file.
	ErrRemoved = errors.New("removed by another process")
)
