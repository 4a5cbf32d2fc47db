package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"syscall"

	"github.com/sirupsen/logrus"
)

// Other processes can remove, truncate or rename the file while it is written, and a
// write reports none of these. So the file is checked before positions are saved,
// because what they count must exist, and about once a second.

// Check returns an error if the file no longer has a name. The error is ErrRemoved or
// ErrFailed, and lasts until Recreate. A renamed file is not an error: Reopen follows.
// A truncated file is counted and logged, and writing continues at its new end.
func (f *File) Check() error {
	f.mu.Lock()
	file, offset, failed := f.file, f.offset, f.failedErr
	f.mu.Unlock()
	if failed != nil || file == nil {
		return failed
	}
	links, err := file.links()
	if err != nil {
		return f.fail(fmt.Errorf("check it: %w", err))
	}
	if links == 0 && !f.noLinkCount {
		return f.markRemoved()
	}
	size, err := file.size()
	if err == nil && size < offset {
		err = f.adoptTruncated(size)
	}
	if err != nil {
		return f.fail(fmt.Errorf("check it: %w", err))
	}
	return nil
}

// markRemoved closes the sink until Recreate, and returns the error of all calls until
// then.
func (f *File) markRemoved() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failedErr == nil {
		f.failedErr = fmt.Errorf("sink file %s: %w", f.o.Path, ErrRemoved)
		f.stats.countError(kindRemoved)
		f.stats.StalledSince.Store(0)
		_ = f.closeFiles()
	}
	return f.failedErr
}

// adoptTruncated continues at the last record's end of a file that another process
// truncated to size.
func (f *File) adoptTruncated(size int64) error {
	end, err := lastRecordEnd(f.file, size)
	if err == nil && end < size {
		err = f.file.Truncate(end)
	}
	if err != nil {
		return err
	}
	f.stats.countError(kindTruncated)
	f.o.Log.WithFields(logrus.Fields{"size": end, "hint": "rename the file and send SIGHUP instead, or use sink.file.rotate"}).
		Error("Sink file was truncated by another process, an unknown number of lines may be lost")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offset = end
	f.written = Watermark{f.o.Path, f.number, end}
	f.durable.Offset = min(f.durable.Offset, end)
	return nil
}

// Maintain does what is due while nothing is written: it calls Check, and rotates the
// file if it has reached MaxAge. Call it about once a second. It blocks as Write does.
func (f *File) Maintain(ctx context.Context) error {
	if err := f.Check(); err != nil {
		return err
	}
	if f.file == nil || f.checkpointDue || !f.tooOld() {
		return nil // the next Write completes an interrupted rotation
	}
	return f.retry(ctx, func() error { return f.rotateIfNeeded(ctx, 0) })
}

// Recreate creates the file again after ErrRemoved, and its directory if missing. It is
// a checkpoint. If another process has put a file at the path, it calls record for
// each record in it, as Claim.Recover does. It blocks as Write does; if ctx ends
// first, it may be called again.
func (f *File) Recreate(ctx context.Context, record func([]byte) error) error {
	f.mu.Lock()
	if !errors.Is(f.failedErr, ErrRemoved) {
		defer f.mu.Unlock()
		return f.failedErr
	}
	removed := f.failedErr
	f.failedErr, f.file, f.offset, f.checkpointDue = nil, nil, 0, true
	f.written = Watermark{f.o.Path, f.number, 0}
	f.durable = f.written
	f.mu.Unlock()
	read := false
	err := f.retry(ctx, func() error {
		if f.file == nil {
			if err := f.openRecreated(); err != nil {
				return err
			}
		}
		if !read && f.offset > 0 {
			if err := scanRecords(io.NewSectionReader(f.file, 0, f.offset), record); err != nil {
				return &retryableError{kindOther, err}
			}
		}
		read = true
		return f.finishRotation(ctx)
	})
	if err != nil && !errors.Is(err, ErrFailed) && !errors.Is(err, ErrRemoved) {
		f.mu.Lock()
		defer f.mu.Unlock()
		_ = f.closeFiles()
		f.failedErr = removed
	}
	return err
}

// openRecreated opens a new file at the path of a removed one.
func (f *File) openRecreated() error {
	if err := f.o.fs.mkdirAll(filepath.Dir(f.o.Path)); err != nil {
		return &retryableError{kindOf(err), err}
	}
	if err := f.open(); err != nil {
		return err
	}
	links, err := f.file.links()
	if err == nil && links == 0 && !f.noLinkCount {
		// If the file alone is mounted, the path still leads to the removed file.
		err = fmt.Errorf("%s is a mount of a file that was removed: %w", f.o.Path, syscall.EBUSY)
	}
	if err == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.file.Close()
	f.file, f.offset = nil, 0
	return &retryableError{kindOther, err}
}
