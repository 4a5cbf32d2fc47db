package shipper

import (
	"time"

	"raytap/ray"
)

// otherStart is what is known of an id that is listed with another start time:
// Ray does that for a new submission, and for a run that was deleted as it ended,
// whose supervisor writes its status after that (2.60.0).
const otherStart = "Ray now reports another start time for this id (it was submitted again, or its status was written after a deletion) before this run's end was read"

// sameRun reports whether two start times of one id may be those of one run. A time
// that an answer lacks is no other one.
func sameRun(a, b time.Time) bool { return a.IsZero() || b.IsZero() || a.Equal(b) }

// is reports whether j is the run that is known. One that has ended never runs again.
func (k *knownLog) is(j ray.Job) bool {
	if k.over && (k.started.IsZero() || j.Start.IsZero()) && !k.started.Equal(j.Start) {
		return j.Status.Terminal()
	}
	return sameRun(k.started, j.Start)
}

// dated puts the start time that is known of a run into a job whose answer lacks it.
func (k *knownLog) dated(j ray.Job) ray.Job {
	if j.Start.IsZero() {
		j.Start = k.started
	}
	return j
}
