package shipper

import (
	"context"
	"errors"
	"time"

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
		if k.skip || !sameRun(k.started, started) || s.stream(id) != nil {
			continue
		}
		if k.log == nil {
			k.log = s.out.positions.entry(s.logKey(id), ray.Job{SubmissionID: id})
		}
		j, ok := listed[id]
		if !ok {
			j = k.log.run
			s.out.positions.leave(s.logKey(id), time.Now())
		}
		k.reopen = true
		s.start(ctx, j, k)
	}
}

// reopened records that the log of a run that had its end goes on, before the
// first line after that.
func (s *stream) reopened(ctx context.Context) error {
	s.reopening = false
	s.log.done, s.log.atEnd, s.log.checks = false, false, 0
	s.logger().Info("The log has grown after the end of its run")
	if err := s.flush(ctx); err != nil {
		return err
	}
	return s.tell(ctx, false, s.record(EventReopened, "the log has grown after the end of the run: it is read on"))
}

// finishReopening ends a stream that was to read on after the end and got no
// further line.
func (s *stream) finishReopening(ctx context.Context, err error) error {
	if errors.Is(err, errLost) || errors.Is(err, errSessionOver) {
		return s.tell(ctx, true, s.gapRecord("what was printed after the end is lost: "+err.Error()))
	}
	return nil
}
