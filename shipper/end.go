package shipper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"raytap/ray"
)

var (
	errUnstarted = errors.New("the job ended without a log")
	errLost      = errors.New("the rest of the log is lost")
)

// due reports whether the run is over and its children had time to print: a
// read that begins now and reaches the log's end has read all of it.
func (s *stream) due(now time.Time) bool {
	at := s.terminalAt.Load()
	if at == 0 {
		return false
	}
	if end := s.current().End; !end.IsZero() && now.Sub(end) > time.Minute {
		return true
	}
	return now.UnixNano()-at >= int64(s.lingers())
}

// lostWatch decides when a log is out of reach for good.
type lostWatch struct{ fails int }

// check takes the failure of a read. errLost: no more reads.
func (l *lostWatch) check(ctx context.Context, s *stream, err error, now time.Time) error {
	if errors.Is(err, errNoSlot) || errors.Is(err, ray.ErrWayRefused) {
		return nil // nothing was asked for
	}
	if s.grown || errors.Is(err, errBetter) || errors.Is(err, errOver) || errors.Is(err, errGiveUp) {
		l.fails = 0
		return nil
	}
	l.fails++
	unread := now.Sub(time.Unix(0, s.lastRead.Load()))
	over := s.terminalAt.Load()
	if over != 0 && unread >= s.sh.opts.EndTimeout && now.UnixNano()-over >= int64(s.sh.opts.EndTimeout) {
		return fmt.Errorf("%w: no way has read it for %s since the job's end: %v", errLost, unread.Round(time.Second), err)
	}
	if errors.Is(err, errUnpassable) && over != 0 {
		return fmt.Errorf("%w: %v", errLost, err)
	}
	// Each way had its turn, and the node is known to be gone.
	if l.fails > len(s.ladder(now)) && unread > s.sh.opts.Linger && s.nodeDead(ctx) {
		return fmt.Errorf("%w: its node is dead: %v", errLost, err)
	}
	return nil
}

func (s *stream) nodeDead(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, s.sh.opts.Timeout)
	defer cancel()
	nodes, err := s.sh.lists.Nodes(ctx)
	if err != nil {
		return false
	}
	for _, n := range nodes {
		if n.ID == s.log.node {
			return n.State == ray.NodeDead
		}
	}
	return false
}

// replaced begins a new epoch, once session and run were found to be as before.
func (s *stream) replaced(ctx context.Context) error {
	session, err := s.sh.session(ctx, s.session)
	switch {
	case err != nil:
		return nil // asked again with the next read
	case session != s.session:
		return errSessionOver
	}
	if j, err := s.sh.cluster.Job(ctx, s.current().SubmissionID); err == nil && !j.Start.Equal(s.started) {
		return errRunReplaced
	}
	if s.log.guessed {
		s.log.repeats = true
		gap := s.gapRecord("the log repeats itself, and a place in it was mistaken: lines between the last one that is sure and the last one may be missing")
		return s.newEpoch(ctx, gap, *s.log.verified, "the log is read again from the last place that is sure")
	}
	gap := s.gapRecord("the log was replaced or truncated: what it held behind the last line is lost")
	return s.newEpoch(ctx, gap, newPosition(), "the log was replaced or truncated: it is read from its start")
}

// newEpoch goes on at a position that the log as it is now does hold, after a gap.
func (s *stream) newEpoch(ctx context.Context, gap owed, at position, message string) error {
	s.log.restart(at)
	s.enc.setEpoch(s.log.epoch)
	s.logger().WithField("epoch", s.log.epoch).Warn(message)
	return s.tell(ctx, false, gap, s.record(EventEpoch, message))
}

// gapRecord tells of bytes that cannot be had any more, and of how many where
// that is known.
func (s *stream) gapRecord(message string) owed {
	s.drop()
	s.sh.metrics.gaps.WithLabelValues(s.sh.opts.Cluster).Inc()
	s.logger().Warn("Lines are lost: " + message)
	f := field{key: "at_least"}
	if n := s.log.size - s.log.pos.raw; s.log.pos.raw >= 0 && n > 1 {
		f.value = n
	}
	return s.record(EventGap, message, f)
}

// finish writes the last events of a stream that is over because of err.
func (s *stream) finish(ctx context.Context, err error) error {
	defer s.slots.ended(s.key)
	switch {
	case errors.Is(err, errComplete):
		return s.tell(ctx, true, s.endRecord("the log was read to its end", true, true))
	case errors.Is(err, errUnstarted):
		return s.tell(ctx, true, s.endRecord("the job ended before it had a log", true, true))
	case errors.Is(err, errUnproven):
		return s.tell(ctx, true, s.endRecord(err.Error(), true, false))
	case errors.Is(err, errRunReplaced):
		return s.tell(ctx, true, s.endRecord("the id was submitted again before this run's end was read", false, false))
	case errors.Is(err, errSessionOver):
		return s.tell(ctx, true, s.gapRecord(err.Error()), s.endRecord(err.Error(), true, false))
	case errors.Is(err, errLost):
		if err := s.tell(ctx, false, s.gapRecord(err.Error())); err != nil {
			return err
		}
		s.awaitStatus(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.tell(ctx, true, s.endRecord(err.Error(), true, false))
	}
	return nil // given up by a limit, which said so; or the output is gone
}

// awaitStatus gives a lost job's status some time to become terminal: Ray
// leaves a job RUNNING for a while, or for ever, after its node died.
func (s *stream) awaitStatus(ctx context.Context) {
	timeout := time.NewTimer(s.sh.opts.EndTimeout)
	defer timeout.Stop()
	for s.terminalAt.Load() == 0 {
		select {
		case <-ctx.Done():
			return
		case <-timeout.C:
			return
		case <-s.wake:
		}
	}
}

func (s *stream) endRecord(message string, status, complete bool) owed {
	s.drop()
	j := s.current()
	fields := []field{}
	if status && j.Status != "" {
		fields = append(fields, field{"status", string(j.Status)})
	}
	fields = append(fields, field{"lines", s.nextLine()}, field{"content_bytes", s.log.pos.content})
	if j.DriverExitCode != nil && status {
		fields = append(fields, field{"driver_exit_code", int64(*j.DriverExitCode)})
	}
	return s.record(EventEnd, message, append(fields, field{"complete", complete})...)
}

// hitLimit writes the event of a limit. It returns nil once the stream may go
// on, or errLimited where the limit says to give the job up.
func (s *stream) hitLimit(ctx context.Context, limit string) error {
	s.sh.metrics.limits.WithLabelValues(s.sh.opts.Cluster, limit).Inc()
	pause := s.lim.Pause && s.lim.Window > 0
	message := "limit " + limit + " is reached: the job's log is shipped no further"
	if pause {
		message = "limit " + limit + " is reached: reading goes on when the window of " + s.lim.Window.String() + " is over"
	}
	s.logger().WithField("limit", limit).Warn("A " + message)
	if err := s.flush(ctx); err != nil {
		return err
	}
	if !pause {
		return cmp.Or(s.tell(ctx, true, s.record(EventLimit, message, field{"limit", limit})), errLimited)
	}
	if err := s.event(ctx, EventLimit, message, field{"limit", limit}); err != nil {
		return err
	}
	t := time.NewTimer(s.lim.rest(time.Now()))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
