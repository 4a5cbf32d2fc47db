package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"syscall"
)

// Others can remove, truncate or rename the file while it is written, and a write
// tells of none of these. So it is looked at: before positions are saved, for what
// they count must be there, and about once a second.

// Seen reports whether what was written is still in a file with a name. An error
// is ErrRemoved or ErrFailed, and final until Remake. A file that others renamed is
// seen: Reopen follows. One that others truncated is counted and logged, and
// written on from its new end.
func (f *File) Seen() error {
	f.mu.Lock()
	file, offset, broken := f.file, f.offset, f.broken
	f.mu.Unlock()
	if broken != nil || file == nil {
		return broken
	}
	links, err := file.links()
	if err != nil {
		return f.fail(fmt.Errorf("look at it: %w", err))
	}
	if links == 0 && !f.uncounted {
		return f.remove()
	}
	size, err := file.size()
	if err == nil && size < offset {
		err = f.truncated(size)
	}
	if err != nil {
		return f.fail(fmt.Errorf("look at it: %w", err))
	}
	return nil
}

// remove ends the sink until Remake: its file is gone.
func (f *File) remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == nil {
		f.broken = fmt.Errorf("sink file %s: %w", f.o.Path, ErrRemoved)
		f.stats.fail(kindRemoved)
		f.stats.StalledSince.Store(0)
		_ = f.shut()
	}
	return f.broken
}

// truncated takes the file as it is after others made it shorter.
func (f *File) truncated(size int64) error {
	end, err := lastRecordEnd(f.file, size)
	if err == nil && end < size {
		err = f.file.Truncate(end)
	}
	if err != nil {
		return err
	}
	f.stats.fail(kindTruncated)
	if f.o.Log != nil {
		f.o.Log.WithField("size", end).Errorf("The sink file was truncated by others: lines may be lost, and nothing can tell which. "+
			"Let them rename it and send SIGHUP instead, or use sink.file.rotate: %s", f.o.Path)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offset = end
	f.written = Watermark{f.o.Path, f.number, end}
	f.durable.Offset = min(f.durable.Offset, end)
	return nil
}

// Tend does what is due although nothing is written: it looks at the file as Seen
// does, and rotates one that is old enough. It is to be called about once a second,
// and waits as Write does.
func (f *File) Tend(ctx context.Context) error {
	if err := f.Seen(); err != nil {
		return err
	}
	if f.file == nil || f.owed || !f.aged() {
		return nil // or the next Write finishes what was begun
	}
	return f.persist(ctx, func() error { return f.ready(ctx, 0) })
}

// Remake makes the file again after ErrRemoved, with its directory where that is
// missing, and is a checkpoint. Where others have put a file at the path already,
// each record in it is given to record, as Claim.Recover does. It waits as Write
// does; where ctx ends first, it may be called again.
func (f *File) Remake(ctx context.Context, record func([]byte) error) error {
	f.mu.Lock()
	if !errors.Is(f.broken, ErrRemoved) {
		defer f.mu.Unlock()
		return f.broken
	}
	removed := f.broken
	f.broken, f.file, f.offset, f.owed = nil, nil, 0, true
	f.written = Watermark{f.o.Path, f.number, 0}
	f.durable = f.written
	f.mu.Unlock()
	read := false
	err := f.persist(ctx, func() error {
		if f.file == nil {
			if err := f.reopenRemoved(); err != nil {
				return err
			}
		}
		if !read && f.offset > 0 {
			if err := eachRecord(io.NewSectionReader(f.file, 0, f.offset), record); err != nil {
				return &problem{kindOther, err}
			}
		}
		read = true
		return f.resume(ctx)
	})
	if err != nil && !errors.Is(err, ErrFailed) && !errors.Is(err, ErrRemoved) {
		f.mu.Lock()
		defer f.mu.Unlock()
		_ = f.shut()
		f.broken = removed
	}
	return err
}

// reopenRemoved opens a file at the path whose file was removed.
func (f *File) reopenRemoved() error {
	if err := f.o.fs.makeDir(filepath.Dir(f.o.Path)); err != nil {
		return &problem{kindOf(err), err}
	}
	if err := f.open(); err != nil {
		return err
	}
	links, err := f.file.links()
	if err == nil && links == 0 && !f.uncounted {
		// A mount of the file alone still leads to it, and hides what comes there.
		err = fmt.Errorf("%s leads to a file that was removed where it is mounted from: %w", f.o.Path, syscall.EBUSY)
	}
	if err == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.file.Close()
	f.file, f.offset = nil, 0
	return &problem{kindOther, err}
}
