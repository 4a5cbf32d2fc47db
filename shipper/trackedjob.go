package shipper

import (
	"time"

	"raytap/ray"
	"raytap/shipper/checkpoint"
	"raytap/shipper/clock"
)

// trackedJob is what discovery knows of one submission id: a log that is tailed, was
// tailed, or is skipped.
type trackedJob struct {
	startTime     time.Time       // of its last run
	skip          bool            // excluded by the backfill or the selectors
	tailed        bool            // this process has started a tail on that run
	readBefore    bool            // an earlier process has read that run to its end
	reopen        bool            // the next tail reads on after the run's end
	drainingSince time.Time       // another run has taken the id, and this one is read to its end; zero: no
	log           *checkpoint.Log // nil until a tail is started
	missing       clock.Absence   // from the job lists
	unlistedSince time.Time       // zero while Ray lists it
}

// isRun reports whether j is the tracked run. A run that has ended never runs again.
func (k *trackedJob) isRun(j ray.Job) bool {
	if k.readBefore && (k.startTime.IsZero() || j.Start.IsZero()) && !k.startTime.Equal(j.Start) {
		return j.Status.Terminal()
	}
	return checkpoint.SameRun(k.startTime, j.Start)
}

// withStartTime returns j with the known start time if the response lacks it.
func (k *trackedJob) withStartTime(j ray.Job) ray.Job {
	if j.Start.IsZero() {
		j.Start = k.startTime
	}
	return j
}
