package sink

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

var errCrash = errors.New("crash")

// memFS is a file system in memory that simulates crashes: after the death of the
// process all writes remain, after a power cut only synced ones. Names and contents
// are synced separately.
type memFS struct {
	mu      sync.Mutex
	files   map[string]*inode
	durable map[string]*inode // as of the last syncDir

	crashAt int // the step that crashes; 0: none
	steps   []string
	crashed func() // called after the crash; may be nil
	// fault returns the error of a step. step is its name, for example "rename x".
	fault func(step string) error
	room  int // free bytes on the disk; negative: unlimited
	// slowSync, if set, runs before each fsync and returns its error.
	slowSync func() error
	// onStep, if set, runs before each step, without the lock. Its own steps do not count.
	onStep func(step string)
}

type inode struct {
	data    []byte
	synced  []byte
	created time.Time
	owner   *memFile // has locked it
}

func newMemFS() *memFS {
	return &memFS{files: map[string]*inode{}, durable: map[string]*inode{}, room: -1}
}

// after returns the file system as it is after a crash.
func (fs *memFS) after(powerCut bool) *memFS {
	next := newMemFS()
	from := fs.files
	if powerCut {
		from = fs.durable
	}
	for name, i := range from {
		data := i.data
		if powerCut {
			data = i.synced
		}
		n := &inode{data: slices.Clone(data), synced: slices.Clone(data), created: i.created}
		next.files[name], next.durable[name] = n, n
	}
	return next
}

// all returns the content of the rotated files in order and of the current one. A file
// that exists uncompressed and compressed counts once.
func (fs *memFS) all(path string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(fs.files)) {
		uncompressed, zipped := strings.CutSuffix(name, gzipSuffix)
		switch {
		case !strings.HasPrefix(name, path+"."), strings.HasSuffix(name, tempSuffix):
		case !zipped:
			b.Write(fs.files[name].data)
		case fs.files[uncompressed] == nil:
			b.WriteString(unzip(fs.files[name].data))
		}
	}
	if i := fs.files[path]; i != nil {
		b.Write(i.data)
	}
	return b.String()
}

// unzip decompresses b, and returns the error text if that fails.
func unzip(b []byte) string {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err == nil {
		b, err = io.ReadAll(z)
	}
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// step counts a step, and returns its error. The caller holds mu.
func (fs *memFS) step(name string) error {
	if hook := fs.onStep; hook != nil {
		fs.onStep = nil
		fs.mu.Unlock()
		hook(name)
		fs.mu.Lock()
		fs.onStep = hook
	}
	if fs.crashAt > 0 && len(fs.steps) >= fs.crashAt {
		return errCrash
	}
	if len(fs.steps) == fs.crashAt-1 && fs.crashed != nil {
		defer fs.crashed()
	}
	fs.steps = append(fs.steps, name)
	if fs.fault != nil {
		if err := fs.fault(name); err != nil {
			return err
		}
	}
	if len(fs.steps) == fs.crashAt {
		return errCrash
	}
	return nil
}

func (fs *memFS) open(path string, flag int, _ os.FileMode) (fsFile, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.step("open " + filepath.Base(path)); err != nil {
		return nil, err
	}
	i := fs.files[path]
	if i == nil {
		if flag&os.O_CREATE == 0 {
			return nil, os.ErrNotExist
		}
		i = &inode{created: time.Now()}
		fs.files[path] = i
	}
	if flag&os.O_TRUNC != 0 {
		i.data = nil
	}
	return &memFile{fs: fs, i: i}, nil
}

func (fs *memFS) rename(from, to string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.step("rename " + filepath.Base(to)); err != nil {
		return err
	}
	if fs.files[from] == nil {
		return os.ErrNotExist
	}
	fs.files[to] = fs.files[from]
	delete(fs.files, from)
	return nil
}

func (fs *memFS) remove(path string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.files[path] == nil {
		return os.ErrNotExist
	}
	if err := fs.step("remove " + filepath.Base(path)); err != nil {
		return err
	}
	delete(fs.files, path)
	return nil
}

func (fs *memFS) readDirNames(string) ([]string, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var names []string
	for name := range fs.files {
		names = append(names, filepath.Base(name))
	}
	return names, nil
}

func (fs *memFS) syncDir(string) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err := fs.step("syncdir"); err != nil {
		return err
	}
	fs.durable = maps.Clone(fs.files)
	return nil
}

type memFile struct {
	fs     *memFS
	i      *inode
	closed bool
}

func (f *memFile) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, os.ErrClosed
	}
	err := f.fs.step("write")
	n := len(p)
	switch {
	case errors.Is(err, errCrash) && len(f.fs.steps) == f.fs.crashAt && f.fs.steps[f.fs.crashAt-1] == "write":
		n = len(p) / 2 // torn
		f.fs.steps = append(f.fs.steps, "crashed")
	case err != nil:
		return 0, err
	case f.fs.room >= 0 && n > f.fs.room:
		n, err = f.fs.room, &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	if f.fs.room >= 0 {
		f.fs.room -= n
	}
	f.i.data = append(f.i.data, p[:n]...)
	return n, err
}

func (f *memFile) ReadAt(p []byte, at int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if at >= int64(len(f.i.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.i.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Sync() error {
	if f.fs.slowSync != nil {
		if err := f.fs.slowSync(); err != nil {
			return err
		}
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	if err := f.fs.step("fsync"); err != nil {
		return err
	}
	f.i.synced = slices.Clone(f.i.data)
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.step("truncate"); err != nil {
		return err
	}
	f.i.data = f.i.data[:size:size]
	return nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	if f.i.owner == f {
		f.i.owner = nil
	}
	return nil
}

func (f *memFile) lock() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.i.owner != nil && f.i.owner != f {
		return ErrLocked
	}
	f.i.owner = f
	return nil
}

func (f *memFile) links() (n uint64, err error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	for _, i := range f.fs.files {
		if i == f.i {
			n++
		}
	}
	return n, nil
}

func (fs *memFS) mkdirAll(string) error { return nil }

func (f *memFile) size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.i.data)), nil
}

func (f *memFile) createdAt() time.Time { return f.i.created }

func (f *memFile) sameFile(path string) (bool, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return false, os.ErrClosed
	}
	return f.fs.files[path] == f.i, nil
}

// setFault changes the fault while a file is in use.
func (fs *memFS) setFault(fault func(step string) error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.fault = fault
}

func (fs *memFS) setRoom(n int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.room = n
}
