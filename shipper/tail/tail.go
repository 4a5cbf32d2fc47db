package tail

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/slots"

	"github.com/sirupsen/logrus"

	"raytap/ray"
)

// What ends a read. Which of them end a tail, endsTail decides.
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
	errUnproven           = errors.New("the end of the log cannot be verified")
	errUnreadable         = errors.New("the WebSocket cannot send a part of this log (a byte that is not UTF-8, or a line over 4 MiB)")
	errFramingMismatch    = errors.New("the messages of this log have another framing than expected (newlines)")
	errSnapshotIncomplete = errors.New("the agent's copy of the log lacks lines that were read before")
)

// Why a tail is stopped although its job is not read to its end.
var (
	ErrSessionOver = errors.New("the head was restarted: logs of the old session cannot be read")
	ErrRunReplaced = errors.New("Ray reports another start time for this job id")
)

// reader reads one log over one transport until that ends. The error says why it ended.
type reader interface {
	read(ctx context.Context) error
}

// tail ships the log of one run, from its start to its end, or until it is lost. Its
// goroutine chooses a transport, reads, waits after failures, and decides what an end of
// a read means.
type Tail struct {
	source
	readers [Count]reader
	stopped context.Context // ended by Stop
	stop    context.CancelCauseFunc
	ended   chan struct{} // closed when run has returned
	status  atomic.Pointer[state]
	headLog string // what Ray wrote on the head of a job that ran on another node
}

// tailState is what others may see of a tail.
type state struct {
	transport Transport
	reading   bool // false while it waits to try again
}

// label returns the state's label value.
func (s state) label() string {
	if s.reading {
		return "reading"
	}
	return "waiting"
}

// newTail returns a tail for a run whose log's state belongs to it from then on.
func New(cl *Cluster, slots *slots.Slots, session string, j ray.Job, log *checkpoint.Log) *Tail {
	run := newJob(cl, session, j)
	h := &health{cl: cl}
	h.lastRead.Set(time.Now())
	t := &Tail{
		source: source{cl: cl, job: run, health: h, slots: slots, p: newPipeline(cl, run, h, slots, log)},
		ended:  make(chan struct{}),
	}
	t.stopped, t.stop = context.WithCancelCause(context.Background())
	src := &t.source
	if cl.messages != nil {
		t.readers = [Count]reader{
			WebSocket: &messageReader{source: src, transport: WebSocket},
			SSE:       &messageReader{source: src, transport: SSE},
			Snapshot:  &snapshotReader{src},
		}
		return t
	}
	t.readers = [Count]reader{
		NodeAgent: &nodeAgentReader{source: src},
		WebSocket: &webSocketReader{source: src},
		File:      &fileReader{source: src},
		Snapshot:  &textReader{src},
	}
	return t
}

// Reopen makes the tail read on after the end of its run, which is written: the log has
// grown. It is called before Run.
func (t *Tail) Reopen() { t.p.reopening, t.job.reopened = true, true }

// Update takes what the job list reports of the job. Safe for concurrent use, as all that
// follow.
func (t *Tail) Update(j ray.Job) { t.job.update(j) }

// Refresh requests the job from Ray.
func (t *Tail) Refresh(ctx context.Context) { t.job.refresh(ctx) }

// Supersede reports that another run has taken the job's id: this one is over.
func (t *Tail) Supersede() { t.job.supersede() }

// Job returns the job as it was reported last. It must not be changed.
func (t *Tail) Job() *ray.Job { return t.job.current() }

// Session returns the session of the run.
func (t *Tail) Session() string { return t.job.session }

// LastRead returns the time of the last successful read.
func (t *Tail) LastRead() time.Time { return t.health.lastRead.Get() }

// Done is closed when Run or Close has returned.
func (t *Tail) Done() <-chan struct{} { return t.ended }

// Status returns the status of the tail, without the counts of what was shipped.
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

// ReadToEnd reports, once Done, whether the log was read to the end of its run, and how
// often it was checked since. It is for the goroutine that called Run.
func (t *Tail) ReadToEnd() (atEnd bool, checks int) {
	return t.p.log.Done && t.p.log.AtEnd, t.p.log.Checks
}

// Stop has Run read no further and write the last records, which say why: ErrSessionOver
// or ErrRunReplaced.
func (t *Tail) Stop(why error) { t.stop(why) }

// Run ships the log. It returns when the run's end was read and written, when the log is
// lost or shipped no further, after Stop, or when ctx ends.
func (t *Tail) Run(ctx context.Context) {
	defer close(t.ended)
	reading, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.stopped, func() { cancel(context.Cause(t.stopped)) })()
	t.show(None, false)
	defer t.hide()
	err := t.follow(reading)
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

// release hands over what a tail has when it was told to read no further. Where ctx has
// ended too, the lines held back are read again by the next one.
func (t *Tail) release(ctx context.Context) {
	if ctx.Err() == nil {
		t.p.flushPending(ctx) //nolint:errcheck // they are read again, or a gap reports that they are lost
	}
	t.p.flush(ctx)
	t.p.drop()
}

// Close is Run for a tail that has nothing to read any more: it writes the last records.
func (t *Tail) Close(ctx context.Context, why error) {
	defer close(t.ended)
	over, err := t.p.replayPending(ctx)
	if err == nil && !over {
		err = t.finish(ctx, why)
	}
	t.report(ctx, err)
}

// report logs that the last records of a tail were not written.
func (t *Tail) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		t.job.logger().WithError(err).Error("Last records of the job not written")
	}
}

// follow reads over one transport after the other. The error says why the tail is over.
//
// What a tail waits in, from here to job.sleep, keeps to small frames: thousands of silent
// ones have little memory but their stacks.
func (t *Tail) follow(ctx context.Context) error {
	if err := t.prepare(ctx); err != nil {
		return err
	}
	r := newRetry(&t.cl.opts)
	for {
		now := time.Now()
		tr, pause := t.selector.pick(t.conditions(now), now)
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

// prepare does what comes before the first read.
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

// waitStart waits until the job has a log. A job that ended without one has none.
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

// attempt reads over one transport until that ends, and counts why.
func (t *Tail) attempt(ctx context.Context, tr Transport) error {
	t.show(tr, true)
	t.p.progress.grew = false
	err := t.readers[tr].read(ctx)
	if ctx.Err() != nil {
		return err // release does the rest
	}
	ferr := t.p.flushPending(ctx) // what was read is shipped, whatever comes next
	if ferr = cmp.Or(t.p.flush(ctx), ferr); err == nil {
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

// next decides what comes after a read that ended with err: another one after a pause, or
// the tail's end.
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
		err = errClosed // a tail knows the id alone: it was one of the new run's log
	}
	if errors.Is(err, errReplaced) && t.p.reopening {
		t.job.logger().WithError(err).Warn("Log was replaced after the end of its run")
		return 0, errAlreadyEnded
	}
	if errors.Is(err, errReplaced) && reachable {
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
	if errors.Is(err, errNoSlot) { // nothing failed: the tails that wait share the checks for a free one
		return r.slotPause(), nil
	}
	r.lost.pause = max(r.backoff.NextBackOff(), RetryAfter(err))
	return r.lost.pause, nil
}

// endedWithoutNode reports whether the run is over and its node was never reported.
func (t *Tail) endedWithoutNode() bool {
	j := t.job.current()
	return t.job.settled(time.Now()) && j.Status.Terminal() && j.DriverNodeID == ""
}

// recordResult has the selector note how a read ended, and reports whether the next
// transport is tried without a pause.
func (t *Tail) recordResult(tr Transport, err error, reachable bool) bool {
	now := time.Now()
	v := t.selector.record(tr, result{err: err, grew: t.p.progress.grew, reachable: reachable, content: t.p.log.Pos.Content}, t.conditions(now), now)
	if v.refused {
		t.cl.webSocketRefused.Set(now)
	}
	if v.agentDown {
		if errors.Is(err, ray.ErrTokenWithheld) {
			t.cl.warnOnce("token", "Node agents are not used, logs are read through the head", err)
		}
		t.cl.agents.markDown(t.job.current().DriverAgentURL, err, now)
	}
	if v.cooldown {
		t.cl.Metrics.Fallbacks(tr.String()).Inc()
		t.job.logger().WithField("transport", tr.String()).WithError(err).Debug("Falling back to another transport for a while")
	}
	return v.fellBack
}

// show notes which transport is in use.
func (t *Tail) show(tr Transport, reading bool) {
	next := state{tr, reading}
	if s := t.status.Load(); s != nil {
		if *s == next {
			return
		}
		t.hide()
	}
	t.status.Store(&next)
	t.cl.Metrics.Tails(tr.String(), next.label()).Inc()
}

// hide takes the tail out of the metric of tails.
func (t *Tail) hide() {
	if s := t.status.Load(); s != nil {
		t.cl.Metrics.Tails(s.transport.String(), s.label()).Dec()
	}
}
