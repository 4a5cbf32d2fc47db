package sink

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"
)

// Stats are the counters of a sink. The zero value is ready. They may be read
// concurrently.
type Stats struct {
	Bytes atomic.Uint64 // accepted

	Rotations atomic.Uint64
	Removed   atomic.Uint64 // rotated files removed for max_files
	Reopens   atomic.Uint64

	Fsyncs     atomic.Uint64
	FsyncNanos atomic.Uint64 // total duration
	// StalledSince is the Unix time in nanoseconds since which a write waits for
	// space, for permissions or for a checkpoint; 0 if none waits.
	StalledSince atomic.Int64

	errs [len(errorKinds)]atomic.Uint64
}

// errorKinds are the kinds that Errors yields, usable as values of a metric label.
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

// Errors yields each kind of error with its count, including zeroes: full (ENOSPC,
// EDQUOT, EFBIG), denied (EROFS, EACCES, EPERM), closed (EPIPE), fsync, checkpoint
// (positions not saved), rotate (rename, compress or remove), locked (another process
// writes the file), removed and truncated (by another process), other.
func (s *Stats) Errors(yield func(kind string, n uint64) bool) {
	for i, kind := range errorKinds {
		if !yield(kind, s.errs[i].Load()) {
			return
		}
	}
}

func (s *Stats) countError(kind int) { s.errs[kind].Add(1) }

func (s *Stats) countFsync(d time.Duration) {
	s.Fsyncs.Add(1)
	s.FsyncNanos.Add(uint64(max(d, 0)))
}

// kindOf returns the kind of an error of a write or an open.
func kindOf(err error) int {
	switch {
	case isAny(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG):
		return kindFull
	case isAny(err, syscall.EROFS, syscall.EACCES, syscall.EPERM):
		return kindDenied
	case isAny(err, syscall.EPIPE):
		return kindClosed
	case errors.Is(err, ErrLocked):
		return kindLocked
	}
	return kindOther
}

func isAny(err error, targets ...syscall.Errno) bool {
	for _, e := range targets {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
