package shipper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"raytap/ray"
	"raytap/shipper/sink"
)

// Positions remembers how far each log was shipped, and what else must outlive
// the process: what the backfill left out, events that were decided and not
// written, and the WebSocket slots that Ray may still hold. With a file it is
// on disk, written anew in one step each time; without one it is memory.
//
// The writer of the Output changes and saves it, so that what it says never
// runs ahead of the sink. Safe for concurrent use.
type Positions struct {
	file string
	lock io.Closer

	mu       sync.Mutex
	clusters map[string]*clusterState
	logs     map[logKey]*logEntry
	slots    map[string]map[string]int // session -> run -> held
	mark     sink.Watermark
	dirty    bool
	unsaved  map[*logEntry]accepted // what is saved of the logs that have moved on since
	savedAt  time.Time
	claims   claims
}

// logKey names a log's owner: one submission id in one session.
type logKey struct{ cluster, session, submission string }

// logEntry is the state of a log as the sink has accepted it.
type logEntry struct {
	snapshot
	gone time.Time // since when Ray does not list the job; zero while it does
	// sinkHas is what recovery found of the log behind the position, until the
	// position has passed it: the watermark moves on with other logs meanwhile.
	sinkHas *recoveredLog
}

// clusterState is what discovery has to remember of a cluster.
type clusterState struct {
	session string
	seen    bool                 // the backfill is decided
	left    map[string]time.Time // what it left out: submission id -> start_time; never changed
}

// OpenPositions reads the positions in file and locks it; "" keeps them in
// memory. A file that is corrupt, or of a newer raytap, is an error: to go on
// without it would ship lines again, or lose them.
func OpenPositions(file string) (*Positions, error) {
	p := &Positions{
		clusters: map[string]*clusterState{},
		logs:     map[logKey]*logEntry{},
		slots:    map[string]map[string]int{},
	}
	if file == "" {
		return p, nil
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("open positions: %w", err)
	}
	p.file = file
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return nil, fmt.Errorf("open positions: %w", err)
	}
	if p.lock, err = sink.Lock(file); err != nil {
		return nil, fmt.Errorf("open positions: %w", err)
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = p.decode(b)
	}
	if err != nil {
		p.lock.Close() //nolint:errcheck // it is the lesser error
		return nil, fmt.Errorf("open positions %s: %w", file, err)
	}
	return p, nil
}

// Close lets the file go. It does not save.
func (p *Positions) Close() error {
	if p.lock == nil {
		return nil
	}
	return p.lock.Close()
}

// Durable reports whether there is a file.
func (p *Positions) Durable() bool { return p.file != "" }

// Mark gives the watermark of the sink file that was saved last.
func (p *Positions) Mark() sink.Watermark {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mark
}

// Empty reports whether no position is known.
func (p *Positions) Empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.clusters) == 0 && len(p.logs) == 0
}

// Save writes the positions of what the sink has accepted so far, together with
// a watermark of the sink file (zero: as it was). It returns once they are on
// disk. It has the form of a sink file's Checkpoint.
func (p *Positions) Save(_ context.Context, mark sink.Watermark) error {
	p.mu.Lock()
	if mark.Path != "" {
		p.mark = mark
	}
	if p.file == "" {
		p.unsaved = nil
		p.mu.Unlock()
		return nil
	}
	state, err := p.toJSON()
	p.dirty = false
	p.mu.Unlock()
	if err == nil {
		err = replaceFile(p.file, state.write)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.dirty = true
		return fmt.Errorf("save positions: %w", err)
	}
	p.unsaved = nil
	p.savedAt = time.Now()
	return nil
}

// replaceFile puts what write writes in a file's place: after a crash it holds
// all of the old content, or all of the new.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	tmp, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = write(tmp)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// changed reports whether there is something to save.
func (p *Positions) changed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dirty
}

// accept takes over the state of a log whose records the sink has accepted.
func (p *Positions) accept(e *logEntry, s snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(e)
	e.snapshot = s
	if e.sinkHas != nil && e.sinkHas.passed(s) {
		e.sinkHas = nil
	}
	p.dirty = true
}

// entry gives a log's entry, making one for the run if it is new, and the state
// to go on with: as it was saved, and with what the sink holds beyond that.
func (p *Positions) entry(k logKey, run ray.Job) *logState {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.logs[k]
	if e == nil {
		e = &logEntry{snapshot: snapshot{pos: newPosition(), run: run}}
		p.logs[k] = e
	}
	e.gone = time.Time{}
	l := &logState{snapshot: e.snapshot, entry: e, reached: e.pos.content}
	if e.sinkHas != nil {
		e.sinkHas.apply(l)
		e.snapshot = l.snapshot
		p.dirty = true
	}
	return l
}

// cluster gives what is remembered of a cluster.
func (p *Positions) cluster(name string) clusterState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clusters[name]; c != nil {
		return *c
	}
	return clusterState{}
}

// setCluster remembers the session of a cluster and what its backfill left out,
// as that is now: the caller goes on changing it.
func (p *Positions) setCluster(name string, c clusterState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.clusters[name]; old != nil && old.session == c.session && old.seen == c.seen && len(old.left) == len(c.left) {
		same := true
		for id, start := range c.left {
			same = same && old.left[id].Equal(start)
		}
		if same {
			return
		}
	}
	c.left = maps.Clone(c.left) // discovery goes on changing its own
	p.clusters[name] = &c
	p.dirty = true
}

// unfinished lists the logs of a cluster whose runs are not read to their end.
func (p *Positions) unfinished(cluster string) []logKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	var keys []logKey
	for k, e := range p.logs {
		if k.cluster == cluster && !e.done {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b logKey) int { return cmp.Compare(a.submission, b.submission) })
	return keys
}

// known gives the runs of a session that have a position.
func (p *Positions) known(cluster, session string) map[string]snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	runs := map[string]snapshot{}
	for k, e := range p.logs {
		if k.cluster == cluster && k.session == session {
			runs[k.submission] = e.snapshot
		}
	}
	return runs
}

// leave notes that Ray does not list a job any more.
func (p *Positions) leave(k logKey, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.logs[k]; e != nil && e.gone.IsZero() {
		e.gone = now
		p.dirty = true
	}
}

// current reports whether a cluster is configured.
func (p *Positions) current(cluster string) bool {
	return p.claims.configured == nil || p.claims.configured[cluster]
}

// expire forgets finished logs that Ray has not listed for so long, the logs of
// clusters that were removed so long ago, and the oldest ones beyond a number.
// It gives how many it forgot.
func (p *Positions) expire(now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var old []logKey
	forgot := 0
	for k, e := range p.logs {
		switch {
		case e.gone.IsZero() || !e.done && p.current(k.cluster):
		case now.Sub(e.gone) > keptFor:
			delete(p.logs, k)
			forgot++
		default:
			old = append(old, k)
		}
	}
	if over := len(p.logs) - keptLogs; over > 0 {
		slices.SortFunc(old, func(a, b logKey) int { return p.logs[a].gone.Compare(p.logs[b].gone) })
		for _, k := range old[:min(over, len(old))] {
			delete(p.logs, k)
			forgot++
		}
	}
	p.dirty = p.dirty || forgot > 0
	return forgot
}

// setSlots remembers the WebSocket slots held in a session.
func (p *Positions) setSlots(session string, held map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(held) == 0 {
		delete(p.slots, session)
	} else {
		p.slots[session] = held
	}
	p.dirty = true
}

// slotsOf gives the slots that were held in a session.
func (p *Positions) slotsOf(session string) map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots[session]
}

// lastSaved gives the time of the last save; zero before the first.
func (p *Positions) lastSaved() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.savedAt
}
