package shipper

import (
	"context"
	"time"

	"raytap/shipper/tail"

	"raytap/ray"
)

// drainFor bounds how long the log of a run is read on once its id was submitted
// again, before the new run is followed.
const drainFor = time.Minute

// drains reports whether the run that is known is to be read to its end before j, a
// later run of the same id, is followed: Ray takes an id again only once its run is
// over, and where the new one runs on another node, or on one that is not known yet,
// the old log does not change any more. On the same node both are one file.
func (s *Shipper) drains(ctx context.Context, k *knownLog, j ray.Job) bool {
	if !s.tails.CanDrain() || k.skip || k.over {
		return false
	}
	st := s.tail(j.SubmissionID)
	if st == nil && !k.run {
		// A process before this one has left it open.
		if k.log == nil {
			k.log = s.out.Positions.Log(s.logKey(j.SubmissionID), j)
		}
		if old := k.log.Run; k.log.Begun && !k.log.Done && old.Start.Equal(k.started) && tail.Elsewhere(old, j) {
			s.start(ctx, old, k)
			st = s.tail(j.SubmissionID)
		}
	}
	if st == nil || !tail.Elsewhere(*st.Job(), j) {
		k.drain = time.Time{}
		return false
	}
	now := time.Now()
	if k.drain.IsZero() {
		k.drain = now
		st.Supersede()
	}
	if now.Sub(k.drain) < drainFor {
		return true
	}
	k.drain = time.Time{}
	return false
}
