package tail

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/lines"
	"raytap/shipper/checkpoint"
	"raytap/shipper/record"
)

// event writes an event record. After a crash it may be written again; commitEvents writes
// events exactly once.
func (p *pipeline) event(ctx context.Context, event, message string, fields ...record.Field) error {
	if err := p.Ensure(ctx); err != nil {
		return err
	}
	p.Append(p.newEvent(event, message, fields...).Record)
	return p.Flush(ctx)
}

// nextLine returns the seq of the next line in the sink. After a crash the sink may have
// lines after the position.
func (p *pipeline) nextLine() uint64 {
	n := p.log.Pos.Lines
	if p.Split != nil {
		n = p.Released()
	}
	return max(n, p.log.Written[p.log.Epoch])
}

// newEvent returns an event record with the seq of the next line.
func (p *pipeline) newEvent(event, message string, fields ...record.Field) checkpoint.PendingEvent {
	seq := p.nextLine()
	now := time.Now().UnixNano()
	r := p.stepBack(nil, now, seq)
	r = p.Enc.AppendEvent(r, now, record.Event{Type: event, Seq: seq, Message: message, Skipped: p.Skipped, Fields: fields})
	p.Skipped, p.log.Skipped = 0, 0
	p.cl.Metrics.Events(event).Inc()
	return checkpoint.PendingEvent{Event: event, Epoch: p.Enc.Epoch(), Seq: seq, Record: r}
}

// commitEvents writes events exactly once, even if the process is killed: it first saves
// them as pending, together with the log's new state, and then writes them. done: they end
// the run. That is the tail's own run; or the one before, if that has no end event yet.
func (p *pipeline) commitEvents(ctx context.Context, done bool, events ...checkpoint.PendingEvent) error {
	// They are pending from the first save on, since the lines that an event reports as
	// skipped are counted nowhere else.
	for _, e := range events {
		if !slices.ContainsFunc(p.log.Found, e.Is) { // the sink has it from before a crash
			p.log.Pending = append(p.log.Pending, e)
		}
	}
	if err := p.Flush(ctx); err != nil {
		return err
	}
	p.log.LastTime = p.Enc.LastTime()
	if !p.leftOpen() {
		p.log.Run = *p.job.current()
	}
	if err := p.cl.out.Checkpoint(ctx, p.log.Entry, p.log.State); err != nil {
		return err
	}
	return p.writePending(ctx, done)
}

// writePending writes the pending events. done: they end the run.
func (p *pipeline) writePending(ctx context.Context, done bool) error {
	if err := p.Ensure(ctx); err != nil {
		return err
	}
	for _, o := range p.log.Pending {
		p.Append(o.Record)
	}
	p.log.Pending = nil
	p.log.Done = p.log.Done || done
	return p.Flush(ctx)
}

// replayPending writes the events that an earlier process has left pending. over: the
// run's end is written, now or before.
func (p *pipeline) replayPending(ctx context.Context) (over bool, err error) {
	same := checkpoint.SameRun(p.log.Run.Start, p.job.started)
	if len(p.log.Pending) > 0 {
		done := slices.ContainsFunc(p.log.Pending, func(o checkpoint.PendingEvent) bool {
			return o.Event == record.EventEnd || o.Event == record.EventLimit
		})
		if err := p.writePending(ctx, done); err != nil {
			return false, err
		}
	}
	return same && p.log.Done, nil
}

// leftOpen reports whether the log's last run is another than the tail's, and has no end
// event yet.
func (p *pipeline) leftOpen() bool {
	return p.log.Begun && !p.log.Done && !checkpoint.SameRun(p.log.Run.Start, p.job.started)
}

// start writes the start event of the run, unless the sink has it. Before that it writes
// the end event of the run before, if that has none.
func (p *pipeline) start(ctx context.Context) error {
	j := *p.job.current()
	if p.leftOpen() {
		// Another run has started while raytap was down.
		if err := p.commitEvents(ctx, true, p.endEvent(otherStart, runEnd{})); err != nil {
			return err
		}
	}
	if p.log.Node != "" && p.log.Node != j.DriverNodeID {
		// On another node the log is another file.
		p.log.Restart(lines.Start(), checkpoint.Generation{Oldest: true})
	}
	p.log.Node = j.DriverNodeID
	p.setEncoder()
	start := j.Start.UTC().Format(time.RFC3339Nano)
	found := slices.IndexFunc(p.log.Found, func(e checkpoint.FoundEvent) bool { return e.Event == record.EventStart && e.Start == start })
	p.log.Found = p.log.Found[found+1:] // those before it are of another run
	if p.log.Begun && checkpoint.SameRun(p.log.Run.Start, j.Start) || found >= 0 {
		p.log.Run, p.log.Begun, p.log.Done, p.log.AtEnd = j, true, false, false
		return nil
	}
	p.log.Found = nil
	p.log.BeginRun(p.nextLine())
	p.log.Run, p.log.Begun, p.log.Done, p.log.AtEnd = j, true, false, false
	ip := ""
	if u, err := url.Parse(j.DriverAgentURL); err == nil {
		ip = u.Hostname()
	}
	fields := []record.Field{{Key: "node_id", Value: j.DriverNodeID}, {Key: "node_ip", Value: ip}}
	if !j.Start.IsZero() {
		fields = append(fields, record.Field{Key: "start_time", Value: start})
	}
	return p.event(ctx, record.EventStart, fmt.Sprintf("shipping the log of job %s", j.SubmissionID), fields...)
}

// newEpoch starts an epoch at a position that the current log has, in a file of it. before
// are written first: the gap, if there is one.
func (p *pipeline) newEpoch(ctx context.Context, at lines.Position, in checkpoint.Generation, message string, before ...checkpoint.PendingEvent) error {
	p.log.LeaveEpoch(p.nextLine(), at)
	p.log.Restart(at, in)
	p.Enc.SetEpoch(p.log.Epoch)
	p.job.logger().WithFields(logrus.Fields{"epoch": p.log.Epoch, "reason": message}).Warn("New epoch")
	return p.commitEvents(ctx, false, append(before, p.newEvent(record.EventEpoch, message))...)
}

// gapEvent returns the event of a loss, with the number of lost bytes if that is known. It
// drops what was not flushed.
func (p *pipeline) gapEvent(message string) checkpoint.PendingEvent {
	p.drop()
	// Before the first line of the run, what was lost belongs to other runs.
	p.log.Tally.Gap = p.log.Tally.Gap || p.runLines() > 0
	p.cl.Metrics.Gaps().Inc()
	f := record.Field{Key: "at_least"}
	log := p.job.logger().WithField("reason", message)
	if n := p.log.Size - p.log.Pos.Raw; p.log.Pos.Raw >= 0 && n > 1 {
		f.Value = n
		log = log.WithField("at_least_bytes", n)
	}
	log.Warn("Lines lost")
	return p.newEvent(record.EventGap, message, f)
}

// reopen writes the event that the log continues after its end event, before the first new
// line.
func (p *pipeline) reopen(ctx context.Context) error {
	p.reopening = false
	p.log.Done, p.log.AtEnd, p.log.Checks = false, false, 0
	p.job.logger().Info("Log has grown after the end of its run")
	if err := p.Flush(ctx); err != nil {
		return err
	}
	return p.commitEvents(ctx, false, p.newEvent(record.EventReopened, "the log has grown after the end of the run: reading continues"))
}

// hitLimit writes the event of a limit. If the limit pauses the tail, it waits for the end
// of the interval; else it returns errLimited.
func (p *pipeline) hitLimit(ctx context.Context, limit string) error {
	p.cl.Metrics.Limits(limit).Inc()
	pause := p.limiter.Pause && p.limiter.Interval > 0
	log := p.job.logger().WithField("limit", limit)
	message := "limit " + limit + " is reached: the rest of the job's log is not shipped"
	if pause {
		interval := p.limiter.Interval.String()
		message = "limit " + limit + " is reached: reading continues after the interval of " + interval
		log.WithField("interval", interval).Warn("Stream limit reached, log paused")
	} else {
		log.Warn("Stream limit reached, log stopped")
	}
	if err := p.Flush(ctx); err != nil {
		return err
	}
	if !pause {
		return cmp.Or(p.commitEvents(ctx, true, p.newEvent(record.EventLimit, message, record.Field{Key: "limit", Value: limit})), errLimited)
	}
	if err := p.event(ctx, record.EventLimit, message, record.Field{Key: "limit", Value: limit}); err != nil {
		return err
	}
	t := time.NewTimer(p.limiter.Remaining(time.Now()))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// maxAhead is how far the times of a log's records may be ahead of raytap's clock.
const maxAhead = time.Second

// stepBack appends an event if the times of the log's records are ahead of raytap's clock by
// more than maxAhead, because the clock was set back: the next record has the clock's time
// again. now is a recent time of the clock, seq that of the next record.
func (p *pipeline) stepBack(b []byte, now int64, seq uint64) []byte {
	if p.Enc.LastTime() <= now+int64(maxAhead) {
		return b
	}
	clock := time.Now().UnixNano()
	last := p.Enc.LastTime()
	if last <= clock+int64(maxAhead) {
		return b
	}
	p.Enc.SetLastTime(0)
	ahead := time.Duration(last - clock).Round(time.Millisecond)
	message := fmt.Sprintf("the clock of raytap's host was ahead by %s: times go back once from here", ahead)
	b = p.Enc.AppendEvent(b, clock, record.Event{Type: record.EventClock, Seq: seq, Message: message, Skipped: p.Skipped})
	p.Skipped, p.log.Skipped = 0, 0
	p.job.logger().WithField("ahead", ahead.String()).Warn("Host clock was set back, record times go back once")
	p.cl.Metrics.Events(record.EventClock).Inc()
	return b
}
