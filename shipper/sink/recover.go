package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxRecord is how much of a record Recover reads (bytes). A record has its keys
// first, so that they are complete even if it is longer.
const MaxRecord = 4 << 20

// recoverBlock is the size of Recover's reads (bytes).
const recoverBlock = 64 << 10

// RecoveryStatus is how a sink file compares with its watermark.
type RecoveryStatus int

// The results of Recover. Unless it is StatusRecovered, what was written after the
// saved positions is unknown, and the caller has to report that.
const (
	// StatusRecovered: the file matches the watermark; record was called for the
	// records after it.
	StatusRecovered RecoveryStatus = iota
	// StatusNoWatermark: no watermark was saved.
	StatusNoWatermark
	// StatusOtherPath: the watermark is of another path.
	StatusOtherPath
	// StatusMissing: the file does not exist, and was not rotated.
	StatusMissing
	// StatusTruncated: the file ends before the watermark.
	StatusTruncated
	// StatusReplaced: the watermark is not at the end of a record, so this is not
	// the file that was written.
	StatusReplaced
)

var statusTexts = map[RecoveryStatus]string{
	StatusRecovered:   "file matches the saved position",
	StatusNoWatermark: "no position was saved for it",
	StatusOtherPath:   "saved position is of a file at another path",
	StatusMissing:     "file is missing",
	StatusTruncated:   "file is shorter than the saved position",
	StatusReplaced:    "file is not the one that was written",
}

// String returns a description for log messages.
func (s RecoveryStatus) String() string { return statusTexts[s] }

// Recovery is the result of Recover.
type Recovery struct {
	Status RecoveryStatus
	// Rotated reports whether the watermark's file was rotated after the watermark
	// was saved, so that the current file was read from its start.
	Rotated bool
	// Records is the number of calls of record.
	Records int
	// Size is the size of the current file (bytes), without TornBytes; 0 if missing.
	Size int64
	// TornBytes is the number of bytes removed at the end: a torn last record, and
	// unwritten blocks after a power cut.
	TornBytes int64
}

// recoverFile is Claim.Recover for the file at path; file is nil if it did not exist.
func recoverFile(fs fileSystem, file fsFile, path string, saved Watermark, record func([]byte) error) (r Recovery, err error) {
	from := saved.Offset
	if saved.Path == path && saved.Number > 0 {
		all, err := listArchive(fs, path)
		if err != nil {
			return r, err
		}
		// Numbers are never reused: a later one proves the rotation, too.
		if len(all) > 0 && all[len(all)-1].number >= saved.Number {
			r.Rotated, from = true, 0
		}
	}
	if file == nil {
		r.Status = statusOf(path, saved, r.Rotated, StatusMissing)
		return r, nil
	}
	if r.Size, err = file.size(); err != nil {
		return r, err
	}
	r.Status = statusOf(path, saved, false, StatusRecovered)
	if r.Status != StatusRecovered {
		return r, nil // possibly not our file: leave it unchanged
	}
	if err := r.truncateTorn(file, from); err != nil {
		return r, fmt.Errorf("truncate a torn last record: %w", err)
	}
	if from < 0 || from > r.Size {
		r.Status = StatusTruncated
		return r, nil
	}
	if from > 0 && endsWithRecord(file, from) != nil {
		r.Status = StatusReplaced
		return r, nil
	}
	err = scanRecords(io.NewSectionReader(file, from, r.Size-from), func(b []byte) error {
		r.Records++
		return record(b)
	})
	return r, err
}

// truncateTorn removes a torn last record, and everything from the first zero byte
// after from: no record contains one, but a power cut can leave a file whose length
// was written and some of whose blocks were not. These bytes never counted as
// written.
func (r *Recovery) truncateTorn(file fsFile, from int64) error {
	intact := r.Size
	if from >= 0 && from <= r.Size && (from == 0 || endsWithRecord(file, from) == nil) {
		zero, err := indexZero(io.NewSectionReader(file, from, r.Size-from))
		if err != nil {
			return err
		}
		if zero >= 0 {
			intact = from + zero
		}
	}
	end, err := lastRecordEnd(file, intact)
	if err != nil || end == r.Size {
		return err
	}
	if err := file.Truncate(end); err != nil {
		return err
	}
	r.Size, r.TornBytes = end, r.Size-end
	return file.Sync()
}

// indexZero returns the offset of the first zero byte of r, or -1 if there is none.
func indexZero(r io.Reader) (int64, error) {
	block := make([]byte, recoverBlock)
	for read := int64(0); ; {
		n, err := r.Read(block)
		if i := bytes.IndexByte(block[:n], 0); i >= 0 {
			return read + int64(i), nil
		}
		read += int64(n)
		switch {
		case errors.Is(err, io.EOF):
			return -1, nil
		case err != nil:
			return -1, err
		}
	}
}

// statusOf returns the status that the watermark alone decides, or otherwise.
func statusOf(path string, saved Watermark, rotated bool, otherwise RecoveryStatus) RecoveryStatus {
	switch {
	case saved.Number == 0:
		return StatusNoWatermark
	case saved.Path != path:
		return StatusOtherPath
	case rotated:
		return StatusRecovered
	}
	return otherwise
}

// lastRecordEnd returns the end of the last whole record in the first size bytes.
func lastRecordEnd(r io.ReaderAt, size int64) (int64, error) {
	block := make([]byte, recoverBlock)
	for end := size; end > 0; {
		start := max(0, end-int64(len(block)))
		b := block[:end-start]
		if _, err := r.ReadAt(b, start); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}

// scanRecords calls record for the whole records of r, without newline, truncated to
// MaxRecord.
func scanRecords(r io.Reader, record func([]byte) error) error {
	block := make([]byte, recoverBlock)
	var partial []byte // the beginning of a record whose end has not been read
	for {
		n, err := r.Read(block)
		b := block[:n]
		for {
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				break
			}
			whole := b[:i]
			if len(partial) > 0 {
				partial = appendUpTo(partial, whole)
				whole = partial
			}
			if err := record(whole); err != nil {
				return err
			}
			partial, b = partial[:0], b[i+1:]
		}
		partial = appendUpTo(partial, b)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// appendUpTo appends b to record, up to a total of MaxRecord bytes.
func appendUpTo(record, b []byte) []byte {
	return append(record, b[:min(len(b), MaxRecord-len(record))]...)
}
