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
	// By our clock alone, from when we saw it: Ray's may be ahead or behind.
	if !s.terminalAt.isSet() || now.Sub(s.terminalAt.get()) < s.lingers() || !s.missedForLong() {
		return false
	}
	// What has printed after one end may print after the next: it has to be silent.
	return !s.readOn || now.Sub(s.grewAt) >= s.lingers()
}

// triesToLose is how many tries in a row have to fail, over the time that is
// allowed, before a log is given up.
const triesToLose = 5

// lostWatch decides when a log is out of reach for good. It counts time in which
// the log was tried, by the monotonic clock, not time that went by: a process that
// was stopped has tried nothing.
type lostWatch struct {
	fails   int
	read    time.Time     // the last successful read that it knows of
	failing awake         // since then
	over    awake         // since then and since the end of the run was known
	pause   time.Duration // until the next try, as it was planned
}

// check takes the failure of a read. errLost: no more reads.
func (l *lostWatch) check(ctx context.Context, s *stream, err error, now time.Time) error {
	if errors.Is(err, errNoSlot) || errors.Is(err, ray.ErrTransportNotAllowed) {
		return nil // nothing was asked for
	}
	if read := s.lastRead.get(); !read.Equal(l.read) {
		l.read, l.failing, l.over = read, awake{last: read}, awake{last: read}
	}
	if s.grown || errors.Is(err, errBetter) || errors.Is(err, errOver) || errors.Is(err, errGiveUp) {
		l.fails = 0
		return nil
	}
	l.fails++
	expected := l.pause + s.sh.opts.Timeout
	l.failing.step(now, expected)
	over := s.terminalAt.isSet()
	if over {
		if at := s.terminalAt.get(); l.over.last.Before(at) {
			l.over.last = at
		}
		l.over.step(now, expected)
	}
	if l.over.sum >= s.sh.opts.EndTimeout && l.over.steps >= triesToLose {
		return fmt.Errorf("%w: no way has read it for %s since the job's end, in %d tries: %v", errLost, l.over.sum.Round(time.Second), l.over.steps, err)
	}
	if errors.Is(err, errUnpassable) && over {
		return fmt.Errorf("%w: %v", errLost, err)
	}
	// Each way had its turn, and the node is known to be gone.
	if l.fails > len(s.ladder(now)) && l.failing.sum > s.sh.opts.Linger && s.nodeDead(ctx) {
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
	if j, err := s.sh.cluster.Job(ctx, s.current().SubmissionID); err == nil && !sameRun(j.Start, s.started) {
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
	s.log.leaveEpoch(s.nextLine(), at)
	s.log.restart(at)
	s.enc.setEpoch(s.log.epoch)
	s.logger().WithField("epoch", s.log.epoch).Warn(message)
	return s.tell(ctx, false, gap, s.record(EventEpoch, message))
}

// gapRecord tells of bytes that cannot be had any more, and of how many where
// that is known.
func (s *stream) gapRecord(message string) owed {
	s.drop()
	// Before the first line of the run, it is a log of other runs that was lost.
	s.log.tally.gap = s.log.tally.gap || s.runLines() > 0
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
	if s.reopening {
		return s.finishReopening(ctx, err)
	}
	switch {
	case errors.Is(err, errComplete):
		s.log.atEnd, s.log.checks, s.onHead = true, 0, s.headWords(ctx)
		return s.tell(ctx, true, s.endRecord("the log was read to its end", true, true))
	case errors.Is(err, errUnstarted):
		s.log.atEnd, s.log.checks = true, 0
		return s.tell(ctx, true, s.endRecord("the job ended before it had a log", true, true))
	case errors.Is(err, errUnproven):
		return s.tell(ctx, true, s.endRecord(err.Error(), true, false))
	case errors.Is(err, errRunReplaced):
		return s.tell(ctx, true, s.endRecord(otherStart, false, false))
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

// statusTicks is how many times awaitStatus wakes before it gives up: a process
// that is stopped meanwhile misses all but one of those that are due.
const statusTicks = 20

// awaitStatus gives a lost job's status some time to become terminal: Ray
// leaves a job RUNNING for a while, or indefinitely, after its node died.
func (s *stream) awaitStatus(ctx context.Context) {
	tick := time.NewTicker(max(s.sh.opts.EndTimeout/statusTicks, time.Millisecond))
	defer tick.Stop()
	for left := statusTicks; left > 0 && !s.terminalAt.isSet(); {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			left--
		case <-s.wake:
		}
	}
}

// runLines is how many lines the run has had so far, over all of its epochs.
func (s *stream) runLines() int64 { return max(0, s.log.tally.lines+int64(s.nextLine())) }

// words is a field of a text, absent where that is empty.
func words(key, text string) field {
	if text == "" {
		return field{key: key}
	}
	return field{key, text}
}

func (s *stream) endRecord(message string, status, complete bool) owed {
	s.drop()
	j := s.current()
	// Ray does not report how a run ended once another one has taken its id.
	status = status && (j.Status.Terminal() || !s.superseded.Load())
	fields := []field{}
	if status && j.Status != "" {
		fields = append(fields, field{"status", string(j.Status)})
	}
	run := &s.log.tally
	fields = append(fields, field{"lines", s.runLines()}, field{"content_bytes", max(0, run.content+int64(s.log.pos.content))})
	if j.DriverExitCode != nil && status {
		fields = append(fields, field{"driver_exit_code", int64(*j.DriverExitCode)})
	}
	if status && j.Status == ray.JobFailed {
		fields = append(fields, words("status_message", firstWords(j.Message)), words("error_type", firstWords(j.ErrorType)))
	}
	if complete {
		fields = append(fields, words("head_log", s.onHead))
	}
	return s.record(EventEnd, message, append(fields, field{"complete", complete && !run.gap})...)
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
