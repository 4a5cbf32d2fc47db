package shipper

import (
	"context"
	"time"

	"raytap/shipper/checkpoint"

	"raytap/ray"
)

// This file: a log that was read to its end, and has grown since, is read on.

// reopenGrown starts to read on the logs that have grown after their end. listed
// are the jobs as Ray lists them now.
func (s *Shipper) reopenGrown(ctx context.Context, listed map[string]ray.Job) {
	for id, started := range s.rechecks.take() {
		k := s.known.logs[id]
		if k == nil {
			k = &knownLog{started: started, over: true, gone: time.Now()}
			s.known.logs[id] = k
		}
		if k.skip || !checkpoint.SameRun(k.started, started) || s.tail(id) != nil {
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
		s.start(ctx, j, k)
	}
}
