// Package sink takes records and puts them where they belong: on stdout, or
// into a rotated file.
//
// It knows bytes and records (a record ends with a newline and holds no other
// one), not what stands in them.
package sink

import (
	"context"
	"errors"
)

// Sink takes whole records, in order, from one writer.
//
// Order: records come out in the order in which they were given, and never
// half a record with another one behind it.
//
// Ownership: p stays the caller's. Write does not change it and keeps nothing
// of it once it has returned.
//
// Durability: nil from Write means accepted. For Stdout that is "in the pipe";
// for File "written", and on disk according to its fsync policy. An accepted
// record is never written again by the sink.
//
// Concurrency: Write and Close are called by one goroutine at a time. What else
// an implementation has says itself who may call it.
type Sink interface {
	// Write accepts p, one or more whole newline-terminated records, or returns
	// an error. It blocks for back-pressure (a reader that does not read, a
	// full disk) until ctx ends.
	//
	// An error that wraps ctx's own and not ErrFailed means that nothing of p
	// was written: the sink is as before, and p may be given again. Every other
	// error is final: a part of p may be out, possibly ending within a record,
	// the sink will never write behind it, and each later Write returns the
	// same error. So give a ctx that ends only when the time to drain is over.
	Write(ctx context.Context, p []byte) error

	// Close ends the sink and frees what it opened. It waits for no reader. A
	// second Close does nothing.
	Close() error
}

var (
	// ErrClosed says that nobody reads what the sink writes any more (EPIPE on
	// stdout), or that the sink was closed.
	ErrClosed = errors.New("closed")

	// ErrFailed says that the sink broke and is finished: what it holds has to
	// be recovered as at start-up.
	ErrFailed = errors.New("failed")

	// ErrRemoved says that the file under the sink was removed. What was written
	// since it was last seen is gone with it, and nothing is written any more
	// until File.Remake has made another one.
	ErrRemoved = errors.New("removed by others")
)
