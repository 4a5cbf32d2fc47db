package nodelogs

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"raytap/shipper/checkpoint"

	"raytap/ray"
	"raytap/shipper/nodelogs/names"
	"raytap/shipper/nodelogs/schedule"
	"raytap/shipper/rotation"
)

// entry is one log at rest: what its directory has to know of it between two looks. Its
// directory's lock guards it.
type entry struct {
	schedule.Item
	pace  schedule.Pace
	name  string // the file's, without the number of a generation
	hash  uint64 // by which the directory knows it: of the log's name
	file  *checkpoint.FileEntry
	state *checkpoint.FileState // as it was last passed to the writer; nil: nothing was read
	// Times are Unix nanoseconds; 0: not known.
	first   int64  // when it was first seen
	grown   int64  // when a look last found new bytes
	missing int64  // since when the lists of workers lack its worker
	dead    int64  // since when its worker is dead
	doubt   int64  // see errDoubt; 0: there is none
	reached uint64 // content bytes that looks have read, those of the partial line included
	// seen identifies the log as it was when a look last reached its end and found nothing
	// new; 0: read it.
	seen uint64
	// moving is the reader of a look that has found the log's names moving. It has to see
	// whether they still do; nil: there is none.
	moving *keptReader
	entryFlags
}

// entryFlags are what else is known of a log.
type entryFlags struct {
	generations uint8 // the highest number of an older generation that was seen
	looking     bool  // a look runs
	old         bool  // it was last seen in old/
	atEnd       bool  // the last look that has read the log has reached its end, as far as known
	empty       bool  // and the log was empty
	excluded    bool  // by the selectors
	guessed     bool  // no listing has shown the name, and no look has found it
	unlisted    bool  // the last complete listing lacked it
}

// named returns what the entry's name states.
func (e *entry) named() names.File {
	f, _ := names.Parse(e.name)
	return f
}

// lastLook returns when the log was last looked at; when it was first seen, if never.
func (e *entry) lastLook() time.Time {
	if at := e.pace.Last(); !at.IsZero() {
		return at
	}
	return time.Unix(0, e.first)
}

// rotates reports whether a rotation of the log is known.
func (e *entry) rotates() bool { return e.generations > 0 }

// keptReader is a reader that the next look goes on with, from its own position on.
type keptReader struct {
	reader *rotation.Reader
	files  *logFiles
}

// logFiles are the files of one log, as package rotation reads them.
type logFiles struct {
	client Client
	url    string // of the agent
	name   string
	old    bool // the log itself is in old/, as far as known
	// generations is the highest number that was found.
	generations int
	last        ray.FileStat // of the log itself, as of the last answer
}

func (f *logFiles) path(k int, old bool) string {
	name := f.name
	if k > 0 {
		name += "." + strconv.Itoa(k)
	}
	if old {
		return oldPrefix + name
	}
	return name
}

// Stat implements rotation.Files. Ray moves the log of a dead worker to old/, and leaves
// its older generations where they are (2.60.0).
func (f *logFiles) Stat(ctx context.Context, k int) (st ray.FileStat, err error) {
	err = f.each(k, func(path string) error {
		st, err = f.client.AgentFileStat(ctx, f.url, path)
		return err
	})
	if k == 0 {
		f.last = st
	}
	return st, err
}

// Read implements rotation.Files.
func (f *logFiles) Read(ctx context.Context, k int, from, to int64) (part ray.FilePart, err error) {
	err = f.each(k, func(path string) error {
		part, err = f.client.AgentFile(ctx, f.url, path, from, to)
		return err
	})
	if k == 0 {
		f.last = part.FileStat
	}
	return part, err
}

// each calls do with the places where file k can be, until one exists.
func (f *logFiles) each(k int, do func(path string) error) error {
	err := do(f.path(k, k == 0 && f.old))
	if k == 0 && isMissing(err) {
		if err = do(f.path(k, !f.old)); err == nil {
			f.old = !f.old
		}
	}
	if err == nil {
		f.generations = max(f.generations, k)
	}
	return err
}

// seen identifies the log as of the last answer; 0 if that cannot be said.
func (f *logFiles) seen() uint64 {
	if f.last.ETag == "" {
		return 0
	}
	return checkpoint.FileHash(f.last.ETag)
}

func isMissing(err error) bool { return err != nil && ray.Code(err) == http.StatusNotFound }
