package tail

import (
	"context"
	"errors"
	"time"

	"raytap/shipper/checkpoint"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/record"
)

// replaced begins a new epoch, once session and run were found to be as before.
func (t *Tail) replaced(ctx context.Context) error {
	session, err := t.cl.CurrentSession(ctx, t.job.session)
	switch {
	case err != nil:
		return nil // asked again with the next read
	case session != t.job.session:
		return ErrSessionOver
	}
	if j, err := t.cl.api.Job(ctx, t.job.current().SubmissionID); err == nil && !checkpoint.SameRun(j.Start, t.job.started) {
		return ErrRunReplaced
	}
	p := t.p
	if p.log.Unverified {
		p.log.Ambiguous = true
		gap := p.gapEvent("the log repeats itself, and a place in it was mistaken: lines between the last one that is sure and the last one may be missing")
		return p.newEpoch(ctx, *p.log.LastVerified, "the log is read again from the last place that is sure", gap)
	}
	gap := p.gapEvent("the log was replaced or truncated: what it held after the last line is lost")
	return p.newEpoch(ctx, lines.Start(), "the log was replaced or truncated: it is read from its start", gap)
}

// finish writes the last events of a tail that is over because of err.
func (t *Tail) finish(ctx context.Context, err error) error {
	defer t.slots.Ended(t.job.key)
	p := t.p
	if p.reopening {
		return t.finishReopening(ctx, err)
	}
	known := runEnd{status: true}
	switch {
	case errors.Is(err, errComplete):
		p.log.AtEnd, p.log.Checks, t.headLog = true, 0, t.findHeadLog(ctx)
		return p.commitEvents(ctx, true, p.endEvent("the log was read to its end", runEnd{status: true, complete: true, headLog: t.headLog}))
	case errors.Is(err, errNotStarted):
		p.log.AtEnd, p.log.Checks = true, 0
		return p.commitEvents(ctx, true, p.endEvent("the job ended before it had a log", runEnd{status: true, complete: true}))
	case errors.Is(err, errUnproven):
		return p.commitEvents(ctx, true, p.endEvent(err.Error(), known))
	case errors.Is(err, ErrRunReplaced):
		return p.commitEvents(ctx, true, p.endEvent(otherStart, runEnd{}))
	case errors.Is(err, ErrSessionOver):
		return p.commitEvents(ctx, true, p.gapEvent(err.Error()), p.endEvent(err.Error(), known))
	case errors.Is(err, errLost):
		if err := p.commitEvents(ctx, false, p.gapEvent(err.Error())); err != nil {
			return err
		}
		t.waitStatus(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return p.commitEvents(ctx, true, p.endEvent(err.Error(), known))
	}
	return nil // ended by a limit, which was reported; or the output is closed
}

// finishReopening ends a tail that was to read on after the end and got no further line.
func (t *Tail) finishReopening(ctx context.Context, err error) error {
	if errors.Is(err, errLost) || errors.Is(err, ErrSessionOver) {
		return t.p.commitEvents(ctx, true, t.p.gapEvent("what was printed after the end is lost: "+err.Error()))
	}
	return nil
}

// statusTicks is how many times waitStatus wakes before it stops: a process that is stopped
// meanwhile misses all but one of those that are due.
const statusTicks = 20

// waitStatus gives a lost job's status some time to become terminal: Ray leaves a job
// RUNNING for a while, or indefinitely, after its node died.
func (t *Tail) waitStatus(ctx context.Context) {
	tick := time.NewTicker(max(t.cl.opts.LostAfter/statusTicks, time.Millisecond))
	defer tick.Stop()
	for left := statusTicks; left > 0 && !t.job.terminalAt.IsSet(); {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			left--
		case <-t.job.wake:
		}
	}
}

// runEnd is what an end event says besides the counts.
type runEnd struct {
	status   bool // the job's status is that of this run
	complete bool // the log was read to its end
	headLog  string
}

// runLines returns how many lines the run has had so far, over all of its epochs.
func (p *pipeline) runLines() int64 { return max(0, p.log.Tally.Lines+int64(p.nextLine())) }

// textField is a field of a text, absent where that is empty.
func textField(key, text string) record.Field {
	if text == "" {
		return record.Field{Key: key}
	}
	return record.Field{Key: key, Value: text}
}

// endEvent makes the event of a run's end.
func (p *pipeline) endEvent(message string, end runEnd) checkpoint.PendingEvent {
	p.drop()
	j := p.job.current()
	// Ray does not report how a run ended once another one has taken its id.
	status := end.status && (j.Status.Terminal() || !p.job.superseded.Load())
	fields := []record.Field{}
	if status && j.Status != "" {
		fields = append(fields, record.Field{Key: "status", Value: string(j.Status)})
	}
	run := &p.log.Tally
	fields = append(fields, record.Field{Key: "lines", Value: p.runLines()}, record.Field{Key: "content_bytes", Value: max(0, run.Content+int64(p.log.Pos.Content))})
	if j.DriverExitCode != nil && status {
		fields = append(fields, record.Field{Key: "driver_exit_code", Value: int64(*j.DriverExitCode)})
	}
	if status && j.Status == ray.JobFailed {
		fields = append(fields, textField("status_message", firstBytes(j.Message)), textField("error_type", firstBytes(j.ErrorType)))
	}
	if end.complete {
		fields = append(fields, textField("head_log", end.headLog))
	}
	return p.newEvent(record.EventEnd, message, append(fields, record.Field{Key: "complete", Value: end.complete && !run.Gap})...)
}
