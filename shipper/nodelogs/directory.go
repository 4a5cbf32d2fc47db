package nodelogs

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"github.com/sirupsen/logrus"

	"raytap/logthrottle"
	"raytap/ray"
	"raytap/shipper/nodelogs/schedule"
	"raytap/shipper/rotation"
)

// route is a node whose agent serves a directory.
type route struct{ node, ip, url string }

// directory is one log directory: of one node, or of several that share a host. Its
// goroutine runs run; its other methods are safe for concurrent use.
type directory struct {
	s      *session
	stored *checkpoint.FileDirectory
	log    logrus.FieldLogger

	results chan lookResult // of looks, at most maxLooks of them
	listed  chan listing    // of listings, one at a time
	wake    chan struct{}   // capacity 1
	stop    context.CancelFunc
	stopped chan struct{} // closed when run has returned

	mu      sync.Mutex
	entries map[uint64]*entry // by the hash of the log's name
	queue   *schedule.Queue[*entry]
	looks   int // running
	routing
	listings
	generation int64 // usual size of a generation (bytes); 0: nothing rotates
}

// routing is which agents serve a directory, and whether they answer.
type routing struct {
	routes    []route
	at        int       // the route in use
	failures  int       // in a row
	retryAt   time.Time // nothing is requested before
	condition logthrottle.Condition
	problem   problem            // of the last request that failed
	failing   map[*entry]problem // logs for which an agent has returned an error
}

// problem is an error, and since when it lasts.
type problem struct {
	err   error
	since time.Time
}

func newDirectory(s *session, id string) *directory {
	log := s.c.opts.Log.WithField("node_id", id)
	d := &directory{
		s: s, stored: s.files.Directory(id), log: log,
		results: make(chan lookResult, maxLooks), listed: make(chan listing, 1), wake: make(chan struct{}, 1), stopped: make(chan struct{}),
		entries: map[uint64]*entry{}, queue: schedule.NewQueue[*entry](),
		routing: routing{condition: logthrottle.Condition{Log: log, Gap: time.Minute}, failing: map[*entry]problem{}},
	}
	if s.c.draining.Load() {
		d.queue.Drain(time.Now())
	}
	return d
}

// run lists the directory and looks at its files until ctx ends. It returns when all looks
// have ended.
func (d *directory) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(d.startDue(ctx, &wg))
		select {
		case <-ctx.Done():
			wg.Wait()
			for len(d.results) > 0 { // what they have passed to the writer counts
				d.finish(ctx, <-d.results)
			}
			return
		case r := <-d.results:
			d.finish(ctx, r)
		case l := <-d.listed:
			d.handleListing(ctx, l)
		case <-d.wake:
		case <-timer.C:
		}
	}
}

// notify makes run look for what is due.
func (d *directory) notify() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// startDue starts the listing and the looks that are due, and returns for how long nothing
// is.
func (d *directory) startDue(ctx context.Context, wg *sync.WaitGroup) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if len(d.routes) == 0 {
		return time.Hour
	}
	if wait := d.retryAt.Sub(now); wait > 0 {
		return wait
	}
	to := d.routes[d.at%len(d.routes)]
	wait := time.Hour
	if !d.listing {
		if wait = d.nextListing.Sub(now); wait <= 0 {
			d.startListing(ctx, wg, to)
			wait = time.Hour
		}
	}
	most := maxLooks
	if d.failures > 0 {
		most = 1 // which shows whether the agent answers again
	}
	for d.looks < most {
		e, pause, ok := d.queue.Next(now)
		if !ok {
			if pause >= 0 {
				wait = min(wait, pause)
			}
			break
		}
		d.looks++
		e.looking = true
		l := d.newLook(e, to, now)
		wg.Go(func() { d.results <- l.run(ctx) })
	}
	return max(wait, time.Millisecond)
}

// finish notes the result of a look and decides when the next one is.
func (d *directory) finish(ctx context.Context, r lookResult) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, now := r.entry, time.Now()
	d.looks--
	e.looking, e.state, e.old = false, r.state, r.old
	e.generations = max(e.generations, uint8(min(r.generations, 255)))
	d.s.c.metrics.Looks(e.named().Kind.String()).Inc()
	if ctx.Err() != nil {
		return
	}
	if r.grew {
		e.grown = now.UnixNano()
	}
	e.reached, e.seen, e.empty, e.moving = r.reached, r.seen, r.empty, r.moving
	if r.err == nil {
		e.atEnd = r.atEnd
	}
	switch {
	case d.entries[e.hash] != e: // it was dropped meanwhile
		return
	case r.retired:
		d.remove(e)
		d.retiring[e.hash] = now
		return
	case errors.Is(r.err, errExcluded):
		if e.excluded = true; e.state == nil || !e.state.Decided { // then a hash is enough: it takes no place of others
			d.excluded[e.hash] = e.named().Kind
			d.remove(e)
		}
		return
	case errors.Is(r.err, errLimited):
		d.queue.Set(e, now.Add(d.s.limits.remaining(e, now)), false)
		return
	case errors.Is(r.err, rotation.ErrRotating):
		e.pace.Looked(now, 0, false)
	case errors.Is(r.err, errDoubt):
		d.doubtLog(e, r.begun)
		e.pace.Looked(now, 0, false)
	case errors.Is(r.err, errWaitForJob), errors.Is(r.err, writer.ErrMemoryPressure): // it is no failure of the agent
		d.queue.Set(e, now.Add(schedule.MinPause), false)
		return
	case isMissing(r.err):
		// It was deleted, or is between two names. A listing decides.
		if e.guessed {
			d.guessAgain(e)
		} else {
			d.wantOld = d.wantOld || !e.unlisted
		}
		e.pace.Looked(now, 0, false)
	case concernsLog(r.err):
		d.logFailed(e, now, r.err)
		e.pace.Looked(now, 0, false)
	case r.err != nil:
		d.failed(now, r.route, r.err)
	default:
		delete(d.failing, e)
		d.succeeded()
		e.guessed, e.doubt = false, 0
		e.pace.Looked(now, r.bytes, r.records > 0)
		if r.generation > 0 {
			e.pace.Rotated(r.generation)
			d.generation = r.generation
		}
	}
	if d.entries[e.hash] != e {
		return // no file has any of the names that it may have
	}
	pause, urgent := e.pace.Next(int(e.generations), d.generation, len(d.entries))
	if r.more {
		pause = 0
	}
	if !r.pending.IsZero() {
		pause = min(pause, max(schedule.MinPause, r.pending.Sub(now)))
	}
	if d.s.c.draining.Load() {
		pause, urgent = min(pause, tail.DrainInterval), r.grew
	}
	d.queue.Set(e, d.dueAt(e, now, pause, !r.final), urgent)
}

// drain looks at all logs at once, those first that have grown last.
func (d *directory) drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.queue.Drain(now)
	for _, e := range d.entries {
		if e.Queued() && !e.excluded {
			still := now.Sub(time.Unix(0, e.grown))
			d.queue.Set(e, now.Add(min(still, time.Hour)-time.Hour), true)
		}
	}
	d.nextListing = now
	d.notify()
}

// dueAt returns when the next look at an entry is due, at most a pause from now. ends: a look
// after the log was still may end it.
func (d *directory) dueAt(e *entry, now time.Time, pause time.Duration, ends bool) time.Time {
	due := now.Add(pause)
	if e.dead == 0 {
		return due
	}
	soon := func(at time.Time) {
		if at.Before(now) {
			at = now
		}
		if at.Before(due) {
			due = at
		}
	}
	if ends && (e.state == nil && !e.empty || e.state != nil && !e.state.Ended) {
		soon(time.Unix(0, max(e.grown, e.first)).Add(stillAfter))
	}
	if retire := time.Unix(0, e.dead).Add(keepEnded); retire.After(now) {
		soon(retire)
	}
	return due
}

// failed notes that an agent has not answered. The next request goes to another one, if
// there is one, else after a pause.
func (d *directory) failed(now time.Time, from route, err error) {
	if len(d.routes) == 0 || d.routes[d.at%len(d.routes)] != from {
		return // it is not used any more
	}
	d.failures++
	d.problem = problem{err, now}
	d.at++
	if d.failures >= len(d.routes) {
		pause := min(time.Second<<min(d.failures/len(d.routes)-1, 10), maxPause)
		d.retryAt = now.Add(max(pause, ray.RetryAfter(err)))
	}
	d.condition.Failed("Logs of a node cannot be read", err)
}

// concernsLog reports whether an error is an answer of the agent about one file, and not about
// all of them.
func concernsLog(err error) bool {
	var e *ray.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case 0, http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	}
	return true
}

// logFailed notes that an agent has refused a log. The other ones are read on.
func (d *directory) logFailed(e *entry, now time.Time, err error) {
	p, ok := d.failing[e]
	if !ok {
		p.since = now
	}
	p.err = err
	d.failing[e] = p
	d.failures = 0 // the agent answers
	d.condition.Failed("Logs of a node cannot be read", err)
}

func (d *directory) succeeded() {
	d.failures = 0
	if len(d.failing) == 0 {
		d.condition.Recovered("Logs of a node can be read again")
	}
}

// add adds a log to what is read, if the limits allow it, and if it is not finished: the writer
// may have accepted that just now.
func (d *directory) add(hash uint64, name string, log string, now time.Time) *entry {
	if len(d.entries) >= maxDirectoryFiles || !d.s.reserveFile() {
		if _, ok := d.beyond[hash]; !ok {
			d.beyond[hash] = struct{}{}
			d.s.c.metrics.FilesSkipped("limit").Inc()
		}
		return nil
	}
	delete(d.beyond, hash)
	file := d.s.files.Entry(log)
	if d.stored.IsDone(hash) { // before the line above, or file still has its state
		d.s.releaseFile()
		return nil
	}
	e := &entry{name: name, hash: hash, file: file, state: file.State(), first: now.UnixNano()}
	if e.state != nil {
		e.reached = e.state.Content
	}
	d.entries[hash] = e
	d.queue.Set(e, now, false)
	return e
}

// remove forgets a log.
func (d *directory) remove(e *entry) {
	d.queue.Remove(e)
	delete(d.failing, e)
	delete(d.entries, e.hash)
	if e.state == nil {
		d.s.files.Forget(e.file)
	}
	d.s.limits.forget(e)
	d.s.progress.forget(e)
	d.s.releaseFile()
}

// attach adds a node that serves the directory, or updates its address.
func (d *directory) attach(r route) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.routes {
		if d.routes[i].node == r.node {
			d.routes[i] = r
			return
		}
	}
	d.routes = append(d.routes, r)
	d.retryAt = time.Time{}
	d.stored.AddNode(r.node)
	d.notify()
}

// detach removes a node that does not serve the directory any more, or that is not alive.
func (d *directory) detach(node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.routes {
		if d.routes[i].node == node {
			d.routes = append(d.routes[:i:i], d.routes[i+1:]...)
			return
		}
	}
}
