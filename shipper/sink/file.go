package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// FsyncPolicy is when written records become durable against a power cut. Against
// the death of the process they are durable once written.
type FsyncPolicy int

// The policies.
const (
	// FsyncInterval: the owner calls Sync at an interval.
	FsyncInterval FsyncPolicy = iota
	// FsyncAlways: Write returns once its records are on disk.
	FsyncAlways
	// FsyncNever: the kernel decides, also at a rotation; directories are still
	// synced.
	FsyncNever
)

// DefaultFileMode is the mode of new files, before the umask: job logs are not
// world-readable, but a group may collect them.
const DefaultFileMode os.FileMode = 0o640

// Watermark is how far a sink was written: everything before Offset in the file
// that gets Number when it is rotated, and all files before it. The zero value means
// unknown.
type Watermark struct {
	Path   string `json:"path"` // absolute
	Number uint64 `json:"number"`
	Offset int64  `json:"offset"` // bytes; always the end of a record
}

// FileOptions are the settings of a File. Only Path is required.
type FileOptions struct {
	// Path is the current file. Rotated files are Path.000001 and so on.
	Path string
	// MaxSize is the size (bytes) that the file is rotated before it exceeds; 0
	// means no limit. A single Write is never split: a larger one gets a file of
	// its own.
	MaxSize int64
	// MaxAge is the age at which a non-empty file is rotated, at the next Write or
	// Maintain; 0 means no limit.
	MaxAge time.Duration
	// MaxFiles is how many rotated files are kept; the oldest are removed. 0 keeps
	// all.
	MaxFiles int
	// Gzip makes Run compress all rotated files except the newest two.
	Gzip bool
	// Mode is the mode of new files; 0 means DefaultFileMode.
	Mode  os.FileMode
	Fsync FsyncPolicy
	// Saved is the last saved watermark, whose number is continued; zero if none.
	Saved Watermark
	// Claim is the result of Acquire for Path; if nil, NewFile acquires it. NewFile
	// takes ownership of it, even if it fails.
	Claim *Claim
	// Checkpoint saves the positions of everything accepted so far, together with
	// w, and returns once they are on disk. The goroutine that is in Write, Reopen,
	// Maintain or Recreate calls it. After an error the sink waits and tries again,
	// unless the error wraps ErrFailed: that is final, and Write returns it. nil
	// saves nothing: then a crash can duplicate lines.
	Checkpoint func(ctx context.Context, w Watermark) error
	// Log may be nil.
	Log logrus.FieldLogger

	fs fileSystem // nil: osFS
}

// File appends records to a file and rotates it.
//
// A full disk, missing permissions and a failing checkpoint are back-pressure: Write
// continues once the cause is gone. A failed fsync, or any other error of a write, is
// ErrFailed: the file is closed. Continue with Claim.Recover and NewFile, as at
// start-up.
//
// If another process removes the file, Maintain and every checkpoint return
// ErrRemoved before positions are saved. Continue with Recreate.
//
// Write, Reopen, Maintain, Check, Recreate and Close must not be called
// concurrently. Sync, Written, Durable and Stats are safe at any time. One goroutine
// may call Run alongside them.
type File struct {
	o       FileOptions
	stats   Stats
	stall   stall
	rotated chan struct{} // wakes Run

	// The fields below are changed only by the writer, and by fail.
	mu sync.Mutex
	current
	previous     fsFile // the file before, whose lock is held until the next one is locked
	claim        *Claim // for the first open; nil afterwards
	lockFailures int    // consecutive attempts that found the path locked by another process
	// noLinkCount: the file system does not count links, so a removal cannot be detected.
	noLinkCount   bool
	checkpointDue bool // a checkpoint has to precede the next byte
	written       Watermark
	durable       Watermark
	failedErr     error // non-nil: the sink has failed or is closed
}

// current is the file that is written.
type current struct {
	file      fsFile // nil between a rename and the next open
	createdAt time.Time
	number    uint64 // the number it gets when it is rotated
	offset    int64  // of the next byte
}

// NewFile opens the file, and creates it if it does not exist. It returns an error if
// the file ends within a record: call Claim.Recover first.
func NewFile(o FileOptions) (*File, error) {
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("open sink file: %w", err)
	}
	o.Path = path
	if o.Mode == 0 {
		o.Mode = DefaultFileMode
	}
	if o.fs == nil {
		o.fs = osFS{}
	}
	if o.Log == nil {
		discard := logrus.New()
		discard.Out = io.Discard
		o.Log = discard
	}
	o.Log = o.Log.WithField("file", path)
	f := &File{o: o, rotated: make(chan struct{}, 1), claim: o.Claim}
	if f.claim == nil {
		if f.claim, err = acquire(o.fs, path, o.Mode); err != nil {
			return nil, fmt.Errorf("open sink file %s: %w", path, err)
		}
	}
	archived, err := listArchive(o.fs, path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open sink file: list its directory: %w", err), f.claim.Close())
	}
	f.number = 1
	if o.Saved.Path == path {
		f.number = max(f.number, o.Saved.Number)
	}
	if len(archived) > 0 {
		f.number = max(f.number, archived[len(archived)-1].number+1)
	}
	if err := f.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open sink file %s: %w", path, err), f.Close())
	}
	if links, err := f.file.links(); err == nil && links == 0 {
		f.noLinkCount = true
		o.Log.Warn("File system does not count links, so removal of the sink file by another process cannot be detected")
	}
	if f.offset > 0 {
		if err := f.Sync(context.Background()); err != nil {
			return nil, err
		}
	}
	f.durable = f.written
	return f, nil
}

// endsWithRecord returns an error unless the byte before offset ends a record.
func endsWithRecord(file fsFile, offset int64) error {
	var last [1]byte
	if _, err := file.ReadAt(last[:], offset-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		return errors.New("file does not end with a newline: it was not written by this sink, or not recovered; move it away")
	}
	return nil
}

// Stats returns the sink's counters. They may be read concurrently.
func (f *File) Stats() *Stats { return &f.stats }

// Written returns the watermark after the last accepted record.
func (f *File) Written() Watermark {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written
}

// Durable returns the watermark up to which positions may be saved: everything before
// it satisfies the fsync policy.
func (f *File) Durable() Watermark {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.durable
}

// Write implements Sink. It may rotate the file first.
func (f *File) Write(ctx context.Context, p []byte) error {
	if err := f.failure(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write to sink file: %w", err)
	}
	if len(p) == 0 {
		return nil
	}
	if err := f.ensureWritable(ctx, len(p)); err != nil {
		return err
	}
	if err := f.append(ctx, p); err != nil {
		return err
	}
	if f.o.Fsync == FsyncAlways {
		if err := f.fsync(f.file); err != nil {
			return err
		}
	}
	f.accept()
	f.stats.Bytes.Add(uint64(len(p)))
	return nil
}

// append writes p at the end of the file, and waits for free space if necessary.
func (f *File) append(ctx context.Context, p []byte) error {
	for done := 0; ; {
		n, err := f.file.Write(p[done:])
		done += n
		f.mu.Lock()
		f.offset += int64(n)
		f.mu.Unlock()
		if done == len(p) {
			f.stall.recovered(&f.stats)
			return nil
		}
		if failed := f.failure(); failed != nil { // a failed Sync closed the file
			return failed
		}
		if n > 0 {
			f.stall.recovered(&f.stats)
		}
		if err == nil {
			continue
		}
		kind := kindOf(err)
		f.stats.countError(kind)
		if err := f.Check(); err != nil { // a removed file frees no space until it is closed
			return err
		}
		if kind != kindFull && kind != kindDenied {
			return f.fail(fmt.Errorf("after %d of %d bytes: %w", done, len(p), err))
		}
		if f.stall.wait(ctx, f.o.Log, &f.stats, err, hintFor(kind, err)) == nil {
			continue
		}
		f.stats.StalledSince.Store(0)
		if done > 0 {
			return f.fail(fmt.Errorf("after %d of %d bytes: %w: %w", done, len(p), err, ctx.Err()))
		}
		return fmt.Errorf("write to sink file: %w: %w", err, ctx.Err())
	}
}

// hintFor returns what an operator can do about an error of a kind.
func hintFor(kind int, err error) string {
	switch {
	case isAny(err, syscall.EMFILE, syscall.ENFILE):
		return "raise the limit of open files (ulimit -n, or LimitNOFILE= of the unit)"
	case isAny(err, syscall.EBUSY):
		return "the file itself is a mount and cannot be renamed: mount its directory instead, or let another program rotate it (rotate: {max_size: 0, max_age: 0s})"
	}
	return hints[kind]
}

// hints are what an operator can do about an error, by kind.
var hints = map[int]string{
	kindFull:       "free some space, or raise the quota or the file size limit",
	kindDenied:     "make the file and its directory writable",
	kindCheckpoint: "fix the positions file as the error says",
	kindRotate:     "make the sink's directory writable",
	kindLocked:     "stop the other process that writes this file",
	kindOther:      "check that the sink's directory exists and its disk works",
}

// accept advances the watermark to the end of the file.
func (f *File) accept() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written = Watermark{f.o.Path, f.number, f.offset}
	if f.o.Fsync != FsyncInterval {
		f.durable = f.written
	}
}

// Sync makes everything accepted before the call durable, and advances Durable. With
// FsyncNever it does nothing. It blocks on the disk, and checks ctx only before that.
func (f *File) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sync sink file: %w", err)
	}
	f.mu.Lock()
	file, written, failed := f.file, f.written, f.failedErr
	clean := file == nil || f.durable == written
	f.mu.Unlock()
	if failed != nil {
		return failed
	}
	if clean || f.o.Fsync == FsyncNever {
		return nil
	}
	if err := f.fsync(file); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == file && f.failedErr == nil {
		f.durable = written
	}
	return nil
}

// fsync syncs file, and fails the sink on an error: the kernel has dropped the pages
// that it could not write, and another fsync would report success.
func (f *File) fsync(file fsFile) error {
	started := time.Now()
	err := file.Sync()
	f.stats.countFsync(time.Since(started))
	if err == nil {
		return nil
	}
	f.mu.Lock()
	rotated := f.file != file // rotated meanwhile, and synced before that
	f.mu.Unlock()
	if rotated && errors.Is(err, os.ErrClosed) {
		return nil
	}
	f.stats.countError(kindFsync)
	return f.fail(fmt.Errorf("fsync: %w", err))
}

// fail closes the sink for good, and returns the error of all later calls.
func (f *File) fail(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failedErr == nil {
		reason := ErrFailed
		if isAny(err, syscall.ESTALE) { // removed on another machine
			reason = ErrRemoved
		}
		f.failedErr = fmt.Errorf("sink file %s: %w: %w", f.o.Path, reason, err)
		f.stats.StalledSince.Store(0)
		_ = f.closeFiles()
	}
	return f.failedErr
}

// closeFiles closes all open files. The caller holds mu.
func (f *File) closeFiles() error {
	var err error
	if f.file != nil {
		err = f.file.Close()
	}
	if f.previous != nil {
		_ = f.previous.Close()
		f.previous = nil
	}
	if f.claim != nil {
		_ = f.claim.Close()
		f.claim = nil
	}
	return err
}

func (f *File) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failedErr
}

// Close implements Sink: it syncs according to the policy, and closes the file.
func (f *File) Close() error {
	if f.failure() != nil {
		return nil // already closed
	}
	err := f.Sync(context.Background())
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		err = f.closeFiles()
	}
	if f.failedErr == nil {
		f.failedErr = fmt.Errorf("sink file %s: %w", f.o.Path, ErrClosed)
	}
	return err
}
