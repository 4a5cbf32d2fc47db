package nodelogs

import (
	"context"
	"errors"
	"io"
	"time"

	"raytap/shipper/checkpoint"

	"raytap/ray"
	"raytap/shipper/nodelogs/names"
	"raytap/shipper/rotation"
)

// Why a look has read nothing.
var (
	errWaitForJob = errors.New("no list names the job or the replica of the log yet")
	errExcluded   = errors.New("the log's job is not selected")
	errLimited    = errors.New("a limit of the log is reached")
)

// look reads what is new in one log, once. It owns its entry's log state meanwhile.
type look struct {
	d      *directory
	e      *entry // its directory's lock guards it
	was    entry  // as it was when the look began
	log    names.File
	route  route
	proven time.Time // see directory.proven
	files  *logFiles
	p      *pipeline
	begun  time.Time
	late   time.Duration // after the look was due
	// final: the worker is dead and the log was still, so that the look ends it, if it finds
	// nothing new.
	final bool
	// retire: so long after the worker's death, the log is not read any more.
	retire bool
	before uint64 // how far the looks before have read
}

// lookResult is what a look has found.
type lookResult struct {
	entry       *entry
	route       route
	state       *checkpoint.FileState // what was passed to the writer
	reached     uint64
	bytes       int64     // new ones
	records     int       // lines that became records
	pending     time.Time // until when lines wait for others, which are read again then; zero: none does
	generation  int64     // size of a generation that was read to its end; 0: none was
	generations int
	grew        bool // there were new bytes, if only of a partial line
	atEnd       bool
	more        bool // there is more to read
	old         bool
	final       bool
	empty       bool   // the log is empty, and was so far
	seen        uint64 // see entry.seen
	retired     bool
	moving      *keptReader // see entry.moving
	begun       time.Time
	err         error
}

// newLook prepares a look. The caller holds d.mu.
func (d *directory) newLook(e *entry, from route, now time.Time) *look {
	l := &look{
		d: d, e: e, was: *e, log: e.named(), route: from, proven: d.proven, begun: now, late: time.Duration(now.UnixNano() - e.Due()), before: e.reached,
		files: &logFiles{client: d.s.c.client, url: from.url, name: e.name, old: e.old},
	}
	if e.dead > 0 {
		l.final = now.UnixNano()-max(e.grown, e.first) >= int64(stillAfter)
		l.retire = now.UnixNano()-e.dead >= int64(keepEnded)
	}
	return l
}

// run makes the look.
func (l *look) run(ctx context.Context) lookResult {
	r := lookResult{entry: l.e, route: l.route, begun: l.begun, reached: l.before, state: l.was.state, old: l.files.old, final: l.final}
	if err := l.d.s.c.reads.Acquire(ctx, 1); err != nil {
		r.err = err
		return r
	}
	defer l.d.s.c.reads.Release(1)
	if l.unchanged(ctx, &r) {
		return r
	}
	l.p = newPipeline(l)
	defer l.p.Drop()
	err := l.read(ctx, &r)
	r.atEnd = errors.Is(err, io.EOF)
	if r.atEnd {
		err = nil
	}
	r.reached = l.p.reached()
	r.grew = r.reached != l.before
	if r.atEnd {
		err = l.p.expire(ctx, !r.grew)
	}
	if !errors.Is(err, errExcluded) || l.p.state.Decided { // markers alone need no position
		if ferr := l.p.Flush(ctx); ferr != nil && err == nil {
			err = ferr
		}
	}
	r.bytes = max(0, int64(r.reached)-int64(l.before))
	switch {
	case errors.Is(err, errLimited) && !l.d.s.limits.pauses():
		r.retired = true
		if rerr := l.p.retire(ctx); rerr != nil {
			r.retired = false
		}
	case err == nil && r.atEnd && !r.grew:
		err = l.atEnd(ctx, &r)
	}
	r.pending, r.records = l.p.pendingUntil(), l.p.records
	if r.atEnd && !r.grew && r.pending.IsZero() {
		r.seen = l.files.seen()
	}
	if l.p.Agg != nil {
		l.d.s.progress.note(l.e, l.p.Agg.LastProgress(), time.Now())
	}
	if errors.Is(err, rotation.ErrRotating) || isMissing(err) {
		r.moving = &keptReader{l.p.reader, l.files}
	}
	r.err, r.state, r.old, r.generations = err, l.p.put, l.files.old, l.files.generations
	return r
}

// unchanged asks whether the log is as it was when a look found nothing new at its end. Half
// of all logs stay empty: those need no other request.
func (l *look) unchanged(ctx context.Context, r *lookResult) bool {
	fresh := l.was.state == nil && !l.was.rotates()
	ends := l.final && (l.was.state == nil || !l.was.state.Ended) // the look that ends a log reads it
	if !fresh && (ends || l.was.seen == 0) {
		return false
	}
	st, err := l.files.Stat(ctx, 0)
	if err != nil { // the look gets the same error, or finds where the log is now
		return false
	}
	r.empty = fresh && st.Size == 0
	if !r.empty && (l.was.seen == 0 || l.files.seen() != l.was.seen) {
		return false
	}
	r.old, r.atEnd, r.seen, r.reached = l.files.old, true, l.was.seen, l.before
	return !l.retire
}

// read reads up to the present end of the log, or as much as one look may read.
func (l *look) read(ctx context.Context, r *lookResult) error {
	var reader *rotation.Reader
	if kept := l.was.moving; kept != nil {
		kept.files.url, kept.files.name, kept.files.old = l.files.url, l.files.name, l.files.old
		reader, l.files = kept.reader, kept.files
		reader.Rewind(l.p.state.At) // a partial line is read again
	} else {
		reader = rotation.NewReader(l.files, false, l.p.state.At)
	}
	l.p.reader = reader
	defer reader.Close()
	for n := 0; n < lookBytes || l.p.stuck(); {
		chunk, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		n += len(chunk.Data)
		if chunk.NewGeneration && l.p.raw > 0 {
			r.generation = l.p.raw
		}
		// A batch counts the memory of the chunk, too. Without one, a look must not hold memory
		// that other looks wait for.
		if err := l.p.chunk(ctx, chunk); err != nil {
			return err
		}
	}
	r.more = true
	return nil
}

// atEnd does what follows a look that has found nothing new at the end of a dead worker's
// log.
func (l *look) atEnd(ctx context.Context, r *lookResult) error {
	if l.final {
		if err := l.p.end(ctx); err != nil {
			return err
		}
	}
	if !l.retire || !l.final {
		return nil
	}
	r.retired = true
	return l.p.retire(ctx)
}

// patience reports whether the log may still wait for what is not known of it: not reading
// costs nothing, unless rotation deletes lines.
func (l *look) patience() bool {
	return l.begun.UnixNano()-l.was.first < int64(jobWait) && !l.was.rotates()
}

// attribution returns the job and the node of the log, given the job id that it states.
// known is false if one of them may become known.
func (l *look) attribution(jobID string) (job ray.Job, node string, known bool) {
	if jobID == "" {
		jobID = l.log.JobID
	}
	if l.log.Kind != names.KindWorker && jobID == "" {
		return ray.Job{}, l.onlyNode(), true
	}
	if w, ok := l.d.s.liveWorker(l.log.ID); ok && jobID == "" {
		jobID = w.JobID
	}
	job, known = l.d.s.c.jobs.find(jobID)
	job.JobID = jobID
	if l.log.Kind != names.KindWorker {
		return job, l.onlyNode(), known || !l.patience()
	}
	node = l.d.s.nodeOf(l.log.ID, l.d)
	return job, node, known && node != "" || !l.patience()
}

// replica returns the replica of Ray Serve that an actor is; "": none, or it is not known.
// known is false if it may become known.
func (l *look) replica(actorName string) (id string, known bool) {
	if _, _, ok := names.ServeReplica(actorName); !ok {
		return "", true
	}
	id, known = l.d.s.replicas.find(l.log.ID)
	return id, known || !l.patience()
}
