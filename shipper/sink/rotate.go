package sink

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// A rotation is a checkpoint, in an order that a crash at any point leaves
// readable: fsync the data; save the positions with the watermark at the file's
// end; rename it to its number, and sync the directory; open the next, and sync
// the directory before a byte goes into it. Recovery finds out how far that
// came by whether a file of the saved watermark's number is there.

// problem is an error that can heal by itself.
type problem struct {
	kind int
	err  error
}

func (p *problem) Error() string { return p.err.Error() }
func (p *problem) Unwrap() error { return p.err }

// prepare makes the file ready for n more bytes, however long that takes.
func (f *File) prepare(ctx context.Context, n int) error {
	return f.persist(ctx, func() error { return f.ready(ctx, n) })
}

// persist tries until it succeeds, fails for good, or ctx ends.
func (f *File) persist(ctx context.Context, try func() error) error {
	for {
		if err := f.failure(); err != nil {
			return err
		}
		err := try()
		var p *problem
		switch {
		case err == nil:
			f.stall.over(f.o.Log, &f.stats)
			return nil
		case !errors.As(err, &p):
			return err
		}
		if ctx.Err() == nil {
			f.stats.fail(p.kind)
			if f.stall.wait(ctx, f.o.Log, &f.stats, err, remedy(p.kind, err)) == nil {
				continue
			}
		}
		f.stats.StalledSince.Store(0)
		return fmt.Errorf("write to sink file: %w: %w", err, ctx.Err())
	}
}

// ready does what is left to do before n more bytes can be written.
func (f *File) ready(ctx context.Context, n int) error {
	if err := f.resume(ctx); err != nil {
		return err
	}
	if !f.due(n) {
		return nil
	}
	if err := f.rotate(ctx); err != nil {
		return err
	}
	return f.resume(ctx)
}

// resume finishes a rotation or a reopening that did not get to its end.
func (f *File) resume(ctx context.Context) error {
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.owed {
		return f.checkpoint(ctx)
	}
	return nil
}

// lockTries is how often in a row the file may be found locked by another process
// before that counts as its owner: one that starts looks whether somebody has it.
const lockTries = 5

// openNext opens and locks the file that is at the path now.
func (f *File) openNext() (fsFile, error) {
	if c := f.claim; c != nil {
		file := c.file
		f.claim, c.file = nil, nil
		return file, nil
	}
	file, _, err := openLocked(f.o.fs, f.o.Path, f.o.Mode)
	switch {
	case err == nil:
		f.refused = 0
		return file, nil
	case !errors.Is(err, ErrLocked):
		return nil, &problem{kindOf(err), err}
	}
	if f.refused++; f.refused < lockTries {
		return nil, &problem{kindLocked, err}
	}
	f.stats.fail(kindLocked)
	return nil, f.fail(err)
}

// open opens the current file and makes its name durable.
func (f *File) open() error {
	file, err := f.openNext()
	if err != nil {
		return err
	}
	size, err := file.size()
	if err == nil && size > 0 {
		err = endsWithRecord(file, size)
	}
	if err != nil {
		_ = file.Close()
		return &problem{kindOther, err}
	}
	if err := f.syncDir(); err != nil {
		_ = file.Close()
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil { // by a Sync of the file before
		_ = file.Close()
		return f.broken
	}
	if f.held != nil {
		_ = f.held.Close()
		f.held = nil
	}
	f.file, f.born, f.offset = file, file.born(), size
	f.written = Watermark{f.o.Path, f.number, size}
	if size == 0 || f.o.Fsync == FsyncNever {
		f.durable = f.written
	}
	return nil
}

// syncDir makes the names beside the file durable, and ends the sink where that
// fails, for the reason that fsync has.
func (f *File) syncDir() error {
	err := f.o.fs.syncDir(filepath.Dir(f.o.Path))
	if err == nil {
		return nil
	}
	f.stats.fail(kindFsync)
	return f.fail(fmt.Errorf("fsync of its directory: %w", err))
}

// due reports whether the file has to be rotated before n more bytes.
func (f *File) due(n int) bool {
	if f.offset == 0 {
		return false
	}
	return f.o.MaxSize > 0 && f.offset+int64(n) > f.o.MaxSize || f.aged()
}

// aged reports whether the file has to be rotated for its age.
func (f *File) aged() bool {
	return f.offset > 0 && f.o.MaxAge > 0 && time.Since(f.born) >= f.o.MaxAge
}

// checkpoint syncs the file and saves the positions.
func (f *File) checkpoint(ctx context.Context) error {
	if f.o.Fsync != FsyncNever {
		if err := f.fsync(f.file); err != nil {
			return err
		}
	}
	if err := f.Seen(); err != nil {
		return err
	}
	f.mu.Lock()
	f.durable = f.written
	w := f.written
	f.mu.Unlock()
	if f.o.Checkpoint != nil {
		err := f.o.Checkpoint(ctx, w)
		if errors.Is(err, ErrFailed) {
			return err
		}
		if err != nil {
			return &problem{kindCheckpoint, fmt.Errorf("save positions: %w", err)}
		}
	}
	f.owed = false
	return nil
}

// rotate gives the current file its number. Afterwards none is open.
func (f *File) rotate(ctx context.Context) error {
	if err := f.checkpoint(ctx); err != nil {
		return err
	}
	mine, err := f.file.at(f.o.Path)
	if err != nil {
		return &problem{kindRotate, err}
	}
	if !mine { // somebody renamed it: it needs no number
		f.leave(f.number)
		f.owed = true
		return nil
	}
	if err := f.o.fs.rename(f.o.Path, archiveName(f.o.Path, f.number)); err != nil {
		return &problem{kindRotate, err}
	}
	if err := f.syncDir(); err != nil {
		return err
	}
	f.leave(f.number + 1)
	f.stats.Rotations.Add(1)
	f.prune()
	select {
	case f.rotated <- struct{}{}:
	default:
	}
	return nil
}

// leave closes the current file; the next has the number next.
func (f *File) leave(next uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held != nil {
		_ = f.held.Close()
	}
	f.held = f.file // synced by policy before
	f.file, f.number, f.offset = nil, next, 0
	f.written = Watermark{f.o.Path, next, 0}
	f.durable = f.written
}

// Reopen opens the path again, as after a rename by others (SIGHUP). It is a
// checkpoint: what was accepted is synced and its positions are saved before,
// and after it where the path named another file by then. If ctx ends first,
// the next Write finishes it.
func (f *File) Reopen(ctx context.Context) error {
	if err := f.failure(); err != nil {
		return err
	}
	reopened := false
	return f.persist(ctx, func() error {
		if err := f.resume(ctx); err != nil || reopened {
			return err
		}
		if err := f.checkpoint(ctx); err != nil {
			return err
		}
		mine, err := f.file.at(f.o.Path)
		if err != nil {
			return &problem{kindOther, err}
		}
		reopened = true
		f.stats.Reopens.Add(1)
		if mine {
			f.inform("Sink file checked: it was not renamed, and is written on")
			return nil
		}
		f.inform("Sink file reopened: the one before was renamed")
		f.leave(f.number)
		f.owed = true
		return f.resume(ctx)
	})
}

// inform logs what came of a request.
func (f *File) inform(what string) {
	if f.o.Log != nil {
		f.o.Log.WithField("file", f.o.Path).Info(what)
	}
}
