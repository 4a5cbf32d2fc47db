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

// Positions remembers how far each log was shipped, and what else must outlive
// the process: what the backfill left out, events that were decided and not
// written, and the WebSocket slots that Ray may still hold. It is in memory; with
// a file, each save writes there what has changed since the one before.
//
// The writer of the Output changes and saves it, so that what it says never
// runs ahead of the sink. Safe for concurrent use.
type Store struct {
	saving sync.Mutex // held for a save
	db     *database  // nil: in memory
	file   string     // of store; "": in memory

	mu       sync.Mutex
	clusters map[string]*ClusterState
	logs     map[Key]*Entry
	slots    map[string]map[string]int // session -> run -> held
	mark     sink.Watermark
	dirty    bool
	unsaved  map[*Entry]accepted // what is saved of the logs that have moved on since
	pending  changes             // since the last save; more than what makes one due
	savedAt  time.Time
	claims   claims
	// leftSaved is what the file says that backfills left out, by cluster.
	savedBackfill map[string]map[string]time.Time
	onRecreated   func(file string, why error) // is told of a file that was written again
}

// changes are what a save has to write.
type changes struct {
	logs     map[Key]bool
	clusters map[string]bool
	slots    map[string]bool // by session
	mark     bool
	whole    bool // to a new file
}

// logKey names a log's owner: one submission id in one session.
type Key struct{ Cluster, Session, SubmissionID string }

// logEntry is the state of a log as the sink has accepted it.
type Entry struct {
	key Key // under which Positions has it
	State
	unlistedSince time.Time // since when Ray does not list the job; zero while it does
	// sinkHas is what recovery found of the log behind the position, until the
	// position has passed it: the watermark moves on with other logs meanwhile.
	recovered *recoveredLog
}

// clusterState is what discovery has to remember of a cluster.
type ClusterState struct {
	Session         string
	Seen            bool                 // the backfill is decided
	BackfillSkipped map[string]time.Time // what it left out: submission id -> start_time; never changed
}

// OpenPositions reads the positions in file and locks it; "" keeps them in
// memory. A file that is corrupt, or of a newer raytap, is an error: to go on
// without it would ship lines again, or lose them.
func Open(file string) (*Store, error) {
	p := newPositions()
	if file == "" {
		return p, nil
	}
	var l loading
	store, err := openDatabaseFile(file, l.visit)
	if err != nil {
		return nil, fmt.Errorf("open positions %s: %w%s", file, explained(err), remedy(err))
	}
	p.db, p.file = store, store.path
	if err = p.load(&l); err == nil {
		// What cannot be written is known at the start, and whose the file is.
		var e encoding
		e.process()
		err = cmp.Or(e.err, store.commit(e.out))
	}
	if err != nil {
		_ = store.close()
		return nil, fmt.Errorf("open positions %s: %w%s", file, explained(err), remedy(err))
	}
	return p, nil
}

func newPositions() *Store {
	return &Store{
		clusters:      map[string]*ClusterState{},
		logs:          map[Key]*Entry{},
		slots:         map[string]map[string]int{},
		pending:       newChanges(),
		savedBackfill: map[string]map[string]time.Time{},
		onRecreated:   func(string, error) {},
	}
}

func newChanges() changes {
	return changes{logs: map[Key]bool{}, clusters: map[string]bool{}, slots: map[string]bool{}}
}

// add adds changes that were not written.
func (c *changes) add(d changes) {
	maps.Copy(c.logs, d.logs)
	maps.Copy(c.clusters, d.clusters)
	maps.Copy(c.slots, d.slots)
	c.mark = c.mark || d.mark
}

// Close releases the file and its lock. It does not save.
func (p *Store) Close() error {
	p.saving.Lock()
	defer p.saving.Unlock()
	if p.db == nil {
		return nil
	}
	return p.db.close()
}

// Durable reports whether there is a file.
func (p *Store) Durable() bool { return p.file != "" }

// Mark gives the watermark of the sink file that was saved last.
func (p *Store) Watermark() sink.Watermark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mark
}

// Empty reports whether no position is known.
func (p *Store) Empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.clusters) == 0 && len(p.logs) == 0
}

// Save writes the positions of what the sink has accepted so far, together with
// a watermark of the sink file (zero: as it was). It returns once they are on
// disk. It has the form of a sink file's Checkpoint. An error that wraps
// sink.ErrFailed is final: another process has the positions now. After any other
// one the file says what it said before, and the next save writes what this one
// did not.
func (p *Store) Save(_ context.Context, mark sink.Watermark) error {
	p.saving.Lock()
	defer p.saving.Unlock()
	p.mu.Lock()
	if mark.Path != "" && mark != p.mark {
		p.mark, p.pending.mark = mark, true
	}
	if p.db == nil {
		p.unsaved = nil
		p.mu.Unlock()
		return nil
	}
	now := p.pending
	why := p.db.lost()
	what := &now
	if why != nil {
		what = nil
	}
	content, err := p.encode(what)
	left := make(map[string]map[string]time.Time, len(now.clusters))
	for name := range now.clusters {
		if c := p.clusters[name]; c != nil {
			left[name] = c.BackfillSkipped
		}
	}
	p.dirty, p.pending = false, newChanges()
	p.mu.Unlock()
	switch {
	case err != nil:
	case why != nil:
		err = p.db.replace(content)
	case len(content) > 0:
		err = p.db.commit(content)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.dirty = true
		p.pending.add(now)
		return fmt.Errorf("save positions: %w%s", err, remedy(err))
	}
	for name := range now.clusters {
		p.savedBackfill[name] = left[name]
	}
	if why != nil {
		p.onRecreated(p.db.path, why)
	}
	p.unsaved = nil
	p.savedAt = time.Now()
	return nil
}

// lost reports whether the file is not what was last written any more: removed,
// replaced or cut by others.
func (p *Store) Lost() bool {
	if !p.saving.TryLock() { // a save looks itself
		return false
	}
	defer p.saving.Unlock()
	return p.db != nil && p.db.lost() != nil
}

// changed reports whether there is something to save.
func (p *Store) Changed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dirty
}

// accept takes over the state of a log whose records the sink has accepted.
func (p *Store) Accept(e *Entry, s State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(e)
	e.State = s
	if e.recovered != nil && e.recovered.supersededBy(s) {
		e.recovered = nil
	}
	p.touch(e)
}

// note has the next save write a log's entry. It is called under the lock.
func (p *Store) note(k Key) {
	if p.db != nil {
		p.pending.logs[k] = true
	}
}

// touch notes that a log's entry has changed. It is called under the lock.
func (p *Store) touch(e *Entry) {
	p.note(e.key)
	p.dirty = true
}

// entry gives a log's entry, making one for the run if it is new, and the state
// to go on with: as it was saved, and with what the sink holds beyond that.
func (p *Store) Log(k Key, run ray.Job) *Log {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.logs[k]
	if e == nil {
		e = &Entry{key: k, State: State{Pos: lines.Start(), Run: run}}
		p.logs[k] = e
		p.note(k) // that alone is no reason to save
	}
	if !e.unlistedSince.IsZero() {
		e.unlistedSince = time.Time{}
		p.note(k)
	}
	l := &Log{State: e.State, Entry: e, Reached: e.Pos.Content}
	if e.recovered != nil {
		e.recovered.apply(l)
		e.State = l.State
		p.touch(e)
	}
	return l
}

// cluster gives what is remembered of a cluster.
func (p *Store) Cluster(name string) ClusterState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clusters[name]; c != nil {
		return *c
	}
	return ClusterState{}
}

// setCluster remembers the session of a cluster and what its backfill left out,
// as that is now: the caller goes on changing it.
func (p *Store) SetCluster(name string, c ClusterState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.clusters[name]; old != nil && old.Session == c.Session && old.Seen == c.Seen && len(old.BackfillSkipped) == len(c.BackfillSkipped) {
		same := true
		for id, start := range c.BackfillSkipped {
			same = same && old.BackfillSkipped[id].Equal(start)
		}
		if same {
			return
		}
	}
	c.BackfillSkipped = maps.Clone(c.BackfillSkipped) // discovery goes on changing its own
	p.clusters[name] = &c
	p.pending.clusters[name] = true
	p.dirty = true
}

// unfinished lists the logs of a cluster whose runs are not read to their end.
func (p *Store) Unfinished(cluster string) []Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	var keys []Key
	for k, e := range p.logs {
		if k.Cluster == cluster && !e.Done {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return cmp.Compare(a.SubmissionID, b.SubmissionID) })
	return keys
}

// known gives the runs of a session that have a position.
func (p *Store) Runs(cluster, session string) map[string]State {
	p.mu.Lock()
	defer p.mu.Unlock()
	runs := map[string]State{}
	for k, e := range p.logs {
		if k.Cluster == cluster && k.Session == session {
			runs[k.SubmissionID] = e.State
		}
	}
	return runs
}

// leave notes that Ray does not list a job any more.
func (p *Store) MarkUnlisted(k Key, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.logs[k]; e != nil && e.unlistedSince.IsZero() {
		e.unlistedSince = now
		p.touch(e)
	}
}

// current reports whether a cluster is configured.
func (p *Store) current(cluster string) bool {
	return p.claims.configured == nil || p.claims.configured[cluster]
}

// expire forgets finished logs that Ray has not listed for so long, the logs of
// clusters that were removed so long ago, and the oldest ones beyond a number.
// It gives how many it forgot.
func (p *Store) Expire(now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var old []Key
	forgot := 0
	for k, e := range p.logs {
		switch {
		case e.unlistedSince.IsZero() || !e.Done && p.current(k.Cluster):
		case now.Sub(e.unlistedSince) > Retention:
			p.forget(k)
			forgot++
		default:
			old = append(old, k)
		}
	}
	if over := len(p.logs) - MaxRetained; over > 0 {
		slices.SortFunc(old, func(a, b Key) int { return p.logs[a].unlistedSince.Compare(p.logs[b].unlistedSince) })
		for _, k := range old[:min(over, len(old))] {
			p.forget(k)
			forgot++
		}
	}
	return forgot
}

// forget drops a log's entry. It is called under the lock.
func (p *Store) forget(k Key) {
	delete(p.logs, k)
	p.note(k)
	p.dirty = true
}

// setSlots remembers the WebSocket slots held in a session.
func (p *Store) SetSlots(session string, held map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(held) == 0 {
		delete(p.slots, session)
	} else {
		p.slots[session] = held
	}
	p.pending.slots[session] = true
	p.dirty = true
}

// slotsOf gives the slots that were held in a session.
func (p *Store) Slots(session string) map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots[session]
}

// LastSaved returns the time of the last save; zero before the first.
func (p *Store) LastSaved() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.savedAt
}

// shipped gives how many lines and content bytes of a log the sink has taken.
func (p *Store) Shipped(k Key) (lines, bytes uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.logs[k]
	if e == nil {
		return 0, 0
	}
	return e.Pos.Lines, e.Pos.Content
}

// File returns the file of the positions; "": they are in memory.
func (p *Store) File() string { return p.file }

// OnRecreated sets a function that is called when a file that others removed, replaced or
// damaged was written again from memory.
func (p *Store) OnRecreated(f func(file string, why error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onRecreated = f
}
