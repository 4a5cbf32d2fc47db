package checkpoint

import (
	"slices"

	"github.com/cespare/xxhash/v2"

	"raytap/shipper/record"
	"raytap/shipper/rotation"
)

// FileState is what the positions hold of a log file on a node. It is never changed: what
// follows it is another one.
type FileState struct {
	Name      string // the file's, without the number of a generation
	Directory string // in which it is: a FileDirectory's ID
	At        rotation.Position
	Epoch     uint64
	Lines     uint64 // before the position: the seq of the next one
	Content   uint64 // bytes of these lines, without line ends
	Skipped   uint64 // lines before the position that no record has counted yet
	LastTime  int64  // of the last record, Unix nanoseconds
	Blank     int    // empty lines right before the position
	AfterCR   bool   // a \r is right before the position
	Ended     bool   // an end event was written, and no line since
	// Finished: it is not read any more. The store then keeps no more than its hash.
	Finished bool
	Attribution
}

// Attribution is whose lines a log file has, as of its position.
type Attribution struct {
	// Decided: the job does not change any more. It is decided before the first record.
	Decided      bool
	JobID        string
	SubmissionID string
	JobName      string
	NodeID       string // of the process that writes it
	ActorName    string
	TaskName     string
	Replica      string // of Ray Serve, that the actor is; "": none, or not known
}

// FileEntry is the state of a log file as the sink has accepted it. It belongs to the Files
// of a session, whose store's lock guards it.
type FileEntry struct {
	files     *Files
	hash      uint64
	state     *FileState    // nil: nothing of it was shipped
	recovered *recoveredLog // what the sink has after the state; nil: nothing
}

// Files holds the log files of one session of a cluster. It belongs to a Store, and is safe
// for concurrent use.
type Files struct {
	store            *Store
	cluster, session string
	first            []string // nodes of the first list, if this was the first session
	begun            bool     // first is decided
	entries          map[uint64]*FileEntry
	directories      map[string]*FileDirectory
}

// FileDirectory is a log directory of one node, or of several that share it. It belongs to a
// Files, and is safe for concurrent use.
type FileDirectory struct {
	files   *Files
	id      string
	nodes   []string // that have served it
	decided bool     // the backfill is decided
	done    map[uint64]struct{}
}

// doneKey names one finished file.
type doneKey struct {
	directory *FileDirectory
	hash      uint64
}

// savedFile is the state of a log file as of the last save.
type savedFile struct {
	state     *FileState
	recovered *recoveredLog
}

// FileHash returns by what a log is known in its session: a hash of its name.
func FileHash(log string) uint64 { return xxhash.Sum64String(log) }

// Files returns the log files of a session; an empty one if there was none.
func (s *Store) Files(cluster, session string) *Files {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessionFiles(cluster, session)
}

// sessionFiles is Files for a caller that holds s.mu.
func (s *Store) sessionFiles(cluster, session string) *Files {
	for _, f := range s.files {
		if f.cluster == cluster && f.session == session {
			return f
		}
	}
	f := &Files{store: s, cluster: cluster, session: session, entries: map[uint64]*FileEntry{}, directories: map[string]*FileDirectory{}}
	s.files = append(s.files, f)
	s.sessionChanged(f)
	return f
}

// FileSessions returns the sessions of a cluster that have log files.
func (s *Store) FileSessions(cluster string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sessions []string
	for _, f := range s.files {
		if f.cluster == cluster {
			sessions = append(sessions, f.session)
		}
	}
	return sessions
}

// DropFiles forgets the log files of a session, which is over.
func (s *Store) DropFiles(cluster, session string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropFiles(cluster, session)
}

// dropFiles is DropFiles for a caller that holds s.mu.
func (s *Store) dropFiles(cluster, session string) {
	s.files = slices.DeleteFunc(s.files, func(f *Files) bool {
		if f.cluster != cluster || f.session != session {
			return false
		}
		for _, e := range f.entries {
			s.fileChanged(e)
			e.state, e.recovered = nil, nil
		}
		for _, d := range f.directories {
			f.drop(d)
		}
		f.begun = false
		s.sessionChanged(f)
		s.dirty = true
		return true
	})
}

// Begin records the nodes that the cluster has, at the first call for a session. For the
// first session that a cluster ever had, these are the nodes that existed before its files
// were read; later ones had none.
func (f *Files) Begin(nodes []string) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	if f.begun {
		return
	}
	f.begun, f.first = true, nodes
	for _, o := range f.store.files {
		if o.cluster == f.cluster && o != f && o.begun {
			f.first = nil
		}
	}
	f.store.sessionChanged(f)
	f.store.dirty = true
}

// IsFirst reports whether a node existed before the files of the cluster were read.
func (f *Files) IsFirst(node string) bool {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	return slices.Contains(f.first, node)
}

// Entry returns the entry of a log. It adds one if there is none.
func (f *Files) Entry(log string) *FileEntry {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	return f.entry(FileHash(log))
}

// entry is Entry for a caller that holds the lock.
func (f *Files) entry(hash uint64) *FileEntry {
	e := f.entries[hash]
	if e == nil {
		e = &FileEntry{files: f, hash: hash}
		f.entries[hash] = e
	}
	return e
}

// Forget forgets an entry of which nothing was shipped. An entry that has a state stays.
func (f *Files) Forget(e *FileEntry) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	if e.state == nil && e.recovered == nil && f.entries[e.hash] == e {
		delete(f.entries, e.hash)
	}
}

// Entries returns the entries that have a state.
func (f *Files) Entries() []*FileEntry {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	entries := make([]*FileEntry, 0, len(f.entries))
	for _, e := range f.entries {
		if e.state != nil {
			entries = append(entries, e)
		}
	}
	return entries
}

// State returns what the sink has accepted; nil if that is nothing.
func (e *FileEntry) State() *FileState {
	e.files.store.mu.Lock()
	defer e.files.store.mu.Unlock()
	return e.state
}

// AcceptFile sets the state of a log file whose records the sink has accepted. The next save
// writes it. If the state is Finished, the entry becomes a hash of its directory.
func (s *Store) AcceptFile(e *FileEntry, next *FileState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.saved.files[e]; !ok {
		if s.saved.files == nil {
			s.saved.files = map[*FileEntry]savedFile{}
		}
		s.saved.files[e] = savedFile{e.state, e.recovered}
	}
	s.fileChanged(e)
	s.dirty = true
	e.state = next
	if e.recovered != nil && e.recovered.supersededByFile(next) {
		e.recovered = nil
	}
	if next.Finished {
		delete(e.files.entries, e.hash)
		e.files.directory(next.Directory).add(e.hash)
	}
}

// rollbackFiles returns all log files to their saved states. The caller holds s.mu.
func (s *Store) rollbackFiles() {
	for e, saved := range s.saved.files {
		if e.state != nil && e.state.Finished {
			e.files.directory(e.state.Directory).remove(e.hash)
		}
		e.state, e.recovered = saved.state, saved.recovered
		e.files.entries[e.hash] = e
		s.fileChanged(e)
	}
	s.saved.files = nil
}

// recoveredFile adds a record of a log file that was found in the sink after the saved
// watermark. The caller holds s.mu.
func (s *Store) recoveredFile(r record.Decoded) {
	e := s.sessionFiles(s.idOf(r.Cluster, r.Session), r.Session).entry(FileHash(r.Log))
	if e.recovered == nil {
		e.recovered = newRecoveredLog()
	}
	e.recovered.add(r)
	s.fileChanged(e)
	s.dirty = true
}

// Directories returns the directories that are known.
func (f *Files) Directories() []*FileDirectory {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	out := make([]*FileDirectory, 0, len(f.directories))
	for _, d := range f.directories {
		out = append(out, d)
	}
	return out
}

// Directory returns a directory. It adds one if there is none.
func (f *Files) Directory(id string) *FileDirectory {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	return f.directory(id)
}

func (f *Files) directory(id string) *FileDirectory {
	d := f.directories[id]
	if d == nil {
		d = &FileDirectory{files: f, id: id, done: map[uint64]struct{}{}}
		f.directories[id] = d
		f.store.directoryChanged(d)
	}
	return d
}

// DropDirectory forgets a directory, whose nodes are dead. Its files must have ended.
func (f *Files) DropDirectory(id string) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	if d := f.directories[id]; d != nil {
		f.drop(d)
		f.store.dirty = true
	}
}

func (f *Files) drop(d *FileDirectory) {
	delete(f.directories, d.id)
	for hash := range d.done {
		d.remove(hash)
	}
	f.store.directoryChanged(d)
}

// ID returns the id of the node that was seen first to serve the directory.
func (d *FileDirectory) ID() string { return d.id }

// Nodes returns the ids of the nodes that have served it.
func (d *FileDirectory) Nodes() []string {
	d.files.store.mu.Lock()
	defer d.files.store.mu.Unlock()
	return slices.Clone(d.nodes)
}

// AddNode records a node that serves it.
func (d *FileDirectory) AddNode(id string) {
	d.files.store.mu.Lock()
	defer d.files.store.mu.Unlock()
	if !slices.Contains(d.nodes, id) {
		d.nodes = append(d.nodes, id)
		d.files.store.directoryChanged(d)
		d.files.store.dirty = true
	}
}

// Decided reports whether the backfill is decided.
func (d *FileDirectory) Decided() bool {
	d.files.store.mu.Lock()
	defer d.files.store.mu.Unlock()
	return d.decided
}

// Decide decides the backfill: it skips the files of these hashes.
func (d *FileDirectory) Decide(skipped []uint64) {
	d.files.store.mu.Lock()
	defer d.files.store.mu.Unlock()
	d.decided = true
	for _, hash := range skipped {
		d.add(hash)
	}
	d.files.store.directoryChanged(d)
	d.files.store.dirty = true
}

// Skip adds one file to those that are not read.
func (d *FileDirectory) Skip(hash uint64) {
	d.files.store.mu.Lock()
	defer d.files.store.mu.Unlock()
	d.add(hash)
	d.files.store.dirty = true
}

// IsDone reports whether a file is finished, or was skipped by the backfill.
func (d *FileDirectory) IsDone(hash uint64) bool {
	d.files.store.mu.Lock()
	defer d.files.store.mu.Unlock()
	_, ok := d.done[hash]
	return ok
}

// DoneCount returns the number of files that are finished or skipped by the backfill.
func (d *FileDirectory) DoneCount() int {
	d.files.store.mu.Lock()
	defer d.files.store.mu.Unlock()
	return len(d.done)
}

// Absent returns which finished files are not in a listing, which is complete, and were not
// in the one before; and all that are not in this one, for the next call.
func (d *FileDirectory) Absent(listed func(hash uint64) bool, before map[uint64]struct{}) (gone []uint64, absent map[uint64]struct{}) {
	d.files.store.mu.Lock()
	defer d.files.store.mu.Unlock()
	absent = map[uint64]struct{}{}
	for hash := range d.done {
		if listed(hash) {
			continue
		}
		if _, ok := before[hash]; ok {
			gone = append(gone, hash)
		} else {
			absent[hash] = struct{}{}
		}
	}
	return gone, absent
}

// Forget forgets finished files that do not exist any more.
func (d *FileDirectory) Forget(hashes []uint64) {
	d.files.store.mu.Lock()
	defer d.files.store.mu.Unlock()
	for _, hash := range hashes {
		d.remove(hash)
		d.files.store.dirty = true
	}
}

func (d *FileDirectory) add(hash uint64) {
	d.done[hash] = struct{}{}
	d.files.store.doneChanged(doneKey{d, hash})
}

func (d *FileDirectory) remove(hash uint64) {
	delete(d.done, hash)
	d.files.store.doneChanged(doneKey{d, hash})
}

// fileChanged makes the next save write an entry. The caller holds s.mu, like those of the
// functions that follow.
func (s *Store) fileChanged(e *FileEntry) {
	if s.db != nil {
		s.pending.files.entries[e] = true
	}
}

func (s *Store) directoryChanged(d *FileDirectory) {
	if s.db != nil {
		s.pending.files.directories[d] = true
	}
}

func (s *Store) doneChanged(k doneKey) {
	if s.db != nil {
		s.pending.files.done[k] = true
	}
}

func (s *Store) sessionChanged(f *Files) {
	if s.db != nil {
		s.pending.files.sessions[f] = true
	}
}
