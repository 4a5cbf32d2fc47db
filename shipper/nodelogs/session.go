package nodelogs

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/clock"

	"raytap/logthrottle"
	"raytap/ray"
	"raytap/shipper/nodelogs/names"
)

// session ships the logs of one session of a cluster. run belongs to one goroutine, and
// alone starts and ends directories.
type session struct {
	c        *Cluster
	id       string
	files    *checkpoint.Files
	stop     context.CancelFunc // ends run
	wg       sync.WaitGroup
	found    chan listing // of nodes whose directory is not known yet
	listing  logthrottle.Condition
	serve    logthrottle.Condition // whether replicas of Ray Serve can be listed
	limits   limits
	progress progress
	replicas replicas

	// sharing is held while a listing decides to which directory its files belong.
	sharing sync.Mutex

	mu          sync.Mutex
	directories map[string]*directory // by the node that is their id
	of          map[string]*directory // by node: the directory that it serves
	looking     map[string]bool       // nodes that are listed to find it
	unlisted    map[string]error      // nodes for which that failed
	missing     map[string]*clock.Absence
	workers     *workerTable // nil: no list yet
	open        int          // files that are read
}

func newSession(c *Cluster, id string, stop context.CancelFunc) *session {
	return &session{
		c: c, id: id, stop: stop, files: c.out.Positions.Files(c.opts.ID, id), found: make(chan listing),
		listing: logthrottle.Condition{Log: c.opts.Log}, serve: logthrottle.Condition{Log: c.opts.Log},
		limits: limits{Limits: c.opts.Limits}, progress: progress{interval: c.opts.Aggregate.Progress},
		directories: map[string]*directory{}, of: map[string]*directory{}, looking: map[string]bool{}, unlisted: map[string]error{}, missing: map[string]*clock.Absence{},
	}
}

// run ships until ctx ends: with the session, or with the process.
func (s *session) run(ctx context.Context) {
	defer s.wg.Wait()
	defer s.stop()
	for _, old := range s.c.out.Positions.FileSessions(s.c.opts.ID) {
		if old != s.id && ctx.Err() == nil {
			s.c.endSaved(ctx, old)
		}
	}
	s.resume(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case l := <-s.found:
			s.identify(ctx, l)
		case <-timer.C:
			timer.Reset(s.observe(ctx))
		}
	}
}

// resume continues with the files that an earlier process has read.
func (s *session) resume(ctx context.Context) {
	now := time.Now()
	for _, d := range s.files.Directories() {
		s.start(ctx, d.ID())
	}
	for _, e := range s.files.Entries() {
		st := e.State()
		d := s.start(ctx, st.Directory)
		d.mu.Lock()
		d.resumeEntry(e, st, now)
		d.mu.Unlock()
	}
}

// resumeEntry adds a log that has a position. The caller holds d.mu.
func (d *directory) resumeEntry(file *checkpoint.FileEntry, st *checkpoint.FileState, now time.Time) {
	e := &entry{name: st.Name, file: file, state: st, first: now.UnixNano(), reached: st.Content, entryFlags: entryFlags{atEnd: true}}
	f := e.named()
	e.hash = checkpoint.FileHash(f.Log(st.Directory))
	if d.entries[e.hash] != nil || !d.s.c.ships(f) {
		return // an excluded one keeps its position
	}
	d.s.reserveFile()
	d.entries[e.hash] = e
	d.queue.Set(e, now, false)
}

// start returns a directory. It starts one if there is none.
func (s *session) start(ctx context.Context, id string) *directory {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.directories[id]; d != nil {
		return d
	}
	d := newDirectory(s, id)
	d.beyond, d.excluded, d.retiring = map[uint64]struct{}{}, map[uint64]names.Kind{}, map[uint64]time.Time{}
	s.directories[id] = d
	ctx, d.stop = context.WithCancel(ctx)
	s.wg.Go(func() {
		defer close(d.stopped)
		d.run(ctx)
	})
	return d
}

// observe requests the nodes and their workers, and returns the pause until the next time.
func (s *session) observe(ctx context.Context) time.Duration {
	list, err := s.c.client.NodeWorkers(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.listing.Failed("Nodes and workers cannot be listed", err)
		}
		return max(nodesInterval, ray.RetryAfter(err))
	}
	s.listing.Recovered("Nodes and workers can be listed again")
	switch err := s.replicas.observe(ctx, s.c.client); {
	case err == nil:
		s.serve.Recovered("Replicas of Serve can be listed again")
	case ctx.Err() == nil:
		s.serve.Failed("Replicas of Serve cannot be listed, so that records lack the key replica", err)
	}
	if len(list) == 0 {
		return nodesInterval // for two seconds after a start of the dashboard (2.9.3 to 2.60.0): it says nothing
	}
	ids := make([]string, 0, len(list))
	for _, n := range list {
		ids = append(ids, n.NodeID)
	}
	s.files.Begin(ids)
	table, now := newWorkerTable(list), time.Now()
	s.mu.Lock()
	s.workers = table
	s.mu.Unlock()
	alive := map[string]bool{}
	for _, n := range list {
		if n.State == ray.NodeAlive {
			alive[n.NodeID] = true
			s.route(ctx, n)
		}
	}
	s.mu.Lock()
	maps.DeleteFunc(s.unlisted, func(node string, _ error) bool { return !alive[node] })
	s.mu.Unlock()
	for _, d := range s.list() {
		d.observe(table, now)
	}
	s.endDead(ctx, list, alive, now)
	return nodesInterval
}

// route finds the directory that a node serves: the one that it has served before, or one
// that has the files which its agent lists.
func (s *session) route(ctx context.Context, n ray.NodeWorkers) {
	if n.AgentURL == "" {
		return
	}
	r := route{node: n.NodeID, ip: n.IP, url: n.AgentURL}
	if d := s.directoryOf(n.NodeID); d != nil {
		d.attach(r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looking[n.NodeID] {
		return
	}
	s.looking[n.NodeID] = true
	s.wg.Go(func() {
		l := listing{route: r, err: s.c.reads.Acquire(ctx, 1)}
		if l.err == nil {
			l = s.listNode(ctx, r, true, true)
			s.c.reads.Release(1)
		}
		select {
		case s.found <- l:
		case <-ctx.Done():
		}
	})
}

// directoryOf returns the directory that a node is known to serve, or nil.
func (s *session) directoryOf(node string) *directory {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.of[node]; d != nil {
		return d
	}
	for _, d := range s.directories {
		if d.stored.ID() == node || slices.Contains(d.stored.Nodes(), node) {
			s.of[node] = d
			return d
		}
	}
	return nil
}

// identify handles the first listing of a node: its agent serves the directory that has one
// of its files, or a new one.
func (s *session) identify(ctx context.Context, l listing) {
	s.mu.Lock()
	delete(s.looking, l.route.node)
	if delete(s.unlisted, l.route.node); l.err != nil {
		s.unlisted[l.route.node] = l.err
	}
	s.mu.Unlock()
	if l.err != nil {
		if ctx.Err() == nil {
			s.c.metrics.FilesSkipped("unreachable").Inc()
			s.listing.Failed("Log directory of a node cannot be listed", l.err)
		}
		return
	}
	logs := l.workers()
	s.sharing.Lock()
	defer s.sharing.Unlock()
	d := cmp.Or(s.owner(nil, logs), s.withRaylet(l.raylet))
	if d == nil {
		d = s.start(ctx, l.route.node)
		d.mu.Lock()
		d.isNew, d.raylet = true, l.raylet
		d.mu.Unlock()
	}
	s.mu.Lock()
	s.of[l.route.node] = d
	s.mu.Unlock()
	d.attach(l.route)
	d.mu.Lock()
	if d.count == 0 && !d.listing {
		d.accept(ctx, l, logs)
	}
	d.mu.Unlock()
	d.notify()
}

// owner returns the directory, other than self, that has one of the logs; nil if none has.
func (s *session) owner(self *directory, logs map[uint64]*listedLog) *directory {
	for _, d := range s.list() {
		if d != self && d.hasAny(logs) {
			return d
		}
	}
	return nil
}

func (d *directory) hasAny(logs map[uint64]*listedLog) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hasAnyOf(logs)
}

// hasAnyOf is hasAny for a caller that holds d.mu.
func (d *directory) hasAnyOf(logs map[uint64]*listedLog) bool {
	for hash := range logs {
		_, excluded := d.excluded[hash]
		_, live := d.live[hash]
		if excluded || live || d.entries[hash] != nil || d.backfill.candidates[hash] != nil || d.stored.IsDone(hash) {
			return true
		}
	}
	return false
}

// isEmpty reports whether a directory has shown no files of workers yet.
func (d *directory) isEmpty() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hasNone()
}

// hasNone is isEmpty for a caller that holds d.mu.
func (d *directory) hasNone() bool {
	for _, e := range d.entries {
		if e.named().Kind == names.KindWorker {
			return false
		}
	}
	return len(d.live)+len(d.excluded) == 0 && len(d.backfill.candidates) == 0 && d.stored.DoneCount() == 0
}

// shared reports whether another directory has one of the logs that a listing of d shows: then
// the two are one, and the node serves the other one from now on. The caller holds s.sharing.
func (s *session) shared(d *directory, from route, logs map[uint64]*listedLog) bool {
	other := s.owner(d, logs)
	if other == nil {
		return false
	}
	d.detach(from.node)
	other.attach(from)
	s.mu.Lock()
	s.of[from.node] = other
	s.mu.Unlock()
	d.mu.Lock()
	d.listing = false
	d.mu.Unlock()
	return true
}

// endDead ends the directories all of whose nodes are dead.
func (s *session) endDead(ctx context.Context, list []ray.NodeWorkers, alive map[string]bool, now time.Time) {
	dead := map[string]bool{}
	for _, n := range list {
		dead[n.NodeID] = n.State == ray.NodeDead
	}
	for _, d := range s.list() {
		nodes, over := d.stored.Nodes(), true
		if len(nodes) == 0 {
			nodes = []string{d.stored.ID()}
		}
		for _, node := range nodes {
			if !alive[node] {
				d.detach(node)
			}
			over = over && !alive[node] && (dead[node] || s.absent(node, now))
			if alive[node] {
				delete(s.missing, node)
			}
		}
		if over {
			s.endDirectory(ctx, d)
		}
	}
}

// absent reports whether several lists have lacked a node for some time.
func (s *session) absent(node string, now time.Time) bool {
	a := s.missing[node]
	if a == nil {
		a = &clock.Absence{}
		s.missing[node] = a
	}
	a.Missed(now)
	return a.Lasts(now, time.Minute)
}

// list returns the directories, ordered by id.
func (s *session) list() []*directory {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*directory, 0, len(s.directories))
	for _, d := range s.directories {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b *directory) int { return cmp.Compare(a.stored.ID(), b.stored.ID()) })
	return out
}

// liveWorker returns a worker that the last list has named.
func (s *session) liveWorker(id string) (ray.Worker, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workers.find(id)
}

// nodeOf returns the node of a worker: the one whose list names it, else the only one that
// serves the directory; "" if it is not known.
func (s *session) nodeOf(worker string, d *directory) string {
	s.mu.Lock()
	if s.workers != nil && s.workers.node[worker] != "" {
		defer s.mu.Unlock()
		return s.workers.node[worker]
	}
	s.mu.Unlock()
	if nodes := d.stored.Nodes(); len(nodes) == 1 {
		return nodes[0]
	}
	return ""
}

// knowsWorkers reports whether the last list names some worker of each node.
func (s *session) knowsWorkers(nodes []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, node := range nodes {
		if s.workers == nil || s.workers.nodes[node] == nil {
			return false
		}
	}
	return len(nodes) > 0
}

// reserveFile counts one more file, unless there are too many.
func (s *session) reserveFile() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= maxFiles {
		return false
	}
	s.open++
	return true
}

func (s *session) releaseFile() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}
