package tail

import (
	"context"
	"errors"
	"time"

	"raytap/shipper/aggregate"
	"raytap/shipper/checkpoint"
	"raytap/shipper/slots"
	"raytap/shipper/writer"

	"raytap/lines"
	"raytap/shipper/record"
)

// pipeline converts a log's bytes to records: chunk, verified chunk, lines, aggregated
// lines, batch. It owns the log's state. Not safe for concurrent use.
type pipeline struct {
	cl     *Cluster
	job    *job
	health *health
	slots  *slots.Slots
	log    *checkpoint.Log

	enc       *record.Encoder
	limiter   Limiter
	agg       *aggregate.Aggregator // nil if no lines are aggregated
	split     *lines.Splitter       // nil between reads
	reserved  int                   // memory acquired for the partial line (bytes)
	batch     *writer.Batch         // nil if there is nothing to write
	skipped   uint64                // lines omitted since the last record
	now       int64                 // when the current bytes were read, Unix nanoseconds
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
	p := &pipeline{cl: cl, job: j, health: h, slots: s, log: log, limiter: Limiter{Limits: cl.opts.Limits}, skipped: log.Skipped}
	p.agg = aggregate.New(cl.opts.Aggregate, cl.opts.Limits.MaxMessageSize, p)
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
	p.enc = record.NewEncoder(record.Options{
		Cluster: o.Cluster, Session: p.job.session, SubmissionID: j.SubmissionID, JobID: j.JobID, JobName: j.Name(),
		Labels: o.Record.Labels, Metadata: metadata, ClusterLabels: o.Record.ClusterLabels,
		LineTime: o.Record.LineTime, Location: o.Record.Location, StripANSI: o.Record.StripANSI,
		Relayed: o.Record.Relayed, Structured: o.Record.Structured,
	})
	p.enc.SetEpoch(p.log.Epoch)
	p.enc.SetLastTime(p.log.LastTime)
}

// begin starts to read with a splitter.
func (p *pipeline) begin(s *lines.Splitter) {
	p.drop()
	p.split = s
	if p.agg != nil {
		p.agg.Begin(s)
	}
}

// splitLines consumes the next bytes of the log. It passes only full batches to the
// writer; flush passes the rest.
func (p *pipeline) splitLines(ctx context.Context, b []byte) error {
	s := p.split
	s.Write(b)
	for {
		size, ok := s.Next()
		p.releasePartial(s)
		if err := p.reservePartial(ctx, s.Need()); err != nil {
			return err
		}
		if !ok {
			s.Keep()
			return nil
		}
		if err := p.admit(ctx, s, size); err != nil {
			return err
		}
		if err := p.consume(ctx, s.Line()); err != nil {
			return err
		}
	}
}

// flushPartial writes the partial line, if there is one, as the log's last line: the run
// has ended.
func (p *pipeline) flushPartial(ctx context.Context) error {
	s := p.split
	if size, ok := s.Flush(); ok {
		if err := p.admit(ctx, s, size); err != nil {
			return err
		}
		err := p.consume(ctx, s.Line())
		s.Drop()
		p.releasePartial(s)
		if err != nil {
			return err
		}
	}
	if err := p.flushPending(ctx); err != nil {
		return err
	}
	return p.flush(ctx)
}

// admit checks a line against the limits, and makes room for its record. It is called
// before the line is consumed, while the position is still before it.
func (p *pipeline) admit(ctx context.Context, s *lines.Splitter, size int64) error {
	if p.reopening {
		if err := p.reopen(ctx); err != nil {
			return err
		}
	}
	end := s.Content() + uint64(size)
	for p.limiter.bounds() && end > p.log.Admitted { // a line that is read again is not new
		exceeded := p.limiter.Admit(size, time.Unix(0, p.now))
		if exceeded == "" {
			break
		}
		if err := p.hitLimit(ctx, exceeded); err != nil {
			return err
		}
		p.now = time.Now().UnixNano()
	}
	p.log.Admitted = max(p.log.Admitted, end)
	return p.ensureBatch(ctx)
}

// consume writes the next line, or passes it to the aggregator.
func (p *pipeline) consume(ctx context.Context, l lines.Line) error {
	switch known := len(p.log.Written) > 0 && l.Seq < p.log.Written[p.log.Epoch]; {
	case p.agg == nil && known:
		return nil // the sink has it from before a crash
	case p.agg == nil:
		return p.write(ctx, l, p.now)
	case known:
		p.agg.Pass(l)
		return nil
	}
	return p.agg.Add(ctx, l, p.now)
}

// write appends a record to the batch. now is when its first line was read (Unix
// nanoseconds).
func (p *pipeline) write(ctx context.Context, l lines.Line, now int64) error {
	if l.Truncated() {
		p.cl.Metrics.Oversized().Inc()
		if p.cl.opts.Limits.DropOversized {
			p.skip()
			return nil
		}
	}
	b := p.batch
	if len(b.Buf)+len(l.Text)+writer.RecordRoom > cap(b.Buf) {
		p.cl.out.Grow(b, len(l.Text)+writer.RecordRoom)
	}
	b.Buf = p.stepBack(b.Buf, now, l.Seq)
	b.Buf = p.enc.AppendLine(b.Buf, now, l, p.skipped)
	b.Records++
	p.skipped = 0
	if len(b.Buf) >= writer.BatchSize {
		return p.flush(ctx)
	}
	return nil
}

// skip counts a line that is not written. The next record reports it.
func (p *pipeline) skip() {
	p.cl.Metrics.Skipped().Inc()
	p.skipped++
}

// ensureBatch gets a batch if there is none.
func (p *pipeline) ensureBatch(ctx context.Context) error {
	if p.batch != nil {
		return nil
	}
	b, err := p.cl.out.Batch(ctx, p.hasPending())
	p.batch = b
	return err
}

// flush passes the batch, if there is one, to the writer. The log's position is then after
// the last line that was consumed and is not pending.
func (p *pipeline) flush(ctx context.Context) error {
	moved := p.split != nil && p.released() != p.log.Pos.Lines
	b := p.batch
	if b == nil && !moved {
		return nil
	}
	p.batch = nil
	if b == nil {
		b = &writer.Batch{} // all lines were skipped
	}
	next := p.log.State
	if moved {
		next.Pos = p.position()
		next.Gen = p.progress.files.Generation(next.Pos, next.Gen)
	}
	next.LastTime, next.Skipped = p.enc.LastTime(), p.skipped
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

// released returns how many lines of the log were consumed and are not pending.
func (p *pipeline) released() uint64 {
	if p.agg != nil {
		return p.agg.Lines
	}
	return p.split.Lines()
}

// position returns the position after the released lines.
func (p *pipeline) position() lines.Position {
	if p.agg != nil {
		return p.agg.Position()
	}
	return p.split.Position()
}

// reached returns how many content bytes were read, those of the partial line
// included.
func (p *pipeline) reached() uint64 { return p.split.Reached() }

// drop discards the splitter, the partial line and the batch: what was not flushed is read
// again from the position.
func (p *pipeline) drop() {
	if p.split != nil {
		p.split.Drop()
		p.releasePartial(p.split)
		p.split = nil
	}
	if p.agg != nil {
		p.agg.Drop()
	}
	if p.batch != nil {
		p.cl.out.Free(p.batch)
		p.batch = nil
	}
	p.skipped = p.log.Skipped
	p.progress.files = checkpoint.FileProgress{}
}

// reservePartial acquires memory for n more bytes of a partial line. It flushes the batch
// first, so that it holds nothing that others wait for.
func (p *pipeline) reservePartial(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	if err := p.Reserve(ctx, n); err != nil {
		return err
	}
	p.reserved += n
	return nil
}

// releasePartial releases the memory that the splitter does not use any more.
func (p *pipeline) releasePartial(s *lines.Splitter) {
	if n := p.reserved - s.Buffered(); n > 0 {
		p.reserved -= n
		p.Release(n)
	}
}

// Reserve acquires memory for n bytes of pending lines. Reserve, Release, Ensure, Emit and
// Skip make the pipeline the Emitter of its aggregator.
func (p *pipeline) Reserve(ctx context.Context, n int) error {
	if err := p.flush(ctx); err != nil {
		return err
	}
	err := p.cl.out.Memory.Acquire(ctx, int64(n), true, p.hasPending())
	if errors.Is(err, writer.ErrMemoryPressure) {
		p.notePartialDropped()
	}
	return err
}

// Release releases memory for n bytes.
func (p *pipeline) Release(n int) { p.cl.out.Memory.Release(int64(n), true) }

// notePartialDropped counts partial or pending lines that are dropped for lack of memory.
func (p *pipeline) notePartialDropped() {
	p.cl.Metrics.PartialDropped().Inc()
}

// Ensure gets a batch if there is none.
func (p *pipeline) Ensure(ctx context.Context) error { return p.ensureBatch(ctx) }

// Emit appends a record to the batch.
func (p *pipeline) Emit(ctx context.Context, l lines.Line, now int64) error {
	return p.write(ctx, l, now)
}

// Skip counts a line that is not written.
func (p *pipeline) Skip() { p.skip() }

// hasPending reports whether a partial line or pending lines use memory that others may
// wait for.
func (p *pipeline) hasPending() bool {
	return p.split != nil && (p.split.Buffered() > 0 || p.agg != nil && p.agg.Reserved())
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
	if !p.hasPending() {
		return nil
	}
	p.notePartialDropped()
	return writer.ErrMemoryPressure
}

// flushPending writes the lines that are pending in the aggregator.
func (p *pipeline) flushPending(ctx context.Context) error {
	if p.agg == nil || p.split == nil {
		return nil
	}
	return p.agg.Flush(ctx)
}

// pendingDeadline returns a channel that receives when flushExpired has something to do;
// nil if there is nothing pending.
func (p *pipeline) pendingDeadline() <-chan time.Time {
	if p.agg == nil {
		return nil
	}
	at, ok := p.agg.Due()
	if !ok {
		return nil
	}
	return time.After(time.Until(at))
}

// flushExpired writes the lines that have been pending for long enough. idle: a read
// returned nothing new.
func (p *pipeline) flushExpired(ctx context.Context, idle bool) error {
	if err := p.agg.Expire(ctx, time.Now(), idle); err != nil {
		return err
	}
	return p.flush(ctx)
}

// endPoll writes pending lines, if they are due, after one of several polls of a log.
func (p *pipeline) endPoll(ctx context.Context) error {
	if p.agg == nil || p.agg.Empty() {
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
		return p.flushPartial(ctx)
	}
	if err := p.endPoll(ctx); err != nil {
		return err
	}
	return p.flush(ctx)
}
