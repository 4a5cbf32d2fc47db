package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
)

// FsyncPolicy says when what was written is made durable against a power cut.
// Against the death of the process it is durable once written.
type FsyncPolicy int

// The policies.
const (
	// FsyncInterval leaves it to the owner, who calls Sync at an interval.
	FsyncInterval FsyncPolicy = iota
	// FsyncAlways makes Write return only when its records are on disk.
	FsyncAlways
	// FsyncNever leaves it to the kernel, also at a rotation; directories are
	// still synced.
	FsyncNever
)

// DefaultFileMode is the mode of new files, before the umask: lines of jobs are
// not for everybody, but a group may collect them.
const DefaultFileMode os.FileMode = 0o640

// Watermark says how far a sink file was written: everything before Offset in
// the file that will be called Number when it is rotated, and in those before
// it. The zero value says nothing.
type Watermark struct {
	Path   string `json:"path"` // absolute
	Number uint64 `json:"number"`
	Offset int64  `json:"offset"` // bytes; always a record's end
}

// FileOptions are the settings of a File. Only Path is needed.
type FileOptions struct {
	// Path is the current file's. Rotated files lie beside it as
	// Path.000001 and so on.
	Path string
	// MaxSize rotates the file before it would grow past so many bytes; 0 does
	// not. A single Write is never split: one larger than that has a file of
	// its own.
	MaxSize int64
	// MaxAge rotates a file that is not empty so long after its creation, at the
	// next Write or Tend; 0 does not.
	MaxAge time.Duration
	// MaxFiles is how many rotated files stay; the oldest are removed. 0 keeps
	// all.
	MaxFiles int
	// Gzip compresses all rotated files but the newest two, while Run runs.
	Gzip bool
	// Mode is that of new files; 0 means DefaultFileMode.
	Mode  os.FileMode
	Fsync FsyncPolicy
	// Saved is the watermark that was saved last, for its number; zero if none.
	Saved Watermark
	// Claim is what Take gave for Path; nil: NewFile takes it. NewFile owns it
	// from then on, also where it fails.
	Claim *Claim
	// Checkpoint saves the positions of everything accepted so far, together
	// with w, and returns once they are on disk. It is called by the goroutine
	// that is in Write or Reopen. An error makes the sink wait and try again.
	// One that wraps ErrFailed is final, and Write returns it. nil saves nothing:
	// then a crash can double lines.
	Checkpoint func(ctx context.Context, w Watermark) error
	// Log may be nil.
	Log logrus.FieldLogger

	fs fileSystem // nil: the real one
}

// File appends records to a file and rotates it.
//
// A full disk, missing rights and a checkpoint that fails are back-pressure:
// Write continues where it was once the cause is gone. A failed fsync, or any
// other error of a write, is ErrFailed: the file is closed, and Recover and
// NewFile are the way on, as at start-up.
//
// A file that others remove is ErrRemoved, and Remake the way on: Tend finds it,
// and so does every checkpoint before it saves positions.
//
// Write, Reopen, Tend, Seen, Remake and Close are for one goroutine at a time;
// Sync, Written, Durable and Stats for any at any time; Run for one beside them.
type File struct {
	o     FileOptions
	stats Stats
	stall stall
	// rotated wakes Run.
	rotated chan struct{}

	// What follows is changed only by the writer, and by fail.
	mu      sync.Mutex
	file    fsFile // nil between a rename and the next open
	held    fsFile // the one before, whose lock is held until the next one is locked
	claim   *Claim // what the first open takes; nil afterwards
	refused int    // times in a row that the path was locked by another
	// uncounted: its file system does not count links, so a removal cannot be seen.
	uncounted bool
	born      time.Time
	number    uint64
	offset    int64 // where the next byte goes
	owed      bool  // a checkpoint has to come before the next byte
	written   Watermark
	durable   Watermark
	broken    error // non-nil: finished
}

// NewFile opens the file, creating it if need be. One that ends within a record
// is an error: Recover comes first.
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
	f := &File{o: o, rotated: make(chan struct{}, 1), claim: o.Claim}
	if f.claim == nil {
		if f.claim, err = take(o.fs, path, o.Mode); err != nil {
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
		f.uncounted = true
		if o.Log != nil {
			o.Log.WithField("file", path).Warn("The file system of the sink file counts no links: a removal of the file by others cannot be noticed")
		}
	}
	if f.offset > 0 {
		if err := f.Sync(context.Background()); err != nil {
			return nil, err
		}
	}
	f.durable = f.written
	return f, nil
}

// endsWithRecord checks that the byte before offset ends a record.
func endsWithRecord(file fsFile, offset int64) error {
	var last [1]byte
	if _, err := file.ReadAt(last[:], offset-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		return errors.New("it does not end with a newline, so it was not written by this sink, or not recovered; move it away")
	}
	return nil
}

// Stats counts what the sink did; any goroutine may read it.
func (f *File) Stats() *Stats { return &f.stats }

// Written is the watermark behind the last accepted record.
func (f *File) Written() Watermark {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written
}

// Durable is the watermark up to which positions may be saved: what the fsync
// policy asks for has been done before it.
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
	if err := f.prepare(ctx, len(p)); err != nil {
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

// append writes p at the file's end, and goes on there after a wait for room.
func (f *File) append(ctx context.Context, p []byte) error {
	for done := 0; ; {
		n, err := f.file.Write(p[done:])
		done += n
		f.mu.Lock()
		f.offset += int64(n)
		f.mu.Unlock()
		if done == len(p) {
			f.stall.over(f.o.Log, &f.stats)
			return nil
		}
		if broken := f.failure(); broken != nil { // a failed Sync closed the file
			return broken
		}
		if n > 0 {
			f.stall.over(f.o.Log, &f.stats)
		}
		if err == nil {
			continue
		}
		kind := kindOf(err)
		f.stats.fail(kind)
		if err := f.Seen(); err != nil { // no room is made by a file that is gone
			return err
		}
		if kind != kindFull && kind != kindDenied {
			return f.fail(fmt.Errorf("after %d of %d bytes: %w", done, len(p), err))
		}
		if f.stall.wait(ctx, f.o.Log, &f.stats, err, remedy(kind, err)) == nil {
			continue
		}
		f.stats.StalledSince.Store(0)
		if done > 0 {
			return f.fail(fmt.Errorf("after %d of %d bytes: %w: %w", done, len(p), err, ctx.Err()))
		}
		return fmt.Errorf("write to sink file: %w: %w", err, ctx.Err())
	}
}

// remedy returns what an operator can do about an error of a kind.
func remedy(kind int, err error) string {
	switch {
	case is(err, syscall.EMFILE, syscall.ENFILE):
		return "raise the limit of open files (ulimit -n, or LimitNOFILE= of the unit)"
	case is(err, syscall.EBUSY):
		return "the file itself is a mount and cannot be renamed: mount its directory instead, or leave the rotation to others (rotate: {max_size: 0, max_age: 0s})"
	}
	return remedies[kind]
}

// remedies are what an operator can do, by kind of error.
var remedies = map[int]string{
	kindFull:       "free some space, or raise the quota or the file size limit",
	kindDenied:     "make the file and its directory writable",
	kindCheckpoint: "see to the positions file, as the error says",
	kindRotate:     "make the sink's directory writable",
	kindLocked:     "stop the other process that writes it",
	kindOther:      "see whether the sink's directory is there and whole",
}

// accept moves the watermark behind what was written.
func (f *File) accept() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.written = Watermark{f.o.Path, f.number, f.offset}
	if f.o.Fsync != FsyncInterval {
		f.durable = f.written
	}
}

// Sync makes what was accepted before the call durable, and moves Durable. With
// FsyncNever it does nothing. It waits for the disk; ctx is looked at before
// that only.
func (f *File) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sync sink file: %w", err)
	}
	f.mu.Lock()
	file, written, broken := f.file, f.written, f.broken
	clean := file == nil || f.durable == written
	f.mu.Unlock()
	if broken != nil {
		return broken
	}
	if clean || f.o.Fsync == FsyncNever {
		return nil
	}
	if err := f.fsync(file); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == file && f.broken == nil {
		f.durable = written
	}
	return nil
}

// fsync syncs file, and ends the sink where that fails: what the kernel could
// not write is gone from its memory, and another fsync would call that success.
func (f *File) fsync(file fsFile) error {
	started := time.Now()
	err := file.Sync()
	f.stats.fsynced(time.Since(started))
	if err == nil {
		return nil
	}
	f.mu.Lock()
	gone := f.file != file // rotated meanwhile, and synced before that
	f.mu.Unlock()
	if gone && errors.Is(err, os.ErrClosed) {
		return nil
	}
	f.stats.fail(kindFsync)
	return f.fail(fmt.Errorf("fsync: %w", err))
}

// fail ends the sink.
func (f *File) fail(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == nil {
		why := ErrFailed
		if is(err, syscall.ESTALE) { // removed on another machine
			why = ErrRemoved
		}
		f.broken = fmt.Errorf("sink file %s: %w: %w", f.o.Path, why, err)
		f.stats.StalledSince.Store(0)
		f.shut()
	}
	return f.broken
}

// shut closes all that is open; the caller holds mu.
func (f *File) shut() error {
	var err error
	if f.file != nil {
		err = f.file.Close()
	}
	if f.held != nil {
		_ = f.held.Close()
		f.held = nil
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
	return f.broken
}

// Close implements Sink: it syncs by policy, and closes the file.
func (f *File) Close() error {
	if f.failure() != nil {
		return nil // it was closed when it failed
	}
	err := f.Sync(context.Background())
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		err = f.shut()
	}
	if f.broken == nil {
		f.broken = fmt.Errorf("sink file %s: %w", f.o.Path, ErrClosed)
	}
	return err
}
