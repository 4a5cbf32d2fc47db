package shipper

import (
	"context"
	"time"

	"raytap/shipper/checkpoint"

	"raytap/ray"
)

// reopenGrown starts tails on the logs that have grown after their end. listed are
// the jobs that Ray lists now.
func (s *Shipper) reopenGrown(ctx context.Context, listed map[string]ray.Job) {
	for id, startTime := range s.rechecks.takeGrown() {
		k := s.known.jobs[id]
		if k == nil {
			k = &trackedJob{startTime: startTime, readBefore: true, unlistedSince: time.Now()}
			s.known.jobs[id] = k
		}
		if k.skip || !checkpoint.SameRun(k.startTime, startTime) || s.tail(id) != nil {
			continue
		}
		if k.log == nil {
			k.log = s.out.Positions.Log(s.logKey(id), ray.Job{SubmissionID: id})
		}
		j, ok := listed[id]
		if !ok {
			j = k.log.Run
			s.out.Positions.MarkUnlisted(s.logKey(id), time.Now())
		}
		k.reopen = true
		s.startTail(ctx, j, k)
	}
}
