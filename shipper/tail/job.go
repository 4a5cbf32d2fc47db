package tail

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/clock"

	"github.com/sirupsen/logrus"

	"raytap/ray"
)

// job is what is known about the run whose log is tailed. It is safe for concurrent use,
// except reopened, readAfterEnd, printedAt and the methods that use them: settled, waitSettled and
// finished are for the tail's goroutine.
type job struct {
	cl      *Cluster
	session string
	started time.Time // the run's start_time
	key     string    // identifies the run within its session
	job     atomic.Pointer[ray.Job]
	found   atomic.Pointer[ray.LogRef] // where the log was found, if Ray reports no node; else nil
	wake    chan struct{}              // receives after each change of the job

	terminalAt clock.Moment        // when the end was first seen; unset before
	gone       atomic.Bool         // Ray does not know the job any more
	absence    clock.SharedAbsence // responses without the job, until there are enough to set gone
	missed     atomic.Int32        // how many times in a row Ray did not know the job
	superseded atomic.Bool         // another run has its id

	reopened bool // the log continues after an end of the run
	// readAfterEnd: a read that began after the end of the run has reached the log's end.
	readAfterEnd bool
	printedAt    time.Time // when new content was last read
}

func newJob(cl *Cluster, session string, j ray.Job) *job {
	r := &job{cl: cl, session: session, started: j.Start, key: RunKey(j), wake: make(chan struct{}, 1)}
	r.update(j)
	return r
}

// RunKey returns a key that identifies a run within its session.
func RunKey(j ray.Job) string {
	return j.Start.UTC().Format(time.RFC3339Nano) + " " + j.SubmissionID
}

// RunID returns the submission id in a key of RunKey.
func RunID(key string) string {
	_, id, _ := strings.Cut(key, " ")
	return id
}

// current returns the job as it was last reported. Callers must not change it.
func (r *job) current() *ray.Job { return r.job.Load() }

func (r *job) logger() logrus.FieldLogger {
	return r.cl.opts.Log.WithField("submission_id", r.current().SubmissionID)
}

// update sets the job as Ray reports it.
func (r *job) update(j ray.Job) {
	if before := r.job.Load(); before != nil && before.Status.Terminal() && !j.Status.Terminal() {
		return // a response from before the end: a run does not start again
	}
	if j.Start.IsZero() {
		j.Start = r.started
	}
	r.job.Store(r.withFoundLog(&j))
	r.absence.Over()
	r.missed.Store(0)
	if !j.Status.Terminal() && r.gone.CompareAndSwap(true, false) {
		r.terminalAt.Clear() // Ray had lost the job for a while
	}
	if j.Status.Terminal() {
		r.terminalAt.SetFirst(time.Now())
	}
	r.notify()
}

// markUnknown records that Ray does not know the job any more.
func (r *job) markUnknown() {
	r.missed.Add(1)
	if r.gone.CompareAndSwap(false, true) {
		r.terminalAt.SetFirst(time.Now())
		r.notify()
	}
}

// supersede records that another run has the id: this one is over.
func (r *job) supersede() {
	r.superseded.Store(true)
	r.terminalAt.SetFirst(time.Now())
	r.notify()
}

// notify wakes the tail if it sleeps.
func (r *job) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// sleep waits for d, or until the job's end becomes known. It waits less while the cluster
// is being deleted.
func (r *job) sleep(ctx context.Context, d time.Duration) error {
	begun := r.cl.deletion.begun
	if r.cl.draining() {
		d, begun = min(d, DrainInterval), nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		over := r.terminalAt.IsSet()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		case <-begun:
			return nil
		case <-r.wake:
			if !over && r.terminalAt.IsSet() {
				return nil
			}
		}
	}
}

// refresh requests the job from Ray, since the end of a read alone does not show whether
// the run is over. It reports whether Ray answered.
func (r *job) refresh(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, r.cl.opts.Timeout)
	defer cancel()
	j, err := r.cl.api.Job(ctx, r.current().SubmissionID)
	switch {
	case err == nil:
		switch {
		case checkpoint.SameRun(j.Start, r.started):
			r.update(j)
		case r.cl.CanDrain() && Elsewhere(*r.current(), j):
			r.supersede()
		}
		return true
	case ray.Code(err) == http.StatusNotFound:
		// A head that has just started responds so until it has read its jobs.
		if v, err := r.cl.api.Version(ctx); err == nil && v.Session == r.session && r.absence.Lasts(r.cl.opts.AbsentFor) {
			r.markUnknown()
		}
		return true
	}
	return false
}

// settled reports whether the run is over and its child processes have had time to print: a
// read that begins now and reaches the log's end has read all of it.
func (r *job) settled(now time.Time) bool {
	// By raytap's clock, from when it saw the end: Ray's clock may differ.
	if !r.terminalAt.IsSet() || now.Sub(r.terminalAt.Get()) < r.gracePeriod() || !r.missedEnough() {
		return false
	}
	// A process that printed after one end may print after the next, so wait for silence.
	return !r.reopened || now.Sub(r.printedAt) >= r.gracePeriod()
}

// waitSettled waits until a run that is over is settled.
func (r *job) waitSettled(ctx context.Context) error {
	for !r.settled(time.Now()) {
		if err := r.sleep(ctx, min(r.cl.opts.GracePeriod, time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// finished reports whether the run's end is known.
func (r *job) finished() bool {
	return r.current().Status.Terminal() || r.settled(time.Now())
}

// gracePeriod returns how long after its end a run may still print. It is longer for a job
// that a Synapse agent does not know any more: the agent may find the job again.
func (r *job) gracePeriod() time.Duration {
	if r.cl.draining() {
		return min(r.cl.opts.GracePeriod, drainGrace)
	}
	if r.cl.messages != nil && !r.current().Status.Terminal() {
		return r.cl.opts.LostAfter
	}
	return r.cl.opts.GracePeriod
}

// missedEnough reports whether a job that a Synapse agent does not know was requested often
// enough for the agent to find it again. It counts requests instead of time, since raytap
// sends none while its process is stopped.
func (r *job) missedEnough() bool {
	if r.cl.messages == nil || r.current().Status.Terminal() {
		return true
	}
	return r.missed.Load() >= triesToLose
}

// mayHaveLog reports whether a job of a Synapse agent may have a log. The agent may not
// report where the driver runs.
func mayHaveLog(j *ray.Job) bool {
	return j.Status != ray.JobPending && j.Status != "SUBMITTED"
}

// setFoundLog sets where the log is read, since Ray reports no node.
func (r *job) setFoundLog(ref ray.LogRef) {
	r.found.Store(&ref)
	j := *r.current()
	r.job.Store(r.withFoundLog(&j))
}

// withFoundLog sets the node of a job to where its log was found, if Ray reports none.
func (r *job) withFoundLog(j *ray.Job) *ray.Job {
	if found := r.found.Load(); found != nil && j.DriverNodeID == "" {
		j.DriverNodeID, j.DriverAgentURL = found.NodeID, found.AgentURL
	}
	return j
}

// Elsewhere reports whether two runs of an id are known to have different log files: they
// ran on different nodes.
func Elsewhere(old, j ray.Job) bool {
	return old.DriverNodeID != "" && old.DriverNodeID != j.DriverNodeID
}

// otherStart is the message of an end event if Ray reports another start time for the id.
// It does so for a new submission, and for a run that was deleted as it ended, whose
// supervisor then writes its status (2.60.0).
const otherStart = "Ray now reports another start time for this id (it was submitted again, or its status was written after a deletion) before this run's end was read"

// state is what other goroutines may see of a tail.
type state struct {
	transport Transport
	reading   bool // false while it waits before a retry
}

// label returns the state's label value.
func (s state) label() string {
	if s.reading {
		return "reading"
	}
	return "waiting"
}

// show publishes the transport in use, for Status and the metric.
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

// hide removes the tail from the metric.
func (t *Tail) hide() {
	if s := t.status.Load(); s != nil {
		t.cl.Metrics.Tails(s.transport.String(), s.label()).Dec()
	}
}
