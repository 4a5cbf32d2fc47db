package sink

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// A rotation is a checkpoint. A crash at any point can be recovered, because of the
// order of its steps: fsync the data; save the positions with the watermark at the
// end of the file; rename the file to its number, and sync the directory; open the
// next file, and sync the directory before the first byte is written. Recovery
// detects a completed rename by a rotated file with the saved watermark's number.

// retryableError is an error whose cause can go away without a restart.
type retryableError struct {
	kind int
	err  error
}

func (p *retryableError) Error() string { return p.err.Error() }
func (p *retryableError) Unwrap() error { return p.err }

// ensureWritable opens or rotates the file as needed for n more bytes. It retries
// until ctx ends.
func (f *File) ensureWritable(ctx context.Context, n int) error {
	return f.retry(ctx, func() error { return f.rotateIfNeeded(ctx, n) })
}

// retry calls try until it succeeds, returns an error that is not retryable, or ctx
// ends.
func (f *File) retry(ctx context.Context, try func() error) error {
	for {
		if err := f.failure(); err != nil {
			return err
		}
		err := try()
		var p *retryableError
		switch {
		case err == nil:
			f.stall.recovered(&f.stats)
			return nil
		case !errors.As(err, &p):
			return err
		}
		if ctx.Err() == nil {
			f.stats.countError(p.kind)
			if f.stall.wait(ctx, f.o.Log, &f.stats, err, hintFor(p.kind, err)) == nil {
				continue
			}
		}
		f.stats.StalledSince.Store(0)
		return fmt.Errorf("write to sink file: %w: %w", err, ctx.Err())
	}
}

// rotateIfNeeded completes an interrupted rotation, and rotates the file if n more
// bytes require it.
func (f *File) rotateIfNeeded(ctx context.Context, n int) error {
	if err := f.finishRotation(ctx); err != nil {
		return err
	}
	if !f.needsRotation(n) {
		return nil
	}
	if err := f.rotate(ctx); err != nil {
		return err
	}
	return f.finishRotation(ctx)
}

// finishRotation completes a rotation or reopening that was interrupted.
func (f *File) finishRotation(ctx context.Context) error {
	if f.file == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.checkpointDue {
		return f.checkpoint(ctx)
	}
	return nil
}

// maxLockFailures is how many attempts in a row may find the file locked before
// another process counts as its owner. A process that starts locks it briefly, to
// check that it is free.
const maxLockFailures = 5

// openNext opens and locks the file that is now at the path.
func (f *File) openNext() (fsFile, error) {
	if c := f.claim; c != nil {
		file := c.file
		f.claim, c.file = nil, nil
		return file, nil
	}
	file, _, err := openLocked(f.o.fs, f.o.Path, f.o.Mode)
	switch {
	case err == nil:
		f.lockFailures = 0
		return file, nil
	case !errors.Is(err, ErrLocked):
		return nil, &retryableError{kindOf(err), err}
	}
	if f.lockFailures++; f.lockFailures < maxLockFailures {
		return nil, &retryableError{kindLocked, err}
	}
	f.stats.countError(kindLocked)
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
		return &retryableError{kindOther, err}
	}
	if err := f.syncDir(); err != nil {
		_ = file.Close()
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failedErr != nil { // by a Sync of the previous file
		_ = file.Close()
		return f.failedErr
	}
	if f.previous != nil {
		_ = f.previous.Close()
		f.previous = nil
	}
	f.file, f.createdAt, f.offset = file, file.createdAt(), size
	f.written = Watermark{f.o.Path, f.number, size}
	if size == 0 || f.o.Fsync == FsyncNever {
		f.durable = f.written
	}
	return nil
}

// syncDir makes the names in the file's directory durable, and fails the sink on an
// error, for the same reason as fsync.
func (f *File) syncDir() error {
	err := f.o.fs.syncDir(filepath.Dir(f.o.Path))
	if err == nil {
		return nil
	}
	f.stats.countError(kindFsync)
	return f.fail(fmt.Errorf("fsync of its directory: %w", err))
}

// needsRotation reports whether the file has to be rotated before n more bytes.
func (f *File) needsRotation(n int) bool {
	if f.offset == 0 {
		return false
	}
	return f.o.MaxSize > 0 && f.offset+int64(n) > f.o.MaxSize || f.tooOld()
}

// tooOld reports whether the file has reached MaxAge and is not empty.
func (f *File) tooOld() bool {
	return f.offset > 0 && f.o.MaxAge > 0 && time.Since(f.createdAt) >= f.o.MaxAge
}

// checkpoint syncs the file and saves the positions.
func (f *File) checkpoint(ctx context.Context) error {
	if f.o.Fsync != FsyncNever {
		if err := f.fsync(f.file); err != nil {
			return err
		}
	}
	if err := f.Check(); err != nil {
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
			return &retryableError{kindCheckpoint, fmt.Errorf("save positions: %w", err)}
		}
	}
	f.checkpointDue = false
	return nil
}

// rotate renames the current file to its number and closes it.
func (f *File) rotate(ctx context.Context) error {
	if err := f.checkpoint(ctx); err != nil {
		return err
	}
	same, err := f.file.sameFile(f.o.Path)
	if err != nil {
		return &retryableError{kindRotate, err}
	}
	if !same { // renamed by another process: it needs no number
		f.closeCurrent(f.number)
		f.checkpointDue = true
		return nil
	}
	if err := f.o.fs.rename(f.o.Path, archiveName(f.o.Path, f.number)); err != nil {
		return &retryableError{kindRotate, err}
	}
	if err := f.syncDir(); err != nil {
		return err
	}
	f.closeCurrent(f.number + 1)
	f.stats.Rotations.Add(1)
	f.prune()
	select {
	case f.rotated <- struct{}{}:
	default:
	}
	return nil
}

// closeCurrent ends writing to the current file. The next file gets number next.
func (f *File) closeCurrent(next uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.previous != nil {
		_ = f.previous.Close()
	}
	f.previous = f.file // already synced according to the policy
	f.file, f.number, f.offset = nil, next, 0
	f.written = Watermark{f.o.Path, next, 0}
	f.durable = f.written
}

// Reopen opens the path again, as after a rename by another process (SIGHUP). It is a
// checkpoint: accepted records are synced and their positions saved before, and again
// after it if the path names another file. If ctx ends first, the next Write completes
// it.
func (f *File) Reopen(ctx context.Context) error {
	if err := f.failure(); err != nil {
		return err
	}
	reopened := false
	return f.retry(ctx, func() error {
		if err := f.finishRotation(ctx); err != nil || reopened {
			return err
		}
		if err := f.checkpoint(ctx); err != nil {
			return err
		}
		same, err := f.file.sameFile(f.o.Path)
		if err != nil {
			return &retryableError{kindOther, err}
		}
		reopened = true
		f.stats.Reopens.Add(1)
		if same {
			f.o.Log.Info("Sink file was not renamed and stays open")
			return nil
		}
		f.o.Log.Info("Sink file was renamed, opened a new one")
		f.closeCurrent(f.number)
		f.checkpointDue = true
		return f.finishRotation(ctx)
	})
}
