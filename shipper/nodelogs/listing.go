package nodelogs

import (
	"context"
	"maps"
	"sync"
	"time"

	"raytap/shipper/checkpoint"

	"raytap/ray"
	"raytap/shipper/nodelogs/names"
)

// oldDirectory is where Ray moves the logs of dead workers when it follows too many (2.60.0:
// RAY_LOG_MONITOR_MAX_OPEN_FILES, 200).
const (
	oldDirectory = "old"
	oldPrefix    = oldDirectory + "/"
)

// listings is what a directory knows of its listings.
type listings struct {
	listing     bool      // one runs
	nextListing time.Time // when the next one is due
	count       int       // of logs/
	wantOld     bool      // a log is missing from logs/: list old/ next
	tooMany     bool      // the directory is listed only rarely
	beyond      map[uint64]struct{}
	absent      map[uint64]struct{}   // finished files that the last complete listing lacked
	excluded    map[uint64]names.Kind // logs that the selectors exclude and of which nothing was shipped
	retiring    map[uint64]time.Time  // logs that are not read any more, and since when: soon they are among the finished ones
	backfill    backfill
	ownership
	others
}

// listing is the result of one listing: of logs/, and of old/ if it was requested right
// after. In this order a file that is moved meanwhile is in one of them, or in both.
type listing struct {
	route route
	logs  ray.FileIndex
	old   *ray.FileIndex // nil: not listed
	// nested are files of the directories of other sources than workers, with their
	// directories.
	nested []string
	cut    bool   // nested lacks some
	raylet string // see session.rayletNode; "" also if it was not requested
	proven bool   // see session.proves; false also if only logs of workers are shipped
	begun  time.Time
	took   time.Duration
	err    error
}

// complete reports whether the listing has all files.
func (l *listing) complete() bool {
	return l.err == nil && l.old != nil && !l.cut && !l.logs.Truncated && !l.old.Truncated
}

// listedLog is a log in a listing.
type listedLog struct {
	names.File
	generations int
	base        bool // the log itself is in logs/
	old         bool // the log itself is in old/
}

// startListing starts a listing. The caller holds d.mu.
func (d *directory) startListing(ctx context.Context, wg *sync.WaitGroup, from route) {
	withOld := d.wantOld || d.count%oldListing == 0
	d.listing, d.wantOld = true, false
	wg.Go(func() {
		if err := d.s.c.reads.Acquire(ctx, 1); err != nil {
			d.listed <- listing{route: from, err: err}
			return
		}
		defer d.s.c.reads.Release(1)
		d.listed <- d.s.listNode(ctx, from, withOld, false)
	})
}

// list lists a node's log directory.
func list(ctx context.Context, client Client, from route, withOld bool) (l listing) {
	l.route = from
	start := time.Now()
	if l.logs, l.err = client.AgentFileIndex(ctx, from.url, ""); l.err == nil && withOld {
		old, err := client.AgentFileIndex(ctx, from.url, oldDirectory)
		if err != nil && !isMissing(err) {
			l.err = err
		}
		l.old = &old
	}
	l.took = time.Since(start)
	return l
}

// workers returns the logs of a listing by their hashes.
func (l *listing) workers() map[uint64]*listedLog {
	logs := map[uint64]*listedLog{}
	add := func(files []string, old bool) {
		for _, name := range files {
			w, ok := names.ParseWorker(name)
			if !ok {
				continue
			}
			hash := checkpoint.FileHash(w.Log())
			at := logs[hash]
			if at == nil {
				at = &listedLog{File: names.File{Worker: w}}
				logs[hash] = at
			}
			at.generations = max(at.generations, w.Generation)
			if w.Generation == 0 {
				at.base = at.base || !old
				at.old = at.old || old
			}
		}
	}
	add(l.logs.Names, false)
	if l.old != nil {
		add(l.old.Names, true)
	}
	return logs
}

// hints returns the logs that a listing which is cut off shows by other names of their
// workers.
func (l *listing) hints() (ids map[string]int) {
	ids = map[string]int{}
	for _, name := range l.logs.Names {
		if id, pid, ok := names.ParseCoreWorker(name); ok {
			ids[id] = pid
		}
	}
	return ids
}

// handleListing adds what a listing shows, and forgets what it lacks.
func (d *directory) handleListing(ctx context.Context, l listing) {
	logs := l.workers()
	if l.err == nil && len(logs) > 0 && d.isEmpty() {
		d.s.sharing.Lock()
		defer d.s.sharing.Unlock()
		if d.s.shared(d, l.route, logs) {
			return
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.accept(ctx, l, logs)
}

// accept is handleListing for a caller that holds d.mu.
func (d *directory) accept(ctx context.Context, l listing, logs map[uint64]*listedLog) {
	now := time.Now()
	d.listing = false
	d.nextListing = now.Add(max(minListing, listingPause*l.took))
	if ctx.Err() != nil {
		return
	}
	if l.err != nil {
		d.failed(now, l.route, l.err)
		return
	}
	switch whose := d.owns(&l, logs); {
	case whose != own && l.old == nil: // Ray may have moved all that is known
		d.wantOld, d.nextListing = true, now
		return
	case whose == foreign:
		d.failed(now, l.route, errForeign)
		return
	case whose == doubtful:
		d.doubt(l, logs, now)
		return
	}
	d.succeeded()
	if first := d.doubted; first.logs != nil {
		d.doubted = doubted{}
		if sharesOne(first.logs, logs) {
			d.take(ctx, first.listing, first.logs, now)
		}
	}
	d.take(ctx, l, logs, now)
}

// take adds what a listing of the directory shows, and forgets what it lacks.
func (d *directory) take(ctx context.Context, l listing, logs map[uint64]*listedLog, now time.Time) {
	d.count++
	d.noteSize(len(l.logs.Names), now)
	maps.DeleteFunc(d.retiring, func(hash uint64, since time.Time) bool { return d.stored.IsDone(hash) || now.Sub(since) > retireBy })
	known := d.hasAnyOf(logs)
	if d.s.c.hasSource(names.KindWorker) {
		for hash, log := range logs {
			d.see(hash, log, now)
		}
		if l.logs.Truncated {
			d.tryHints(l.hints(), now)
		}
		d.decideBackfill(now)
	}
	all := d.takeOthers(&l, logs, known, now)
	if d.missesSome(all, l.old != nil) {
		d.wantOld = true
		if !d.tooMany {
			d.nextListing = now
		}
	}
	if l.complete() {
		d.forgetAbsent(ctx, all)
	}
}

// noteSize notes how many files a listing has.
func (d *directory) noteSize(n int, now time.Time) {
	was := d.tooMany
	d.tooMany = n > maxListed
	switch {
	case d.tooMany && !was:
		d.s.c.metrics.FilesSkipped("unlisted").Inc()
		d.log.WithField("files", n).WithField("interval", crowdedListing.String()).
			Warn("Log directory has too many files to list often, between two lists only the logs of workers that run are found")
	case was && !d.tooMany:
		d.log.WithField("files", n).Info("Log directory has fewer files again")
	}
	if d.tooMany {
		d.nextListing = now.Add(crowdedListing)
	}
}

// see handles one log of a listing.
func (d *directory) see(hash uint64, log *listedLog, now time.Time) {
	e := d.entries[hash]
	if e == nil {
		if _, ok := d.excluded[hash]; ok || d.isDone(hash) || !d.backfill.admits(d, hash, log) {
			return
		}
		if e = d.add(hash, log.Name, log.Log(d.stored.ID()), now); e == nil {
			return
		}
	}
	e.unlisted, e.guessed = false, false
	if !e.looking {
		e.name = log.Name
	}
	e.generations = max(e.generations, uint8(min(log.generations, 255)))
	if e.old = log.old && !log.base; e.old {
		d.died(e, now) // Ray moves no others
	}
}

// isDone reports whether a log is not read any more. Until the writer has accepted that, the
// positions do not say so.
func (d *directory) isDone(hash uint64) bool {
	_, retiring := d.retiring[hash]
	return retiring || d.stored.IsDone(hash)
}

// missesSome reports whether logs/ lacks a log that is not known to be in old/.
func (d *directory) missesSome(logs map[uint64]*listedLog, withOld bool) bool {
	if withOld {
		return false
	}
	for hash, e := range d.entries {
		if at := logs[hash]; !e.old && (at == nil || !at.base) && !e.unlisted {
			return true
		}
	}
	return false
}

// forgetAbsent forgets the logs that two complete listings in a row have lacked.
func (d *directory) forgetAbsent(ctx context.Context, logs map[uint64]*listedLog) {
	listed := func(hash uint64) bool { return logs[hash] != nil }
	gone, absent := d.stored.Absent(listed, d.absent)
	d.stored.Forget(gone)
	d.absent = absent
	for hash, e := range d.entries {
		switch {
		case listed(hash) || e.looking:
		case !e.unlisted:
			e.unlisted = true
			d.wantOld = true
		default:
			d.gone(ctx, e)
		}
	}
	maps.DeleteFunc(d.beyond, func(hash uint64, _ struct{}) bool { return !listed(hash) })
	maps.DeleteFunc(d.excluded, func(hash uint64, _ names.Kind) bool { return !listed(hash) })
}

// tryHints adds logs whose workers a listing shows only by other names. Of which job a
// worker is when it starts is not known: both names are tried.
func (d *directory) tryHints(ids map[string]int, now time.Time) {
	for id, pid := range ids {
		if w, ok := d.s.liveWorker(id); ok {
			d.addWorker(w, now)
			continue
		}
		d.addWorker(ray.Worker{ID: id, PID: pid}, now)
	}
}

// addWorker adds the logs of a worker that no listing has shown. Their names have the job
// that the worker was started for, or none.
func (d *directory) addWorker(w ray.Worker, now time.Time) {
	for _, stream := range []string{names.Stdout, names.Stderr} {
		log, ok := names.ParseWorker(names.WorkerName(w.ID, "", w.PID, stream))
		if !ok {
			continue
		}
		hash := checkpoint.FileHash(log.Log())
		_, excluded := d.excluded[hash]
		if d.entries[hash] == nil && !excluded && !d.isDone(hash) && d.backfill.decided(d) {
			if e := d.add(hash, log.Name, log.Log(), now); e != nil {
				e.guessed = true
			}
		}
	}
}

// guessAgain tries the other name that the log of a worker can have: with the job that the
// worker was started for. A worker that is not alive and has no file is forgotten.
func (d *directory) guessAgain(e *entry) {
	w := e.named()
	live, ok := d.s.liveWorker(w.ID)
	switch {
	case !ok:
		d.remove(e)
	case w.JobID == "" && live.JobID != "":
		e.name = names.WorkerName(w.ID, live.JobID, w.PID, w.Stream)
	default:
		e.name = names.WorkerName(w.ID, "", w.PID, w.Stream)
	}
}
