package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"raytap/shipper/sink"
)

// database is the positions file: a bbolt database that one process locks while it runs.
// Each save is one transaction of what has changed; a crash leaves all of it or nothing.
//
// The lock is a flock of the file itself. A file that was removed, replaced or truncated
// while it was open is written again completely, because all of its content is in memory.
// If another raytap has locked the file that has the path now, the process that had the
// file before stops: only that process can detect that there are two, and the next start
// reads the file of the other one.
//
// A database belongs to one goroutine at a time.
type database struct {
	name string      // as configured, absolute
	path string      // of the file: name with its symbolic links resolved
	db   *bbolt.DB   // nil: there is none to write to
	raw  *os.File    // the descriptor of db, which holds the lock
	info os.FileInfo // identifies the file of db
	used int64       // bytes of it that db may read
	// rewrite makes the next save write a new file: the content of this one cannot be
	// trusted any more. It is the reason; nil if there is none.
	rewrite error
	closed  bool
}

// keyValue is an entry of the database. A nil value deletes the key.
type keyValue struct {
	bucket     string
	key, value []byte
}

// pageSize is the page size of the database (bytes). It does not depend on the kernel's: a
// save writes at least three pages, and some kernels for arm64 have pages of 64 KiB.
const pageSize = 4096

// openDatabaseFile opens and locks the file, and visits its content key by key. A file that
// does not exist, or is empty, is created.
func openDatabaseFile(name string, visit func(bucket string, key, value []byte) error) (*database, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	d := &database{name: name}
	if d.path, err = sink.Resolve(name); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o750); err != nil {
		return nil, err
	}
	info, err := os.Stat(d.path)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && info.Mode().IsRegular() && info.Size() == 0:
		return d, d.replace(nil)
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory: shipper.positions.file must name a file in it", d.path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file (%s): shipper.positions.file must name a regular file", d.path, info.Mode().Type())
	}
	f, err := lockFile(d.path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err == nil {
		err = readDatabase(content, visit)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return d, d.open(f)
}

// open makes a locked file the file of d, which has none. On an error it closes the file.
func (d *database) open(f *os.File) error {
	db, err := openDatabase(f)
	if err != nil {
		_ = f.Close()
		return err
	}
	info, err := f.Stat()
	if err != nil {
		_ = db.Close()
		return err
	}
	d.db, d.raw, d.info, d.rewrite = db, f, info, nil
	return d.noteSize()
}

// openDatabase opens a file that is locked, and empty or checked.
func openDatabase(f *os.File) (db *bbolt.DB, err error) {
	defer recoverPanic(&err)
	return bbolt.Open(f.Name(), 0o600, &bbolt.Options{
		Timeout:        1, // nanosecond: this process has the lock, so that bbolt gets it at once
		PageSize:       pageSize,
		NoFreelistSync: true, // to derive it from the pages at each start costs less than a page at each save
		FreelistType:   bbolt.FreelistMapType,
		NoStatistics:   true,
		OpenFile:       func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
}

// recoverPanic turns a panic into an error: bbolt panics on a damaged file, and because it
// maps the file, a file that another program truncated is a memory fault.
func recoverPanic(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the database panicked: %v: %w", r, errDamaged)
	}
}

var errDamaged = errors.New("damaged")

// noteSize updates d.used, the size that the file must have.
func (d *database) noteSize() (err error) {
	defer recoverPanic(&err)
	return d.db.View(func(tx *bbolt.Tx) error {
		d.used = tx.Size()
		return nil
	})
}

// close closes the database and releases the lock.
func (d *database) close() error {
	d.closed = true
	if d.db == nil {
		return nil
	}
	db := d.db
	d.db, d.raw = nil, nil
	return db.Close()
}

// abandon closes the file of a database whose mutexes a panic may have left locked.
func (d *database) abandon() {
	_ = d.raw.Close() // releases the lock of the file
	d.db, d.raw = nil, nil
}

// The reasons why a file is written again.
var (
	errRemoved   = errors.New("it was removed")
	errReplaced  = errors.New("it was replaced by another file")
	errTruncated = errors.New("it was truncated")
)

// lost returns why the file cannot be used any more; nil if it can.
func (d *database) lost() error {
	switch {
	case d.closed:
		return nil
	case d.rewrite != nil:
		return d.rewrite
	}
	named, err := os.Stat(d.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errRemoved
	case err != nil:
		return nil // the descriptor may still be fine
	case !os.SameFile(named, d.info):
		return errReplaced
	case named.Size() < d.used:
		return errTruncated
	}
	return nil
}

// commit writes changes in one transaction. After an error the file is unchanged, or the
// next save writes a new file.
func (d *database) commit(changes []keyValue) error {
	if d.closed {
		return os.ErrClosed
	}
	err := d.update(changes)
	switch {
	case err == nil:
		return d.noteSize()
	case errors.Is(err, errDamaged):
		d.abandon()
		d.rewrite = err
	case !isFull(err):
		// It is not known what a failed fsync has left on the disk, and the kernel reports
		// success for the next one.
		d.rewrite = err
	}
	return err
}

func (d *database) update(changes []keyValue) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer recoverPanic(&err)
	return restoreCause(d.db.Update(func(tx *bbolt.Tx) error { return apply(tx, changes) }))
}

// restoreCause returns an error that wraps its cause again: bbolt turns the cause into text
// if the file cannot grow.
func restoreCause(err error) error {
	if err == nil {
		return nil
	}
	for _, cause := range []error{unix.EFBIG, unix.ENOSPC, unix.EDQUOT, unix.EIO} {
		if !errors.Is(err, cause) && strings.HasSuffix(err.Error(), ": "+cause.Error()) {
			return fmt.Errorf("%s: %w", strings.TrimSuffix(err.Error(), ": "+cause.Error()), cause)
		}
	}
	return err
}

// apply makes changes in a transaction and updates the sum of all values' checksums, which
// shows whether a file has lost some of its values.
func apply(tx *bbolt.Tx, changes []keyValue) error {
	meta, err := tx.CreateBucketIfNotExists([]byte(bucketMeta))
	if err != nil {
		return err
	}
	var sum uint64
	if isPending := meta.Get([]byte(keySum)); isPending != nil {
		sum = binary.BigEndian.Uint64(isPending)
	}
	for _, c := range changes {
		b, err := tx.CreateBucketIfNotExists([]byte(c.bucket))
		if err != nil {
			return fmt.Errorf("%s: %w", c.bucket, err)
		}
		isPending := b.Get(c.key)
		if bytes.Equal(isPending, c.value) {
			continue
		}
		sum ^= sealOf(isPending) ^ sealOf(c.value)
		if c.value == nil {
			err = b.Delete(c.key)
		} else {
			err = b.Put(c.key, c.value)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.bucket, err)
		}
	}
	return meta.Put([]byte(keySum), binary.BigEndian.AppendUint64(nil, sum))
}

// replace writes a new file to the path of the old one, which may be missing. After a crash
// the path has all of the old content, or all of the new.
func (d *database) replace(all []keyValue) error {
	path, err := sink.Resolve(d.name)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	next, err := create(tmp, all)
	if err != nil {
		return d.asTaken(err)
	}
	err = d.renameOver(tmp, path)
	if errors.Is(err, unix.EBUSY) && isEmpty(path) { // the file itself is a mount point
		_ = next.close()
		_ = os.Remove(tmp)
		if next, err = create(path, all); err != nil {
			return err
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = os.Remove(tmp)
		_ = next.close()
		return d.asTaken(err)
	}
	_ = d.close() // the new file has its content
	next.name, next.path = d.name, path
	*d = *next
	return nil
}

// create creates and locks a database file. On an error it removes the file, unless another
// process has locked it.
func create(path string, all []keyValue) (*database, error) {
	f, err := lockFile(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if err = f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, err
	}
	d := &database{}
	if err = d.open(f); err == nil {
		err = d.commit(all)
	}
	if err != nil {
		_ = os.Truncate(path, 0) // a file that is a mount point cannot be removed
		_ = os.Remove(path)
		_ = d.close()
		return nil, err
	}
	return d, nil
}

// renameOver renames a new file to path. It fails if another process has locked the file
// that has the path now.
func (d *database) renameOver(tmp, path string) error {
	named, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case d.info != nil && os.SameFile(named, d.info): // locked by this process
	default:
		held, err := lockFile(path, os.O_RDWR)
		if err != nil {
			return err
		}
		defer held.Close() // nothing was written to it
	}
	return os.Rename(tmp, path)
}

func isEmpty(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == 0
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// asTaken turns the error that another process has locked the file into a final one, if
// this process had the file before.
func (d *database) asTaken(err error) error {
	if d.info == nil || !errors.Is(err, sink.ErrLocked) {
		return err
	}
	return &takenError{err}
}

// takenError reports that another process has the positions now. It is final: it is a
// sink.ErrFailed.
type takenError struct{ err error }

func (e *takenError) Error() string {
	return "the positions file was removed or replaced, and another raytap has created a new one: this raytap stops, so that no line is shipped twice (" + e.err.Error() + ")"
}

func (e *takenError) Unwrap() error { return e.err }

func (e *takenError) Is(target error) bool { return target == sink.ErrFailed }
