package nodelogs

import (
	"context"
	"errors"
	"io"
	"maps"
	"regexp"
	"slices"
	"time"

	"raytap/shipper/checkpoint"

	"raytap/namepattern"
	"raytap/shipper/nodelogs/names"
)

// errDoubt means that a log has lost lines, or that an agent of another cluster has answered,
// which has a log of the same name. A listing that is begun after it, and that shows that the
// agent is the node's own, decides.
var errDoubt = errors.New("the log does not continue, and it is not certain that the agent is that of the node")

// rayletHead is how much of the raylet's log is read to find the line with the node's id,
// which is one of its first (bytes; 2.60.0).
const rayletHead = 64 << 10

// Files select files of a source by their names, without directories and numbers of older
// generations: those that match a pattern of Include, or all if there is none, and no pattern
// of Exclude. Patterns are as of package namepattern.
type Files struct{ Include, Exclude []string }

func (f Files) match(name string) bool {
	matches := func(pattern string) bool { return namepattern.Match(pattern, name) }
	return (len(f.Include) == 0 || slices.ContainsFunc(f.Include, matches)) && !slices.ContainsFunc(f.Exclude, matches)
}

// ships reports whether a log is shipped, as far as its name says.
func (c *Cluster) ships(f names.File) bool {
	files, ok := c.opts.Sources[f.Kind.String()]
	return ok && files.match(f.Base())
}

// hasSource reports whether some logs of a kind are shipped.
func (c *Cluster) hasSource(k names.Kind) bool {
	_, ok := c.opts.Sources[k.String()]
	return ok
}

// hasOthers reports whether logs are shipped that are not of workers.
func (c *Cluster) hasOthers() bool {
	return c.hasSource(names.KindServe) || c.hasSource(names.KindSystem) || c.hasSource(names.KindEvent)
}

// hasServeLog reports whether the lines of a worker's log are shipped out of serve/: what the
// controller and the proxies of Ray Serve log is there, and most of it in .err, too (2.60.0).
func (c *Cluster) hasServeLog(f names.File, actor string) bool {
	base, ok := names.ServeLog(actor)
	return ok && f.Stream == names.Stderr && c.ships(names.File{Kind: names.KindServe, Worker: names.Worker{Name: names.ServeDirectory + "/" + base}})
}

// others is what a directory knows for the logs that are not of workers. Their names are the
// same on every node, also of another cluster.
type others struct {
	// proven is when the last listing began that has shown that the agent serves the logs of
	// the directory's nodes; zero: none has.
	proven time.Time
	// isNew: no listing has shown its logs, in this process or an earlier one.
	isNew bool
	// raylet is the node whose raylet writes raylet.out; "": it is not known.
	raylet string
	// live are logs of workers that are alive, out of the last listing. It is kept only if
	// logs of workers are not shipped.
	live map[uint64]struct{}
}

// listNode lists a node's log directory, with the directories in it that are shipped. first: it
// is not known yet which directory the node serves.
func (s *session) listNode(ctx context.Context, from route, withOld, first bool) listing {
	begun := time.Now()
	l := list(ctx, s.c.client, from, withOld)
	l.begun = begun
	if l.err == nil && s.c.hasOthers() {
		l.err = s.listOthers(ctx, &l, first)
		l.took = time.Since(begun)
	}
	return l
}

func (s *session) listOthers(ctx context.Context, l *listing, first bool) (err error) {
	for directory, kind := range map[string]names.Kind{names.ServeDirectory: names.KindServe, names.EventDirectory: names.KindEvent} {
		if !s.c.hasSource(kind) {
			continue
		}
		index, err := s.c.client.AgentFileIndex(ctx, l.route.url, directory)
		if err != nil && !isMissing(err) {
			return err
		}
		for _, name := range index.Names {
			l.nested = append(l.nested, directory+"/"+name)
		}
		l.cut = l.cut || index.Truncated
	}
	if l.proven = s.proves(l); l.proven && !first {
		return nil
	}
	l.raylet, err = s.rayletNode(ctx, l)
	l.proven = s.proves(l)
	return err
}

// proves reports whether a listing is of a node of this cluster: it shows a live worker, whose
// id is like no other, or the raylet's log names the node. Of nodes that share a host it must
// be a worker, which also shows that they share a directory.
func (s *session) proves(l *listing) bool {
	for _, log := range l.workers() {
		if _, ok := s.liveWorker(log.ID); ok {
			return true
		}
	}
	return l.raylet == l.route.node && !s.sharesHost(l.route.ip)
}

// rayletLine is what a raylet logs first of its node's id (Ray 2.9.3 to 2.60.0).
var rayletLine = regexp.MustCompile("Raylet of id, ([0-9a-f]{56})")

// rayletNode returns the node whose raylet writes raylet.out, by the oldest file of it that is
// listed; "" if it does not say so. Of raylets that share a directory it is the first one.
func (s *session) rayletNode(ctx context.Context, l *listing) (string, error) {
	oldest := -1
	for _, name := range l.logs.Names {
		if f, ok := names.Parse(name); ok && f.Name == names.RayletLog(0) {
			oldest = max(oldest, f.Generation)
		}
	}
	if oldest < 0 {
		return "", nil
	}
	part, err := s.c.client.AgentFile(ctx, l.route.url, names.RayletLog(oldest), 0, rayletHead)
	if isMissing(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer part.Body.Close()
	head, err := io.ReadAll(io.LimitReader(part.Body, rayletHead))
	if m := rayletLine.FindSubmatch(head); m != nil {
		return string(m[1]), err
	}
	return "", err
}

// withRaylet returns the directory to which the raylet of a node writes; nil if none is known,
// or node is "". The caller holds s.sharing.
func (s *session) withRaylet(node string) *directory {
	if node == "" {
		return nil
	}
	if d := s.directoryOf(node); d != nil {
		return d
	}
	for _, d := range s.list() {
		d.mu.Lock()
		is := d.raylet == node
		d.mu.Unlock()
		if is {
			return d
		}
	}
	return nil
}

// sharesHost reports whether several nodes that are alive have an address.
func (s *session) sharesHost(ip string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workers != nil && s.workers.hosts[ip] > 1
}

// otherLogs returns the logs of a listing that are not of workers, by their hashes.
func (l *listing) otherLogs(directory string) map[uint64]*listedLog {
	logs := map[uint64]*listedLog{}
	for _, list := range [][]string{l.logs.Names, l.nested} {
		for _, name := range list {
			f, ok := names.Parse(name)
			if !ok || f.Kind == names.KindWorker {
				continue
			}
			hash := checkpoint.FileHash(f.Log(directory))
			at := logs[hash]
			if at == nil {
				at = &listedLog{File: f}
				logs[hash] = at
			}
			at.generations = max(at.generations, f.Generation)
			at.base = at.base || f.Generation == 0
		}
	}
	return logs
}

// takeOthers is take for the logs of a listing that are not of workers. It returns all that the
// listing has. known: the directory knows one of the listing's workers. The caller holds d.mu.
func (d *directory) takeOthers(l *listing, workers map[uint64]*listedLog, known bool, now time.Time) map[uint64]*listedLog {
	if !d.s.c.hasOthers() {
		return workers
	}
	if !d.s.c.hasSource(names.KindWorker) {
		d.live = map[uint64]struct{}{}
		for hash, log := range workers {
			if _, ok := d.s.liveWorker(log.ID); ok {
				d.live[hash] = struct{}{}
			}
		}
	}
	all := maps.Clone(workers)
	if !l.proven && !known { // it says nothing of them
		for hash, e := range d.entries {
			if f := e.named(); f.Kind != names.KindWorker {
				all[hash] = &listedLog{File: f, base: true}
			}
		}
		return all
	}
	d.proven = l.begun
	for hash, log := range l.otherLogs(d.stored.ID()) {
		all[hash] = log
		if d.s.c.ships(log.File) && !d.skips(hash, log) {
			d.see(hash, log, now)
		}
	}
	d.isNew = false
	return all
}

// skips reports whether the backfill skips a log that is not of a worker: one of a job that
// was over before the directory was first seen. Other processes run as long as the node.
func (d *directory) skips(hash uint64, log *listedLog) bool {
	if !d.isNew || d.s.c.opts.Backfill == BackfillAll || !d.s.files.IsFirst(d.stored.ID()) || !d.s.c.jobs.isOver(log.JobID) {
		return false
	}
	d.stored.Skip(hash)
	return true
}

// onlyNode returns the node of a log that is not of a worker; "" if several share a host.
func (l *look) onlyNode() string {
	if l.d.s.sharesHost(l.route.ip) {
		return ""
	}
	return l.d.s.nodeOf("", l.d)
}

// doubts reports whether a look must not go on where lines are missing.
func (l *look) doubts() bool {
	return l.log.Kind != names.KindWorker && (l.was.doubt == 0 || l.proven.UnixNano() <= l.was.doubt)
}

// doubtLog notes that a look that began at a time has met a log that does not continue.
func (d *directory) doubtLog(e *entry, begun time.Time) {
	if e.doubt == 0 || d.proven.UnixNano() > e.doubt {
		e.doubt, d.nextListing = begun.UnixNano(), time.Now()
	}
}
