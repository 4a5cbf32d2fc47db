package cli

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"raytap/ray"
)

// collectLogs writes the selected files to a directory, or to a .tar.gz file, as
// NODE/NAME. It goes on after errors; what is missing is listed at the end, and then
// an error is returned.
func collectLogs(ctx context.Context, from nodeLogs, sel *logSelection, to string, console Console) error {
	if sel.empty() {
		return usagef("select what to collect: --job, --node, --application, --worker, --actor, --source or --file")
	}
	list, err := sel.find(ctx, from)
	if err != nil {
		return err
	}
	if len(list.Files) == 0 {
		if len(list.Missing) > 0 {
			noteMissing(list, console)
			return incomplete(list.Missing)
		}
		return &ray.Error{Op: "collect logs", Code: http.StatusNotFound, Detail: "no log file matches: see raytap logs list"}
	}
	store, err := newLogStore(to)
	if err != nil {
		return err
	}
	c := &collection{from: from, store: store, names: localNames{}, seen: map[string]bool{}, missing: list.Missing, bar: newProgress(console, len(list.Files)), began: time.Now()}
	err = c.all(ctx, list.Files)
	c.bar.end()
	if closeErr := store.close(err == nil); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	noteUnknown(list, console)
	console.infof("%d files, %s, in %s", c.written, formatBytes(float64(c.bytes)), printable(to, true))
	if len(c.missing) == 0 {
		return nil
	}
	console.infof("missing or incomplete: %d", len(c.missing))
	for _, m := range c.missing {
		console.infof("  %s", missingText(m))
	}
	return reportedError{errors.New("the collection is incomplete")}
}

// collection is one run of collectLogs.
type collection struct {
	from    nodeLogs
	store   logStore
	names   localNames
	seen    map[string]bool // the generations that are complete, by log and ETag
	missing []ray.MissingLog
	written int
	bytes   int64
	bar     *progress
	began   time.Time // for files whose time is not known
}

// errStore is an error of the output, which ends the collection.
type errStore struct{ error }

// Unwrap returns the error of the output.
func (e errStore) Unwrap() error { return e.error }

// all collects files, each log's generations in ascending order: a rotation between two
// of them moves one up, so that it may be read twice but not missed.
func (c *collection) all(ctx context.Context, files []ray.LogFile) error {
	for i, f := range files {
		c.bar.file(i+1, f.Name)
		if err := c.try(ctx, f); err != nil {
			return err
		}
		if last := i+1 == len(files) || files[i+1].NodeID != f.NodeID || files[i+1].Log != f.Log; last && f.AgentURL != "" {
			if err := c.newer(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxRotations is how many rotations since the list are followed.
const maxRotations = 20

// newer collects the generations that have numbers beyond the last one that was listed:
// the log was rotated since.
func (c *collection) newer(ctx context.Context, f ray.LogFile) error {
	for range maxRotations {
		f.Generation++
		f.Name = fmt.Sprintf("%s.%d", f.Log, f.Generation)
		stat, err := c.from.LogFileStat(ctx, f)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // there is none, or what fails was reported
			return nil
		case stat.ETag == "" || c.seen[generationKey(f, stat)]:
			continue
		}
		if err := c.try(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// try collects one file, and remembers what is missing. Its error ends the collection.
func (c *collection) try(ctx context.Context, f ray.LogFile) error {
	err := c.one(ctx, f)
	var output errStore
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &output):
		return output.error
	case err != nil:
		c.missing = append(c.missing, ray.MissingLog{NodeID: f.NodeID, Name: f.Name, Err: err})
	}
	return nil
}

// errRotatedAway is the error for a generation that nothing has the name of any more.
var errRotatedAway = errors.New("it was deleted by a rotation before it could be read")

// open opens a file under the name that it has now: since it was listed, a generation may
// have the number of the one before, and the file of a worker that died is in old/.
func (c *collection) open(ctx context.Context, f ray.LogFile) (ray.LogFile, ray.FilePart, error) {
	for moved := false; ; {
		part, err := c.from.LogFile(ctx, f, 0, 0)
		switch {
		case ray.Code(err) == http.StatusNotFound && moved:
			return f, part, errRotatedAway
		case ray.Code(err) == http.StatusNotFound && f.Name == f.Log && f.Source == ray.LogWorker:
			f.Name = "old/" + f.Log
		case err != nil || part.ETag == "" || !c.seen[generationKey(f, part.FileStat)]:
			return f, part, err
		default:
			_ = part.Body.Close()
			moved, f.Generation = true, f.Generation+1
			f.Name = fmt.Sprintf("%s.%d", f.Log, f.Generation)
		}
	}
}

// generationKey identifies a generation under any name.
func generationKey(f ray.LogFile, stat ray.FileStat) string {
	return f.NodeID + "/" + f.Log + "/" + stat.ETag
}

// one collects one file.
func (c *collection) one(ctx context.Context, f ray.LogFile) error {
	f, part, err := c.open(ctx, f)
	if err != nil {
		return err
	}
	defer part.Body.Close()
	if part.Offset != 0 {
		return &ray.Error{Op: "collect", Code: http.StatusInternalServerError, Detail: "the agent did not return the file from its beginning"}
	}
	name := c.names.of(shortID(f.NodeID), f.Name)
	modified := part.Modified
	if modified.IsZero() { // of an empty file, or by way of the head
		if stat, err := c.from.LogFileStat(ctx, f); err == nil {
			modified = stat.Modified
		} else {
			modified = c.began
		}
	}
	n, err := c.store.add(name, part.Size, modified, c.bar.reader(part.Body))
	c.bytes += n
	var output errStore
	switch {
	case errors.As(err, &output):
		return err
	case err != nil:
		c.written++
		return fmt.Errorf("only %s of it were read: %w", formatBytes(float64(n)), err)
	}
	c.written++
	c.seen[generationKey(f, part.FileStat)] = true
	return nil
}

// logStore is where collected files go.
type logStore interface {
	// add stores a file and returns how many bytes of it were read. size is what is read
	// of it, -1 if unknown. An errStore is one of the store; any other is of the source, and
	// what was read of it is kept.
	add(name string, size int64, modified time.Time, body io.Reader) (int64, error)
	// close completes the store, or removes an incomplete archive.
	close(complete bool) error
}

// newLogStore creates the directory, or the archive, that files are collected in.
func newLogStore(to string) (logStore, error) {
	if strings.HasSuffix(to, ".tar.gz") || strings.HasSuffix(to, ".tgz") {
		return newArchive(to)
	}
	if entries, err := os.ReadDir(to); err == nil && len(entries) > 0 {
		return nil, usagef("the directory %s is not empty", printable(to, true))
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return nil, err
	}
	return directory{root}, nil
}

// directory is a logStore of files. Nothing outside of it is ever written.
type directory struct{ root *os.Root }

func (d directory) add(name string, size int64, modified time.Time, body io.Reader) (int64, error) {
	file, err := d.create(filepath.FromSlash(name))
	switch {
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTDIR):
		return 0, err // a file has the name of a directory
	case err != nil:
		return 0, errStore{err}
	}
	n, err := copyBody(file, body, size)
	if closeErr := file.Close(); closeErr != nil {
		return n, errStore{closeErr}
	}
	_ = d.root.Chtimes(filepath.FromSlash(name), modified, modified)
	return n, err
}

func (d directory) create(name string) (*os.File, error) {
	if err := d.root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	return d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (d directory) close(bool) error { return d.root.Close() }

// archive is a logStore in one .tar.gz file. It has its name once it is complete.
type archive struct {
	name string
	file *os.File
	gzip *gzip.Writer
	tar  *tar.Writer
}

func newArchive(name string) (*archive, error) {
	if _, err := os.Lstat(name); err == nil {
		return nil, usagef("%s exists", printable(name, true))
	}
	file, err := os.OpenFile(name+".partial", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	zip := gzip.NewWriter(file)
	return &archive{name: name, file: file, gzip: zip, tar: tar.NewWriter(zip)}, nil
}

// add writes an entry, which needs the size first: a body of unknown size goes through a
// temporary file. A body that ends early is filled up with zero bytes.
func (a *archive) add(name string, size int64, modified time.Time, body io.Reader) (int64, error) {
	if size < 0 {
		spool, err := os.CreateTemp(filepath.Dir(a.name), ".raytap-*")
		if err != nil {
			return 0, errStore{err}
		}
		defer os.Remove(spool.Name())
		defer spool.Close()
		n, err := copyBody(spool, body, -1)
		if err != nil {
			return 0, err
		}
		if _, err := spool.Seek(0, io.SeekStart); err != nil {
			return 0, errStore{err}
		}
		return a.add(name, n, modified, spool)
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: modified, Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(header); err != nil {
		return 0, errStore{err}
	}
	n, err := copyBody(a.tar, body, size)
	var output errStore
	if errors.As(err, &output) || n == size {
		return n, err
	}
	if _, fillErr := io.CopyN(a.tar, zeros{}, size-n); fillErr != nil {
		return n, errStore{fillErr}
	}
	return n, fmt.Errorf("the rest is filled with zero bytes: %w", err)
}

func (a *archive) close(complete bool) error {
	err := cmp.Or(a.tar.Close(), a.gzip.Close(), a.file.Close())
	if err == nil && complete {
		return os.Rename(a.file.Name(), a.name)
	}
	_ = os.Remove(a.file.Name())
	return err
}

// zeros is an endless file of zero bytes.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// copyBody copies exactly size bytes, all if size is -1. A file that grew since has more.
func copyBody(to io.Writer, body io.Reader, size int64) (int64, error) {
	if size >= 0 {
		body = io.LimitReader(body, size)
	}
	w := &storeWriter{to: to}
	n, err := io.Copy(w, body)
	switch {
	case w.err != nil:
		return n, errStore{w.err}
	case err == nil && size >= 0 && n < size:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// storeWriter remembers the error of its writer.
type storeWriter struct {
	to  io.Writer
	err error
}

func (w *storeWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

// localNames are the names of collected files, each used once.
type localNames map[string]bool

// maxLocalName is the longest name of a file or directory, in bytes; file systems have
// 255.
const maxLocalName = 200

// of returns the path, with slashes, for a file of a node. The names come from the
// cluster: whatever they are, the path stays below its directory.
func (names localNames) of(node, name string) string {
	parts := []string{localName(node)}
	for part := range strings.SplitSeq(name, "/") {
		parts = append(parts, localName(part))
	}
	path := strings.Join(parts, "/")
	for n := 2; names[strings.ToLower(path)]; n++ { // some file systems ignore case
		path = fmt.Sprintf("%s~%d", strings.Join(parts, "/"), n)
	}
	names[strings.ToLower(path)] = true
	return path
}

// localName returns a name that is valid, and harmless, on every system.
func localName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || isUnsafeRune(r) || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, s)
	for len(s) > maxLocalName {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	if strings.Trim(s, ". ") == "" { // "", ".", ".."
		return "_" + strings.Map(func(rune) rune { return '_' }, s)
	}
	return s
}
