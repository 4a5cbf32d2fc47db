// Package tail ships the logs of jobs: one Tail reads the log of one run over one transport
// at a time, from its start to its end, and passes records to the writer.
//
// Files, from the top down:
//
//   - tail.go: Tail, which waits for the log, reads, and decides what follows a read; end.go:
//     the end of a run; health.go: failures, retries, and when a log is lost
//   - job.go: what is known about the run; transport.go: the selector, a pure policy of which
//     transport comes next
//   - reader.go: what readers share; reader_*.go: one reader per transport
//   - pipeline.go: bytes to records, and the state of the log; events.go: event records
//   - cluster.go: what the tails of a cluster share; options.go: settings and clients
//
// The caller of Run owns the tail's goroutine. That goroutine owns the selector, the reader
// in use, the pipeline and the log's state; it alone calls them. Two other goroutines exist,
// and Run waits for each: one reads the open stream (readLoop, messageBuffer.fill) and
// passes its chunks on, the other runs one read on a stack of its own (onFreshStack) while
// the tail waits. Discovery calls Update, Supersede, Stop, Status and the like from other
// goroutines: they change the job, which is safe for concurrent use, and wake the tail.
// A Cluster is shared by all its tails and safe for concurrent use.
package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/clock"
	"raytap/shipper/slots"

	"github.com/sirupsen/logrus"

	"raytap/ray"
)

// Why a read ended. endsTail reports which of them also end the tail.
var (
	errComplete           = errors.New("the log was read to its end")
	errLimited            = errors.New("a stream limit is reached")
	errReplaced           = errors.New("the log was replaced or truncated")
	errClosed             = errors.New("the stream ended")
	errSilent             = errors.New("the stream is silent but the log grows")
	errShortReplay        = errors.New("the stream stopped before the position")
	errNoSlot             = errors.New("no stream slot is free")
	errBetterTransport    = errors.New("a better transport may work again")
	errAlreadyEnded       = errors.New("the end of the run is already written")
	errRunEnded           = errors.New("the run is over: the rest of its log is read over another transport")
	errNotStarted         = errors.New("the job ended without a log")
	errLost               = errors.New("the rest of the log is lost")
	errUnverified         = errors.New("the end of the log cannot be verified")
	errUnreadable         = errors.New("the WebSocket cannot send a part of this log (a byte that is not UTF-8, or a line over 4 MiB)")
	errFramingMismatch    = errors.New("the messages of this log have another framing than expected (newlines)")
	errSnapshotIncomplete = errors.New("the agent's copy of the log lacks lines that were read before")
)

// Why a tail is stopped before it has read its log to the end.
var (
	ErrSessionOver = errors.New("the head was restarted: logs of the old session cannot be read")
	ErrRunReplaced = errors.New("another start time is reported for this job id")
	// ErrClusterDeleted is for the logs of a cluster whose head does not exist any more.
	ErrClusterDeleted = errors.New("the cluster was deleted before the log was read to its end")
	// ErrDeletedAway is for those of a cluster that was deleted while no raytap watched it.
	ErrDeletedAway = errors.New("the cluster was deleted while raytap was away: the rest of the log is lost")
)

// reader reads one log over one transport, once. read returns when the read has ended, and
// its error says why; it is never nil.
type reader interface {
	read(ctx context.Context) error
}

// Tail ships the log of one run, from its start to its end or until the log is lost. Run
// selects a transport, reads, waits after failures, and decides what the end of a read
// means. Make it with New.
type Tail struct {
	source
	stop    stopper
	ended   chan struct{} // closed when Run or Close has returned
	status  atomic.Pointer[state]
	headLog string // what Ray wrote on the head of a job that ran on another node
}

// New returns a tail for a run. It owns log until Run or Close has returned. It starts no
// goroutine.
func New(cl *Cluster, slots *slots.Slots, session string, j ray.Job, log *checkpoint.Log) *Tail {
	run := newJob(cl, session, j)
	h := &health{cl: cl}
	h.lastRead.Set(time.Now())
	return &Tail{
		source: source{cl: cl, job: run, health: h, slots: slots, p: newPipeline(cl, run, h, slots, log)},
		ended:  make(chan struct{}),
	}
}

// reader returns a reader for one read over a transport. A tail keeps only the reader that
// it uses, since thousands of tails may be silent.
func (t *Tail) reader(tr Transport) reader {
	src := &t.source
	messages := t.cl.messages != nil
	switch {
	case messages && tr == Snapshot:
		return &snapshotReader{src}
	case messages:
		return &messageReader{source: src, transport: tr}
	case tr == NodeAgent:
		return &nodeAgentReader{source: src}
	case tr == WebSocket:
		return &webSocketReader{src}
	case tr == File:
		return &fileReader{source: src}
	}
	return &textReader{src}
}

// stopper cancels the context of Run, even if Stop is called before Run. The zero value is
// ready. Safe for concurrent use.
type stopper struct {
	mu     sync.Mutex
	why    error
	cancel context.CancelCauseFunc // nil before Run
}

// begin sets the function that stop calls.
func (s *stopper) begin(cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel = cancel; s.why != nil {
		cancel(s.why)
	}
}

// stop cancels with the first why that it was called with.
func (s *stopper) stop(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.why = why
	}
	if s.cancel != nil {
		s.cancel(s.why)
	}
}

// Reopen makes the tail continue after the end of its run, which is already written: the
// log has grown. It is called before Run.
func (t *Tail) Reopen() { t.p.reopening, t.job.reopened = true, true }

// Update sets the job as it is in the job list. It and the methods up to Stop are safe for
// concurrent use, except ReadToEnd.
func (t *Tail) Update(j ray.Job) { t.job.update(j) }

// Refresh requests the job from Ray.
func (t *Tail) Refresh(ctx context.Context) { t.job.refresh(ctx) }

// Supersede records that another run has the job's id: its own run is over.
func (t *Tail) Supersede() { t.job.supersede() }

// Job returns the job as it was last reported. Callers must not change it.
func (t *Tail) Job() *ray.Job { return t.job.current() }

// Session returns the session of the run.
func (t *Tail) Session() string { return t.job.session }

// LastRead returns the time of the last successful read.
func (t *Tail) LastRead() time.Time { return t.health.lastRead.Get() }

// Done is closed when Run or Close has returned.
func (t *Tail) Done() <-chan struct{} { return t.ended }

// Status returns the status of the tail, without Lines and Bytes.
func (t *Tail) Status() Status {
	job, state := t.job.current(), state{}
	if p := t.status.Load(); p != nil {
		state = *p
	}
	return Status{
		SubmissionID: job.SubmissionID, Status: string(job.Status), Transport: state.transport.String(), State: state.label(),
		LastRead: t.LastRead(), Error: t.health.currentError(),
	}
}

// ReadToEnd reports whether the log was read to the end of its run, and how often it was
// checked since then. Call it only after Done.
func (t *Tail) ReadToEnd() (atEnd bool, checks int) {
	return t.p.log.Done && t.p.log.AtEnd, t.p.log.Checks
}

// Stop makes Run stop reading and write the last records, which contain the reason why:
// ErrSessionOver, ErrRunReplaced or ErrClusterDeleted. It does not wait.
func (t *Tail) Stop(why error) { t.stop.stop(why) }

// Run ships the log. It returns when the run's end is written, when the log is lost, when a
// limit has stopped it, after Stop, or when ctx ends.
func (t *Tail) Run(ctx context.Context) {
	defer close(t.ended)
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.stop.begin(cancel)
	t.show(None, false)
	defer t.hide()
	t.end(ctx, reading, t.follow(reading))
}

// end writes what is left after follow, which has returned err.
//
//go:noinline // Run waits: see follow
func (t *Tail) end(ctx, reading context.Context, err error) {
	t.release(ctx)
	t.health.end()
	if cause := context.Cause(reading); cause != nil {
		err = cause
	}
	if ctx.Err() != nil {
		return
	}
	t.report(ctx, t.finish(ctx, err))
}

// release flushes what was read. If ctx has ended, pending lines are read again by the
// next tail of the log.
func (t *Tail) release(ctx context.Context) {
	if ctx.Err() == nil {
		t.p.FlushPending(ctx) //nolint:errcheck // they are read again, or a gap event reports their loss
	}
	t.p.Flush(ctx)
	t.p.drop()
}

// Close is Run for a tail that has nothing more to read: it writes the last records, with
// the reason why.
func (t *Tail) Close(ctx context.Context, why error) {
	defer close(t.ended)
	over, err := t.p.replayPending(ctx)
	if err == nil && !over {
		err = t.finish(ctx, why)
	}
	t.report(ctx, err)
}

// report logs an error of the last records.
func (t *Tail) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		t.job.logger().WithError(err).Error("Last records of the job not written")
	}
}

// follow reads over one transport after the other. Its error says why the tail is over.
//
// The functions in which a tail waits, from the start of its goroutine to job.sleep, have
// small stack frames: together less than 1,248 bytes, or the runtime (Go 1.26) does not
// shrink the stack of a waiting goroutine from 8 KiB to 4. Stacks are most of the memory of
// thousands of silent jobs. So functions with large frames that these call must not be
// inlined, which a profile would do otherwise.
func (t *Tail) follow(ctx context.Context) error {
	if err := t.prepare(ctx); err != nil {
		return err
	}
	r := newRetry(&t.cl.opts)
	for {
		tr, pause := t.pick()
		if left, wait := t.waitForAgent(ctx, r, tr); wait {
			tr, pause = None, left
		}
		if tr != None {
			err := t.attempt(ctx, tr)
			if pause, err = t.next(ctx, r, tr, err); err != nil {
				return err
			}
			if pause == 0 {
				continue
			}
		}
		t.show(tr, false)
		if err := t.job.sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// pick returns the transport to use now, and how long to wait if there is none.
//
//go:noinline // follow waits
func (t *Tail) pick() (Transport, time.Duration) {
	now := time.Now()
	return t.selector.pick(t.conditions(now), now)
}

// prepare writes pending events, waits until the job has a log, and writes the start event.
func (t *Tail) prepare(ctx context.Context) error {
	over, err := t.p.replayPending(ctx)
	if err == nil && t.p.reopening && over {
		t.p.log.Node = t.job.current().DriverNodeID
		return nil
	}
	t.p.reopening = false
	if over || err != nil {
		return cmp.Or(err, errAlreadyEnded)
	}
	if err := t.waitStart(ctx); err != nil {
		return err
	}
	return t.p.start(ctx)
}

// waitStart waits until the job has a log. It returns errNotStarted if the job ended
// without one.
func (t *Tail) waitStart(ctx context.Context) error {
	for {
		j := t.job.current()
		gone, messages := t.job.gone.Load(), t.cl.messages != nil
		switch {
		case j.DriverNodeID != "" && j.Status != ray.JobPending, messages && mayHaveLog(j):
			return nil
		case messages && j.Status.Terminal():
			return errNotStarted
		case messages && gone:
			return fmt.Errorf("%w: Ray deleted the job before it reported its node", errLost)
		case j.DriverNodeID != "" && (j.Status.Terminal() || gone):
			return nil
		case j.Status.Terminal() || gone:
			if err := t.findLog(ctx); err != nil {
				return err
			}
			continue
		}
		t.health.lastRead.Set(time.Now())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.job.wake:
		}
	}
}

// attempt reads over one transport until the read ends, and counts why it ended.
func (t *Tail) attempt(ctx context.Context, tr Transport) error {
	t.show(tr, true)
	t.p.progress.grew, t.restart, t.older = false, nil, false
	return t.readEnded(ctx, tr, t.reader(tr).read(ctx))
}

// readEnded ships what was read, and returns why the read ended: err, or that of shipping.
//
//go:noinline // attempt waits: see follow
func (t *Tail) readEnded(ctx context.Context, tr Transport, err error) error {
	if ctx.Err() != nil {
		return err // release flushes
	}
	ferr := t.p.FlushPending(ctx)
	if ferr = cmp.Or(t.p.Flush(ctx), ferr); err == nil {
		err = ferr
	}
	t.p.drop()
	t.cl.Metrics.ReadEnds(endReason(err)).Inc()
	if !errors.Is(err, errComplete) {
		t.job.logger().WithFields(logrus.Fields{"transport": tr.String(), "content": t.p.log.Pos.Content}).WithError(err).Debug("Log read ended")
	}
	t.health.failure(tr, err)
	return err
}

// next decides what follows a read that ended with err. It returns the pause before the
// next read, or the error that ends the tail.
func (t *Tail) next(ctx context.Context, r *retry, tr Transport, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if endsTail(err) {
		return 0, err
	}
	if t.p.progress.grew {
		r.backoff.Reset()
	}
	reachable := !notTried(err) && t.job.refresh(ctx)
	if errors.Is(err, errReplaced) && tr == WebSocket && t.job.superseded.Load() && t.cl.opts.Protocol != ProtocolWebSocket {
		err = errClosed // Ray selects a log to tail by its id only: this was the new run's
	}
	if errors.Is(err, errReplaced) && t.p.reopening {
		t.job.logger().WithError(err).Warn("Log was replaced after the end of its run")
		return 0, errAlreadyEnded
	}
	if errors.Is(err, errReplaced) && tr != NodeAgent {
		if pause, wait := t.doubtReplaced(ctx, r, tr, err); wait {
			return pause, nil
		}
	}
	if errors.Is(err, errReplaced) && reachable {
		r.doubt = clock.AwakeTime{}
		r.backoff.Reset()
		return 0, t.replaced(ctx)
	}
	if errors.Is(err, errFramingMismatch) {
		if err := t.switchFraming(ctx, tr); err != nil {
			return 0, err
		}
	}
	if t.cl.messages != nil && reachable && t.selector.noLog(tr, err, t.p.log.Reached) && t.endedWithoutNode() {
		return 0, errNotStarted
	}
	if err := r.lost.check(ctx, t, err, time.Now()); err != nil {
		return 0, err
	}
	r.lost.pause = 0
	if t.recordResult(tr, err, reachable) {
		return 0, nil
	}
	if errors.Is(err, errNoSlot) { // not a failure: waiting tails share the checks for a free slot
		return r.slotPause(), nil
	}
	r.lost.pause = max(r.backoff.NextBackOff(), ray.RetryAfter(err))
	return r.lost.pause, nil
}

// endedWithoutNode reports whether the run is over and Ray never reported its node.
func (t *Tail) endedWithoutNode() bool {
	j := t.job.current()
	return t.job.settled(time.Now()) && j.Status.Terminal() && j.DriverNodeID == ""
}
