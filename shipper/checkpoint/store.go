// Package checkpoint stores how far each log was shipped, in memory or in the positions file.
// It also restores what the sink file has beyond these positions after a crash, and decides
// which cluster name owns the positions of a Ray.
package checkpoint

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/sink"
)

// Store holds how far each log was shipped, and what else must survive the process: the
// jobs that the backfill skipped, events that are decided and not written, and the stream
// slots that Ray may still hold. It is kept in memory; with a file, each save writes to the
// file what has changed since the save before.
//
// Only the writer accepts states and saves them, so that a saved position is never ahead
// of the sink. Store is safe for concurrent use.
type Store struct {
	saveMu sync.Mutex // held during a save
	db     *database  // nil: in memory
	file   string     // path of db; "": in memory

	mu          sync.Mutex
	clusters    map[string]*ClusterState
	logs        map[Key]*Entry
	files       []*Files
	slots       map[string]map[string]int // session -> run -> number held
	watermark   sink.Watermark
	dirty       bool    // a save is due
	pending     changes // since the last save; not all of them make a save due
	savedAt     time.Time
	ownership   ownership
	saved       lastSave
	onRecreated func(file string, why error)
}

// lastSave is what the last save has written, as far as it has changed since.
type lastSave struct {
	states map[*Entry]savedState
	files  map[*FileEntry]savedFile
	// backfill holds the jobs that the backfill skipped as the file has them, by cluster.
	backfill map[string]map[string]time.Time
}

// changes names what a save has to write.
type changes struct {
	logs      map[Key]bool
	clusters  map[string]bool
	slots     map[string]bool // by session
	files     fileChanges
	watermark bool
	all       bool // everything, to a new file
}

// Key identifies a log: one submission id in one session of a cluster.
type Key struct{ Cluster, Session, SubmissionID string }

// Entry is the state of a log as the sink has accepted it. It belongs to a Store, whose
// lock guards it.
type Entry struct {
	key Key // under which the store has it
	State
	unlistedSince time.Time // since when Ray does not list the job; zero while it does
	// recovered holds the records that recovery found after the position, until the
	// position has passed them: meanwhile the watermark advances with other logs.
	recovered *recoveredLog
}

// ClusterState is what discovery has to remember of a cluster. The zero value is a cluster
// that was never seen.
type ClusterState struct {
	Session         string
	Seen            bool                 // the backfill is decided
	BackfillSkipped map[string]time.Time // jobs that it skipped: submission id -> start_time

	name    string    // ray_cluster of its records; "": its id
	removed time.Time // since when it is not watched any more; zero: it is
}

// Open reads the positions file and locks it until Close; "" keeps the positions in
// memory. A file that does not exist is created. A file that is corrupt, or written by a
// newer raytap, is an error: without it lines would be shipped again, or lost.
func Open(file string) (*Store, error) {
	s := newStore()
	if file == "" {
		return s, nil
	}
	var l loader
	db, err := openDatabaseFile(file, l.visit)
	if err != nil {
		return nil, fmt.Errorf("open positions %s: %w%s", file, withHint(err), hint(err))
	}
	s.db, s.file = db, db.path
	if err = s.load(&l); err == nil {
		// A file that cannot be written fails now. The file also gets this process's id.
		var e encoder
		e.process()
		err = cmp.Or(e.err, db.commit(e.out))
	}
	if err != nil {
		_ = db.close()
		return nil, fmt.Errorf("open positions %s: %w%s", file, withHint(err), hint(err))
	}
	return s, nil
}

func newStore() *Store {
	return &Store{
		clusters:    map[string]*ClusterState{},
		logs:        map[Key]*Entry{},
		slots:       map[string]map[string]int{},
		pending:     newChanges(),
		saved:       lastSave{backfill: map[string]map[string]time.Time{}},
		onRecreated: func(string, error) {},
	}
}

func newChanges() changes {
	return changes{logs: map[Key]bool{}, clusters: map[string]bool{}, slots: map[string]bool{}, files: newFileChanges()}
}

// add adds changes that were not written.
func (c *changes) add(d changes) {
	maps.Copy(c.logs, d.logs)
	maps.Copy(c.clusters, d.clusters)
	maps.Copy(c.slots, d.slots)
	c.files.add(d.files)
	c.watermark = c.watermark || d.watermark
}

// Close closes the file and releases its lock. It does not save.
func (s *Store) Close() error {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	if s.db == nil {
		return nil
	}
	return s.db.close()
}

// Durable reports whether the positions are saved to a file.
func (s *Store) Durable() bool { return s.file != "" }

// Watermark returns the watermark of the sink file as of the last save; zero before the
// first one.
func (s *Store) Watermark() sink.Watermark {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watermark
}

// Empty reports whether no position is known.
func (s *Store) Empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.clusters) == 0 && len(s.logs) == 0 && len(s.files) == 0
}

// Save writes the positions of what the sink has accepted so far, together with a
// watermark of the sink file (zero: unchanged). It returns once they are on disk. It can
// be the Checkpoint of a sink file. An error that wraps sink.ErrFailed is final: another
// process has the positions now. After any other error the file has its content of before,
// and the next save writes what this one did not.
func (s *Store) Save(_ context.Context, watermark sink.Watermark) error {
	s.saveMu.Lock()
	defer s.saveMu.Unlock()
	s.mu.Lock()
	if watermark.Path != "" && watermark != s.watermark {
		s.watermark, s.pending.watermark = watermark, true
	}
	if s.db == nil {
		s.saved.states, s.saved.files = nil, nil
		s.mu.Unlock()
		return nil
	}
	now := s.pending
	lost := s.db.lost()
	write := &now
	if lost != nil {
		write = nil // everything
	}
	content, err := s.encode(write)
	skipped := make(map[string]map[string]time.Time, len(now.clusters))
	for name := range now.clusters {
		if c := s.clusters[name]; c != nil {
			skipped[name] = c.BackfillSkipped
		}
	}
	s.dirty, s.pending = false, newChanges()
	s.mu.Unlock()
	switch {
	case err != nil:
	case lost != nil:
		err = s.db.replace(content)
	case len(content) > 0:
		err = s.db.commit(content)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.dirty = true
		s.pending.add(now)
		return fmt.Errorf("save positions: %w%s", err, hint(err))
	}
	for name := range now.clusters {
		s.saved.backfill[name] = skipped[name]
	}
	if lost != nil {
		s.onRecreated(s.db.path, lost)
	}
	s.saved.states, s.saved.files = nil, nil
	s.savedAt = time.Now()
	return nil
}

// Lost reports whether another program removed, replaced or truncated the file, so that
// the next save writes it again.
func (s *Store) Lost() bool {
	if !s.saveMu.TryLock() { // a save checks it itself
		return false
	}
	defer s.saveMu.Unlock()
	return s.db != nil && s.db.lost() != nil
}

// Changed reports whether there is something to save.
func (s *Store) Changed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dirty
}

// Accept sets the state of a log whose records the sink has accepted. The next save
// writes it.
func (s *Store) Accept(e *Entry, next State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rememberSaved(e)
	e.State = next
	if e.recovered != nil && e.recovered.supersededBy(next) {
		e.recovered = nil
	}
	s.markDirty(e)
}

// markChanged makes the next save write a log's entry, without making a save due. The
// caller holds s.mu.
func (s *Store) markChanged(k Key) {
	if s.db != nil {
		s.pending.logs[k] = true
	}
}

// markDirty makes a save due that writes a log's entry. The caller holds s.mu.
func (s *Store) markDirty(e *Entry) {
	s.markChanged(e.key)
	s.dirty = true
}

// Log returns the state from which to continue a log: the accepted one, with what recovery
// found in the sink beyond it. It adds an entry for the run if there is none.
func (s *Store) Log(k Key, run ray.Job) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.logs[k]
	if e == nil {
		e = &Entry{key: k, State: State{Pos: lines.Start(), Run: run}}
		s.logs[k] = e
		s.markChanged(k) // a new entry alone makes no save due
	}
	if !e.unlistedSince.IsZero() {
		e.unlistedSince = time.Time{}
		s.markChanged(k)
	}
	l := &Log{State: e.State, Entry: e, Reached: e.Pos.Content}
	if e.recovered != nil {
		e.recovered.apply(l)
		e.State = l.State
		s.markDirty(e)
	}
	return l
}

// Cluster returns the state of a cluster. Its map must not be changed.
func (s *Store) Cluster(name string) ClusterState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clusters[name]; c != nil {
		return *c
	}
	return ClusterState{}
}

// SetCluster sets the state of a cluster. It copies the map, which the caller may change
// afterwards.
func (s *Store) SetCluster(name string, c ClusterState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.clusters[name]; old != nil && old.Session == c.Session && old.Seen == c.Seen && len(old.BackfillSkipped) == len(c.BackfillSkipped) {
		same := true
		for id, start := range c.BackfillSkipped {
			same = same && old.BackfillSkipped[id].Equal(start)
		}
		if same {
			return
		}
	}
	c.BackfillSkipped = maps.Clone(c.BackfillSkipped)
	if old := s.clusters[name]; old != nil {
		c.name, c.removed = old.name, old.removed
	}
	s.clusters[name] = &c
	s.pending.clusters[name] = true
	s.dirty = true
}

// Unfinished returns the logs of a cluster that are not done, ordered by submission id.
func (s *Store) Unfinished(cluster string) []Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []Key
	for k, e := range s.logs {
		if k.Cluster == cluster && !e.Done {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Compare(a.SubmissionID, b.SubmissionID) })
	return keys
}

// Runs returns the states of a session's logs, by submission id.
func (s *Store) Runs(cluster, session string) map[string]State {
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := map[string]State{}
	for k, e := range s.logs {
		if k.Cluster == cluster && k.Session == session {
			runs[k.SubmissionID] = e.State
		}
	}
	return runs
}

// MarkUnlisted records that Ray does not list a job any more, since now if it was listed
// before.
func (s *Store) MarkUnlisted(k Key, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.logs[k]; e != nil && e.unlistedSince.IsZero() {
		e.unlistedSince = now
		s.markDirty(e)
	}
}

// isConfigured reports whether a cluster is configured. Before Configure, all are.
func (s *Store) isConfigured(cluster string) bool {
	return s.ownership.configured == nil || s.ownership.configured[cluster]
}

// remove removes a log's entry. The caller holds s.mu.
func (s *Store) remove(k Key) {
	delete(s.logs, k)
	s.markChanged(k)
	s.dirty = true
}

// SetSlots sets the stream slots that the runs of a session hold.
func (s *Store) SetSlots(session string, held map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(held) == 0 {
		delete(s.slots, session)
	} else {
		s.slots[session] = held
	}
	s.pending.slots[session] = true
	s.dirty = true
}

// Slots returns the stream slots that the runs of a session held when they were last set.
func (s *Store) Slots(session string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slots[session]
}

// LastSaved returns the time of the last save; zero before the first.
func (s *Store) LastSaved() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.savedAt
}

// Shipped returns how many lines and content bytes of a log the sink has
// accepted.
func (s *Store) Shipped(k Key) (lines, bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.logs[k]
	if e == nil {
		return 0, 0
	}
	return e.Pos.Lines, e.Content()
}

// File returns the path of the positions file; "" if the positions are in memory.
func (s *Store) File() string { return s.file }

// OnRecreated sets a function that Save calls after it has written the file again from
// memory because other programs removed, replaced or damaged it. It must not use the Store.
func (s *Store) OnRecreated(f func(file string, why error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onRecreated = f
}
