package tail

import (
	"context"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/convert"
	"raytap/shipper/slots"
	"raytap/shipper/writer"

	"raytap/lines"
	"raytap/shipper/record"
)

// pipeline converts a log's bytes to records: chunk, verified chunk, lines, aggregated
// lines, batch. It owns the log's state. Not safe for concurrent use.
type pipeline struct {
	*convert.Pipeline
	cl     *Cluster
	job    *job
	health *health
	slots  *slots.Slots
	log    *checkpoint.Log

	limiter   Limiter
	progress  progress
	reopening bool // the run's end is written; the next line continues the run
}

// progress is what the reads have returned.
type progress struct {
	grew      bool   // the current attempt has returned new content
	pendingAt uint64 // content bytes read when a poll last left lines pending
	files     checkpoint.FileProgress
}

func newPipeline(cl *Cluster, j *job, h *health, s *slots.Slots, log *checkpoint.Log) *pipeline {
	p := &pipeline{cl: cl, job: j, health: h, slots: s, log: log, limiter: Limiter{Limits: cl.opts.Limits}}
	p.Pipeline = convert.New(p, cl.out, cl.Metrics, convert.Options{
		Aggregate: cl.opts.Aggregate, MaxMessageSize: cl.opts.Limits.MaxMessageSize, DropOversized: cl.opts.Limits.DropOversized,
	})
	p.Skipped = log.Skipped
	p.setEncoder()
	return p
}

// setEncoder sets the encoder to the job as it is now.
func (p *pipeline) setEncoder() {
	j, o := p.job.current(), &p.cl.opts
	metadata := map[string]string{}
	for _, key := range o.Record.Metadata {
		if v, ok := j.Metadata[key]; ok {
			metadata[key] = v
		}
	}
	p.Enc = record.NewEncoder(record.Options{
		Cluster: o.Cluster, Session: p.job.session, SubmissionID: j.SubmissionID, JobID: j.JobID, JobName: j.Name(),
		Labels: o.Record.Labels, Metadata: metadata, ClusterLabels: o.Record.ClusterLabels,
		LineTime: o.Record.LineTime, Location: o.Record.Location, StripANSI: o.Record.StripANSI,
		Relayed: o.Record.Relayed, Structured: o.Record.Structured,
	})
	p.Enc.SetEpoch(p.log.Epoch)
	p.Enc.SetLastTime(p.log.LastTime)
}

// begin starts to read with a splitter.
func (p *pipeline) begin(s *lines.Splitter) {
	p.drop()
	p.Begin(s)
}

// Admit implements convert.Log: it checks a line against the limits, and makes room for its
// record.
func (p *pipeline) Admit(ctx context.Context, size int64) error {
	if p.reopening {
		if err := p.reopen(ctx); err != nil {
			return err
		}
	}
	end := p.Split.Content() + uint64(size)
	for p.limiter.bounds() && end > p.log.Admitted { // a line that is read again is not new
		exceeded := p.limiter.Admit(size, time.Unix(0, p.Now))
		if exceeded == "" {
			break
		}
		if err := p.hitLimit(ctx, exceeded); err != nil {
			return err
		}
		p.Now = time.Now().UnixNano()
	}
	p.log.Admitted = max(p.log.Admitted, end)
	return p.Ensure(ctx)
}

// Consume implements convert.Log.
func (p *pipeline) Consume(ctx context.Context, l lines.Line) error {
	if len(p.log.Written) > 0 && l.Seq < p.log.Written[p.log.Epoch] {
		p.Pass(l) // the sink has it from before a crash
		return nil
	}
	return p.Add(ctx, l)
}

// Before implements convert.Log.
func (p *pipeline) Before(b []byte, now int64, seq uint64) []byte { return p.stepBack(b, now, seq) }

// Moved implements convert.Log.
func (p *pipeline) Moved() bool { return p.Split != nil && p.Released() != p.log.Pos.Lines }

// Put implements convert.Log. The log's position is then after the last released line.
func (p *pipeline) Put(ctx context.Context, b *writer.Batch) error {
	moved, next := p.Moved(), p.log.State
	if moved {
		next.Pos = p.position()
		next.Gen = p.progress.files.Generation(next.Pos, next.Gen)
	}
	next.LastTime, next.Skipped = p.Enc.LastTime(), p.Skipped
	b.Entry, b.Next = p.log.Entry, next
	if err := p.cl.out.Put(ctx, b); err != nil {
		p.drop() // the lines are read again from the position
		return err
	}
	if moved {
		p.cl.Metrics.Lines().Add(float64(next.Pos.Lines - p.log.Pos.Lines))
		p.progress.files.Left = 0
	}
	p.log.State = next
	return nil
}

// position returns the position after the released lines.
func (p *pipeline) position() lines.Position {
	if p.Agg != nil {
		return p.Agg.Position()
	}
	return p.Split.Position()
}

// reached returns how many content bytes were read, those of the partial line
// included.
func (p *pipeline) reached() uint64 { return p.Split.Reached() }

// drop discards what was not flushed: it is read again from the position.
func (p *pipeline) drop() {
	p.Drop()
	p.Skipped = p.log.Skipped
	p.progress.files = checkpoint.FileProgress{}
}

// underPressure reports whether memory is exhausted.
func (p *pipeline) underPressure() bool {
	select {
	case <-p.cl.out.Memory.Pressure():
		return true
	default:
		return false
	}
}

// yieldMemory returns writer.ErrMemoryPressure, which ends the read, if there is a partial
// line or pending lines to drop. It is called while memory is exhausted.
func (p *pipeline) yieldMemory() error {
	if !p.HasPending() {
		return nil
	}
	p.cl.Metrics.PartialDropped().Inc()
	return writer.ErrMemoryPressure
}

// pendingDeadline returns a channel that receives when flushExpired has something to do;
// nil if there is nothing pending.
func (p *pipeline) pendingDeadline() <-chan time.Time {
	if p.Agg == nil {
		return nil
	}
	at, ok := p.Agg.Due()
	if !ok {
		return nil
	}
	return time.After(time.Until(at))
}

// flushExpired writes the lines that have been pending for long enough. idle: a read
// returned nothing new.
func (p *pipeline) flushExpired(ctx context.Context, idle bool) error {
	if err := p.Agg.Expire(ctx, time.Now(), idle); err != nil {
		return err
	}
	return p.Flush(ctx)
}

// endPoll writes pending lines, if they are due, after one of several polls of a log.
func (p *pipeline) endPoll(ctx context.Context) error {
	if p.Agg == nil || p.Agg.Empty() {
		return nil
	}
	at := p.reached()
	idle := p.progress.pendingAt == at
	p.progress.pendingAt = at
	return p.flushExpired(ctx, idle)
}

// endRead flushes after a read that has reached the current end of the log. ended: the run
// is over, so that the last line needs no line end.
func (p *pipeline) endRead(ctx context.Context, ended bool) error {
	if ended {
		return p.FlushPartial(ctx)
	}
	if err := p.endPoll(ctx); err != nil {
		return err
	}
	return p.Flush(ctx)
}
