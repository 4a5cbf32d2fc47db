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

// job is what is known of the run whose log is tailed. Its methods are safe for
// concurrent use, but for reopened and printedAt, which belong to the tail's goroutine.
type job struct {
	cl      *Cluster
	session string
	started time.Time // the run's start_time
	key     string    // names the run among those of its session
	job     atomic.Pointer[ray.Job]
	home    atomic.Pointer[ray.LogRef] // where the log was found, of a job without a node
	wake    chan struct{}              // receives when a job update came

	terminalAt clock.Moment        // when the end was first known; unset while it is not
	gone       atomic.Bool         // Ray does not know the job any more
	absence    clock.SharedAbsence // answers that say so, before they are believed
	missed     atomic.Int32        // how many times in a row Ray did not know it
	superseded atomic.Bool         // another run has taken its id

	reopened  bool      // the run had an end before, and its log is read on
	printedAt time.Time // when new content came last
}

func newJob(cl *Cluster, session string, j ray.Job) *job {
	r := &job{cl: cl, session: session, started: j.Start, key: RunKey(j), wake: make(chan struct{}, 1)}
	r.update(j)
	return r
}

// runKey names a run among those of its session, and runID returns its submission id.
func RunKey(j ray.Job) string {
	return j.Start.UTC().Format(time.RFC3339Nano) + " " + j.SubmissionID
}

func RunID(key string) string {
	_, id, _ := strings.Cut(key, " ")
	return id
}

// current returns the job as it was reported last. It must not be changed.
func (r *job) current() *ray.Job { return r.job.Load() }

func (r *job) logger() logrus.FieldLogger {
	return r.cl.opts.Log.WithField("submission_id", r.current().SubmissionID)
}

// update takes what the job list reports of the job.
func (r *job) update(j ray.Job) {
	if before := r.job.Load(); before != nil && before.Status.Terminal() && !j.Status.Terminal() {
		return // an answer from before the end: a run never comes back
	}
	if j.Start.IsZero() {
		j.Start = r.started
	}
	r.job.Store(r.withHome(&j))
	r.absence.Over()
	r.missed.Store(0)
	if !j.Status.Terminal() && r.gone.CompareAndSwap(true, false) {
		r.terminalAt.Clear() // the server had lost it
	}
	if j.Status.Terminal() {
		r.terminalAt.SetFirst(time.Now())
	}
	r.notify()
}

// markUnknown notes that Ray does not know the job any more.
func (r *job) markUnknown() {
	r.missed.Add(1)
	if r.gone.CompareAndSwap(false, true) {
		r.terminalAt.SetFirst(time.Now())
		r.notify()
	}
}

// supersede notes that another run has taken the id: this one is over.
func (r *job) supersede() {
	r.superseded.Store(true)
	r.terminalAt.SetFirst(time.Now())
	r.notify()
}

func (r *job) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// sleep waits, and stops waiting when the job's end becomes known.
func (r *job) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		over := r.terminalAt.IsSet()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return nil
		case <-r.wake:
			if !over && r.terminalAt.IsSet() {
				return nil
			}
		}
	}
}

// refresh requests the job from Ray: the end of a read is a question. It reports
// whether Ray answered.
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
		// One such answer may come from a head that has not read its jobs yet.
		if v, err := r.cl.api.Version(ctx); err == nil && v.Session == r.session && r.absence.Lasts(r.cl.opts.AbsentFor) {
			r.markUnknown()
		}
		return true
	}
	return false
}

// settled reports whether the run is over and its children had time to print: a read
// that begins now and reaches the log's end has read all of it.
func (r *job) settled(now time.Time) bool {
	// By our clock alone, from when we saw it: Ray's may be ahead or late.
	if !r.terminalAt.IsSet() || now.Sub(r.terminalAt.Get()) < r.gracePeriod() || !r.missedEnough() {
		return false
	}
	// What has printed after one end may print after the next: it has to be silent.
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

// gracePeriod returns how long after its end a run may still print. A job that a
// Synapse agent does not know any more may be one that the agent has lost.
func (r *job) gracePeriod() time.Duration {
	if r.cl.messages != nil && !r.current().Status.Terminal() {
		return r.cl.opts.LostAfter
	}
	return r.cl.opts.GracePeriod
}

// missedEnough reports whether a job that a Synapse agent does not know was requested
// so many times that the agent has had time to find it again. It counts requests,
// since a process that is stopped sends none.
func (r *job) missedEnough() bool {
	if r.cl.messages == nil || r.current().Status.Terminal() {
		return true
	}
	return r.missed.Load() >= triesToLose
}

// mayHaveLog reports whether there may be something to read of a job. A Synapse agent
// need not report where the driver runs.
func mayHaveLog(j *ray.Job) bool {
	return j.Status != ray.JobPending && j.Status != "SUBMITTED"
}

// setHome makes a node the one on which the log is read, as Ray reports none.
func (r *job) setHome(ref ray.LogRef) {
	r.home.Store(&ref)
	j := *r.current()
	r.job.Store(r.withHome(&j))
}

// withHome puts the node where the log was found into a job of which Ray reports none.
func (r *job) withHome(j *ray.Job) *ray.Job {
	if home := r.home.Load(); home != nil && j.DriverNodeID == "" {
		j.DriverNodeID, j.DriverAgentURL = home.NodeID, home.AgentURL
	}
	return j
}

// Elsewhere reports whether a run has a log of its own that another one does not
// continue, as far as that is known.
func Elsewhere(old, j ray.Job) bool {
	return old.DriverNodeID != "" && old.DriverNodeID != j.DriverNodeID
}

// otherStart is what is known of an id that is listed with another start time:
// Ray does that for a new submission, and for a run that was deleted as it ended,
// whose supervisor writes its status after that (2.60.0).
const otherStart = "Ray now reports another start time for this id (it was submitted again, or its status was written after a deletion) before this run's end was read"
