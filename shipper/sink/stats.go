package sink

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"
)

// Stats counts what a sink did. The zero value is ready; all of it may be read
// at any time, from any goroutine.
type Stats struct {
	Bytes atomic.Uint64 // accepted; who gives them knows how many records they are

	Rotations atomic.Uint64
	Removed   atomic.Uint64 // rotated files removed for max_files
	Reopens   atomic.Uint64

	Fsyncs     atomic.Uint64
	FsyncNanos atomic.Uint64 // spent in all of them together
	// StalledSince is the Unix time in nanoseconds since which a write waits
	// for room, for rights or for a checkpoint; 0 where none does.
	StalledSince atomic.Int64

	errs [len(errorKinds)]atomic.Uint64
}

// errorKinds are the values that Errors yields, fit for a metric's label.
var errorKinds = [...]string{"full", "denied", "closed", "fsync", "checkpoint", "rotate", "locked", "removed", "truncated", "other"}

// The indices of errorKinds.
const (
	kindFull = iota
	kindDenied
	kindClosed
	kindFsync
	kindCheckpoint
	kindRotate
	kindLocked
	kindRemoved
	kindTruncated
	kindOther
)

// Errors yields each kind of error with its count, zeroes too: full (ENOSPC,
// EDQUOT, EFBIG), denied (EROFS, EACCES, EPERM), closed (EPIPE), fsync,
// checkpoint (it could not be saved), rotate (rename, compress or remove), locked
// (another process writes the file), removed and truncated (by others), other.
func (s *Stats) Errors(yield func(kind string, n uint64) bool) {
	for i, kind := range errorKinds {
		if !yield(kind, s.errs[i].Load()) {
			return
		}
	}
}

func (s *Stats) fail(kind int) { s.errs[kind].Add(1) }

func (s *Stats) fsynced(d time.Duration) {
	s.Fsyncs.Add(1)
	s.FsyncNanos.Add(uint64(max(d, 0)))
}

// kindOf sorts the error of a write or an open.
func kindOf(err error) int {
	switch {
	case is(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG):
		return kindFull
	case is(err, syscall.EROFS, syscall.EACCES, syscall.EPERM):
		return kindDenied
	case is(err, syscall.EPIPE):
		return kindClosed
	case errors.Is(err, ErrLocked):
		return kindLocked
	}
	return kindOther
}

func is(err error, any ...syscall.Errno) bool {
	for _, e := range any {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
