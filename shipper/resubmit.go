package shipper

import (
	"context"
	"time"

	"raytap/shipper/tail"

	"raytap/ray"
)

// drainTimeout is how long the log of a run is read on after its id was submitted
// again. Then the new run is tailed.
const drainTimeout = time.Minute

// isDraining reports whether the tracked run has to be read to its end before j, a
// later run of the same id. Ray accepts an id again only after its run is over. If
// the new run is on another node, or on one that is not known yet, the old log does
// not change any more. On the same node both runs share one file.
func (s *Shipper) isDraining(ctx context.Context, k *trackedJob, j ray.Job) bool {
	if !s.tails.CanDrain() || k.skip || k.readBefore {
		return false
	}
	t := s.tail(j.SubmissionID)
	if t == nil && !k.tailed {
		// An earlier process stopped before the end of the old run.
		if k.log == nil {
			k.log = s.out.Positions.Log(s.logKey(j.SubmissionID), j)
		}
		if old := k.log.Run; k.log.Begun && !k.log.Done && old.Start.Equal(k.startTime) && tail.Elsewhere(old, j) {
			s.startTail(ctx, old, k)
			t = s.tail(j.SubmissionID)
		}
	}
	if t == nil || !tail.Elsewhere(*t.Job(), j) {
		k.drainingSince = time.Time{}
		return false
	}
	now := time.Now()
	if k.drainingSince.IsZero() {
		k.drainingSince = now
		t.Supersede()
	}
	if now.Sub(k.drainingSince) < drainTimeout {
		return true
	}
	k.drainingSince = time.Time{}
	return false
}
