package shipper

import (
	"raytap/ray"
	"raytap/shipper/checkpoint"
)

// is reports whether j is the run that is known. One that has ended never runs again.
func (k *knownLog) is(j ray.Job) bool {
	if k.over && (k.started.IsZero() || j.Start.IsZero()) && !k.started.Equal(j.Start) {
		return j.Status.Terminal()
	}
	return checkpoint.SameRun(k.started, j.Start)
}

// dated puts the start time that is known of a run into a job whose answer lacks it.
func (k *knownLog) dated(j ray.Job) ray.Job {
	if j.Start.IsZero() {
		j.Start = k.started
	}
	return j
}
