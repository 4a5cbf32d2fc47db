package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxRecord bounds what Recover holds of a record (bytes). A record has its keys
// first, so that they are there even where it is longer.
const MaxRecord = 4 << 20

// recoverBlock is how much Recover reads at once (bytes).
const recoverBlock = 64 << 10

// Found says what a sink file looked like beside its watermark.
type Found int

// What Recover can find. In all cases but FoundRecords the saved positions
// stand, nothing is known of what came behind them, and it is for the caller to
// say so.
const (
	// FoundRecords: the file goes on from the watermark; its records behind it
	// were given.
	FoundRecords Found = iota
	// FoundUnmarked: there is no watermark to start from.
	FoundUnmarked
	// FoundElsewhere: the watermark is of another path.
	FoundElsewhere
	// FoundMissing: the file is not there, and was not rotated.
	FoundMissing
	// FoundShorter: the file ends before the watermark.
	FoundShorter
	// FoundOther: the watermark is not at a record's end, so the file is not
	// the one that was written.
	FoundOther
)

var foundTexts = map[Found]string{
	FoundRecords:   "it goes on from the saved position",
	FoundUnmarked:  "no position in it was saved",
	FoundElsewhere: "the saved position is in a file at another path",
	FoundMissing:   "the file is missing",
	FoundShorter:   "the file is shorter than it was",
	FoundOther:     "the file is not the one that was written",
}

// String gives a phrase for people.
func (f Found) String() string { return foundTexts[f] }

// Recovered is what Recover did.
type Recovered struct {
	Found Found
	// Rotated tells that the watermark's file was rotated after it was saved,
	// so that the current file was read from its start.
	Rotated bool
	// Records counts those that were given.
	Records int
	// Size is the current file's size, without what was cut; 0 if it is missing.
	Size int64
	// Cut counts the bytes that were cut off: a torn last record, and what a
	// power cut left of unwritten blocks; 0 if nothing was.
	Cut int64
}

// recoverFile is Claim.Recover for a file at path; nil: it was missing.
func recoverFile(fs fileSystem, file fsFile, path string, saved Watermark, record func([]byte) error) (r Recovered, err error) {
	from := saved.Offset
	if saved.Path == path && saved.Number > 0 {
		all, err := listArchive(fs, path)
		if err != nil {
			return r, err
		}
		// Numbers are never used again: a later one proves the rotation, too.
		if len(all) > 0 && all[len(all)-1].number >= saved.Number {
			r.Rotated, from = true, 0
		}
	}
	if file == nil {
		r.Found = found(path, saved, r.Rotated, FoundMissing)
		return r, nil
	}
	if r.Size, err = file.size(); err != nil {
		return r, err
	}
	r.Found = found(path, saved, false, FoundRecords)
	if r.Found != FoundRecords {
		return r, nil // perhaps not ours: nothing is cut
	}
	if err := r.cut(file, from); err != nil {
		return r, fmt.Errorf("cut a torn last record: %w", err)
	}
	if from < 0 || from > r.Size {
		r.Found = FoundShorter
		return r, nil
	}
	if from > 0 && endsWithRecord(file, from) != nil {
		r.Found = FoundOther
		return r, nil
	}
	err = eachRecord(io.NewSectionReader(file, from, r.Size-from), func(b []byte) error {
		r.Records++
		return record(b)
	})
	return r, err
}

// cut cuts a torn last record off, and everything behind the first zero byte
// that lies behind from: no record holds one, but a power cut can leave a file
// whose length was written and whose blocks were not, or not all. What is cut
// there was never counted as written.
func (r *Recovered) cut(file fsFile, from int64) error {
	sound := r.Size
	if from >= 0 && from <= r.Size && (from == 0 || endsWithRecord(file, from) == nil) {
		zero, err := firstZero(io.NewSectionReader(file, from, r.Size-from))
		if err != nil {
			return err
		}
		if zero >= 0 {
			sound = from + zero
		}
	}
	end, err := lastRecordEnd(file, sound)
	if err != nil || end == r.Size {
		return err
	}
	if err := file.Truncate(end); err != nil {
		return err
	}
	r.Size, r.Cut = end, r.Size-end
	return file.Sync()
}

// firstZero gives the offset of the first zero byte of r, and -1 if it has none.
func firstZero(r io.Reader) (int64, error) {
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

// found judges by the watermark alone, and leaves the rest to otherwise.
func found(path string, saved Watermark, rotated bool, otherwise Found) Found {
	switch {
	case saved.Number == 0:
		return FoundUnmarked
	case saved.Path != path:
		return FoundElsewhere
	case rotated:
		return FoundRecords
	}
	return otherwise
}

// lastRecordEnd finds the end of the last whole record in the first size bytes.
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

// eachRecord gives the whole records of r, without newline, cut to MaxRecord.
func eachRecord(r io.Reader, record func([]byte) error) error {
	block := make([]byte, recoverBlock)
	var held []byte // the beginning of a record whose end has not come
	for {
		n, err := r.Read(block)
		b := block[:n]
		for {
			i := bytes.IndexByte(b, '\n')
			if i < 0 {
				break
			}
			whole := b[:i]
			if len(held) > 0 {
				held = appendUpTo(held, whole)
				whole = held
			}
			if err := record(whole); err != nil {
				return err
			}
			held, b = held[:0], b[i+1:]
		}
		held = appendUpTo(held, b)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// appendUpTo appends as much of b as MaxRecord leaves room for.
func appendUpTo(held, b []byte) []byte {
	return append(held, b[:min(len(b), MaxRecord-len(held))]...)
}
