// Package rotation reads a log that is rotated while it is read: by renames, by
// copytruncate, or by a move that its writer does not notice. It is pure code over Files:
// it knows no network and no lines.
//
// A rotated log is a series of generations. The open one is still written to; the others
// are closed, and lie under NAME.1, NAME.2 and so on, the oldest under the highest number.
// Names move while they are read, so a Position holds no name: it identifies the generation
// by the file before it and by its content.
package rotation

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/cespare/xxhash/v2"

	"raytap/ray"
)

const (
	// ProofSize is how many bytes a Sum covers at most.
	ProofSize = 4096
	// maxNumber is the highest number that is looked for behind a name.
	maxNumber = 20
)

// ErrRotating is returned by Next while names keep moving: the next look may be clear.
var ErrRotating = errors.New("the log is being rotated")

// Files are the files of one rotated log. k is 0 for the log itself (or for where it was
// moved to), and k for its k-th older generation, NAME.k. The error for a file that does
// not exist has ray.Code 404.
type Files interface {
	Stat(ctx context.Context, k int) (ray.FileStat, error)
	// Read returns the bytes from an offset up to another. A file with no byte there
	// returns an empty body and its size.
	Read(ctx context.Context, k int, from, to int64) (ray.FilePart, error)
}

// Validator identifies a file that does not change any more, under any name: a hash of its
// ETag, else of its modification time, its size and its first ProofSize bytes. Ray's agent
// makes the ETag of the modification time in nanoseconds and the size, which a rename keeps
// (Ray 2.60.0, aiohttp). Zero: there is no file.
type Validator uint64

// Sum identifies a piece of a file. Its zero value is the empty piece.
type Sum struct {
	Size int // bytes, at most ProofSize
	Hash uint64
}

func sumOf(b []byte) Sum { return Sum{Size: len(b), Hash: xxhash.Sum64(b)} }

// is reports whether b is the piece.
func (s Sum) is(b []byte) bool { return len(b) == s.Size && (s.Size == 0 || xxhash.Sum64(b) == s.Hash) }

// Position is where in a rotated log the next byte is. Its zero value is that of a log of
// which nothing was read yet. It is a plain value, and holds no name.
type Position struct {
	// After is the generation before this one; zero if there was none.
	After Validator
	// Own is this generation, if it was closed when it was read; else zero.
	Own Validator
	Raw int64 // bytes of this generation before the position
	// Head is the beginning of this generation, and Proof the bytes right before the
	// position. Both have ProofSize bytes, or Raw if that is less.
	Head, Proof Sum
}

// At returns the position at an offset of the file with a number, which the caller has found
// to be the right one. It sends up to four requests.
func At(ctx context.Context, files Files, k int, raw int64) (Position, error) {
	r := NewReader(files, true, Position{})
	after, err := r.validator(ctx, k+1)
	if err != nil || raw == 0 {
		return Position{After: after}, err
	}
	p := Position{After: after, Raw: raw}
	head, _, err := r.read(ctx, k, 0, min(raw, ProofSize))
	if err != nil {
		return p, err
	}
	proof, _, err := r.read(ctx, k, max(0, raw-ProofSize), raw)
	p.Head, p.Proof = sumOf(head), sumOf(proof)
	return p, err
}

// fileValidator returns the validator of a file. head is its beginning, which counts only
// for an agent that sends no ETag.
func fileValidator(st ray.FileStat, head []byte) Validator {
	var h xxhash.Digest
	h.Reset()
	if st.ETag != "" {
		_, _ = h.WriteString(st.ETag) // xxhash never fails
	} else {
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:8], uint64(st.Modified.UnixNano()))
		binary.LittleEndian.PutUint64(b[8:], uint64(st.Size))
		_, _ = h.Write(b[:])
		_, _ = h.Write(head)
	}
	return Validator(max(h.Sum64(), 1))
}

// sameFile reports whether two answers describe a file in the same state.
func sameFile(a, b ray.FileStat) bool {
	return a.ETag == b.ETag && a.Size == b.Size && a.Modified.Equal(b.Modified)
}
