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

// store is the file of the positions: a bbolt database that one process locks
// for as long as it runs. Each save is one transaction of what has changed; a
// crash leaves all of it or nothing.
//
// The file is locked itself, by flock. A file that was removed, replaced or cut
// while it was open is written again as a whole, since all that it says is in
// memory. Where another raytap has locked the file that has the name now, the
// one that held the file before stops: only that one can see that there are
// two, and the name, which the next start reads, is the other's.
//
// A store belongs to one goroutine at a time.
type database struct {
	name string      // as configured, absolute
	path string      // of the file: name with its symbolic links resolved
	db   *bbolt.DB   // nil: there is none to write to
	raw  *os.File    // the descriptor of db, which holds the lock
	is   os.FileInfo // tells the file of db from others
	used int64       // bytes of it that db may read
	// whole makes the next save write a new file: what this one holds is not
	// to be trusted, or it is gone.
	whole  error
	closed bool
}

// entry of the database: a nil value deletes the key.
type keyValue struct {
	bucket     string
	key, value []byte
}

// pageSize is that of the database (bytes), whatever the kernel's is: a save
// writes at least three pages, and kernels for arm64 have some of 64 KiB.
const pageSize = 4096

// openStore opens and locks the file, and returns what is in it, key by key. A
// file that does not exist, or is empty, is made.
func openDatabaseFile(name string, visit func(bucket string, key, value []byte) error) (*database, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	s := &database{name: name}
	if s.path, err = sink.Resolve(name); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o750); err != nil {
		return nil, err
	}
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && info.Mode().IsRegular() && info.Size() == 0:
		return s, s.replace(nil)
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory: shipper.positions.file has to name a file in it", s.path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file (%s): shipper.positions.file has to name one", s.path, info.Mode().Type())
	}
	f, err := lockFile(s.path, os.O_RDWR)
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
	return s, s.open(f)
}

// open makes a locked file the database of the store, which has none. On an error
// the file is closed.
func (s *database) open(f *os.File) error {
	db, err := openDatabase(f)
	if err != nil {
		_ = f.Close()
		return err
	}
	is, err := f.Stat()
	if err != nil {
		_ = db.Close()
		return err
	}
	s.db, s.raw, s.is, s.whole = db, f, is, nil
	return s.measure()
}

// openDatabase opens a file that is locked already, and empty or checked.
func openDatabase(f *os.File) (db *bbolt.DB, err error) {
	defer guard(&err)
	return bbolt.Open(f.Name(), 0o600, &bbolt.Options{
		Timeout:        1, // nanosecond: the lock is held, this asks for it again
		PageSize:       pageSize,
		NoFreelistSync: true, // it is derived from the pages at each start, which costs less than a page at each save
		FreelistType:   bbolt.FreelistMapType,
		NoStatistics:   true,
		OpenFile:       func(string, int, os.FileMode) (*os.File, error) { return f, nil },
	})
}

// guard makes an error of a panic: bbolt panics on a damaged file. That and a
// file that others have cut are faults of memory, since it maps the file.
func guard(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the database panicked: %v: %w", r, errDamaged)
	}
}

var errDamaged = errors.New("damaged")

// measure notes how long the file has to be.
func (s *database) measure() (err error) {
	defer guard(&err)
	return s.db.View(func(tx *bbolt.Tx) error {
		s.used = tx.Size()
		return nil
	})
}

// close closes the database and with it the lock.
func (s *database) close() error {
	s.closed = true
	if s.db == nil {
		return nil
	}
	db := s.db
	s.db, s.raw = nil, nil
	return db.Close()
}

// abandon leaves a database whose locks a panic may have left held.
func (s *database) abandon() {
	_ = s.raw.Close() // and with it the lock of the file
	s.db, s.raw = nil, nil
}

// errLost are the reasons why a file is written again.
var (
	errRemoved = errors.New("it was removed")
	errForeign = errors.New("another file was put in its place")
	errCut     = errors.New("it was cut")
)

// lost reports why the file cannot be used any more; nil where it can.
func (s *database) lost() error {
	switch {
	case s.closed:
		return nil
	case s.whole != nil:
		return s.whole
	}
	named, err := os.Stat(s.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errRemoved
	case err != nil:
		return nil // the descriptor may still be fine
	case !os.SameFile(named, s.is):
		return errForeign
	case named.Size() < s.used:
		return errCut
	}
	return nil
}

// commit writes changes in one transaction. On an error the file is as it was
// before, or the next save writes it as a whole.
func (s *database) commit(changes []keyValue) error {
	if s.closed {
		return os.ErrClosed
	}
	err := s.update(changes)
	switch {
	case err == nil:
		return s.measure()
	case errors.Is(err, errDamaged):
		s.abandon()
		s.whole = err
	case !isFull(err):
		// What a failed fsync has left on the disk is not known, and the kernel
		// would call the next one a success.
		s.whole = err
	}
	return err
}

func (s *database) update(changes []keyValue) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	return typed(s.db.Update(func(tx *bbolt.Tx) error { return apply(tx, changes) }))
}

// typed gives an error its cause again: where the file cannot grow, bbolt makes
// a text of it.
func typed(err error) error {
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

// apply makes changes in a transaction, and keeps the sum of all values' checksums
// up to date: it tells a file that lost some of them.
func apply(tx *bbolt.Tx, changes []keyValue) error {
	meta, err := tx.CreateBucketIfNotExists([]byte(bucketMeta))
	if err != nil {
		return err
	}
	var sum uint64
	if was := meta.Get([]byte(keySum)); was != nil {
		sum = binary.BigEndian.Uint64(was)
	}
	for _, c := range changes {
		b, err := tx.CreateBucketIfNotExists([]byte(c.bucket))
		if err != nil {
			return fmt.Errorf("%s: %w", c.bucket, err)
		}
		was := b.Get(c.key)
		if bytes.Equal(was, c.value) {
			continue
		}
		sum ^= sealOf(was) ^ sealOf(c.value)
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

// replace writes a new file and gives it the name, also where the file before is
// there no more. After a crash the name has all of the old content, or all of
// the new.
func (s *database) replace(all []keyValue) error {
	path, err := sink.Resolve(s.name)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	next, err := create(tmp, all)
	if err != nil {
		return s.taken(err)
	}
	err = s.give(tmp, path)
	if errors.Is(err, unix.EBUSY) && isEmpty(path) { // mounted by itself, as one file of a volume
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
		return s.taken(err)
	}
	_ = s.close() // what is in it is in the new one
	next.name, next.path = s.name, path
	*s = *next
	return nil
}

// create locks a file and makes it a database. On an error it is removed, unless
// another process has it.
func create(path string, all []keyValue) (*database, error) {
	f, err := lockFile(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if err = f.Truncate(0); err != nil {
		_ = f.Close()
		return nil, err
	}
	s := &database{}
	if err = s.open(f); err == nil {
		err = s.commit(all)
	}
	if err != nil {
		_ = os.Truncate(path, 0) // a file that is mounted by itself cannot be removed
		_ = os.Remove(path)
		_ = s.close()
		return nil, err
	}
	return s, nil
}

// give renames a new file. It does not take the name from a process that has
// locked the file there.
func (s *database) give(tmp, path string) error {
	named, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return err
	case s.is != nil && os.SameFile(named, s.is): // locked by this process
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

// taken makes the end of this process of an error that says that another one has
// what was this one's.
func (s *database) taken(err error) error {
	if s.is == nil || !errors.Is(err, sink.ErrLocked) {
		return err
	}
	return &takenError{err}
}

// takenError says that another process ships from these positions now. It is
// final, as a failed sink is.
type takenError struct{ err error }

func (e *takenError) Error() string {
	return "the positions file was removed or replaced, and another raytap has made a new one: this one stops, so that no line is shipped twice (" + e.err.Error() + ")"
}

func (e *takenError) Unwrap() error { return e.err }

func (e *takenError) Is(target error) bool { return target == sink.ErrFailed }
