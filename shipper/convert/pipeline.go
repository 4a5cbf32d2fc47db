// Package convert turns the bytes of a log into batches of records: lines, limits and memory,
// joined lines, records. Driver logs (package tail) and the logs of nodes (package nodelogs)
// share it. What differs between them is a Log.
package convert

import (
	"context"
	"errors"

	"raytap/shipper/aggregate"
	"raytap/shipper/metrics"
	"raytap/shipper/writer"

	"raytap/lines"
	"raytap/shipper/record"
)

// Log is one log: its state and its limits. A Pipeline calls it.
type Log interface {
	// Admit is called before a line of size bytes is consumed, while the position is still
	// before it. It returns an error if the line is not to be read now.
	Admit(ctx context.Context, size int64) error
	// Consume passes a line to Add or Pass, or skips it.
	Consume(ctx context.Context, l lines.Line) error
	// Before is called before the record of line seq is appended to b. It may append other
	// records first. now is when the line was read (Unix nanoseconds).
	Before(b []byte, now int64, seq uint64) []byte
	// Moved reports whether the position behind the released lines is another one than that
	// of the last Put.
	Moved() bool
	// Put passes a batch to the writer, with the state behind the released lines. After an
	// error these lines have to be read again.
	Put(ctx context.Context, b *writer.Batch) error
}

// Options say how lines become records.
type Options struct {
	Aggregate      aggregate.Options
	MaxMessageSize int  // bytes of a joined message
	DropOversized  bool // skip truncated lines
}

// Pipeline converts the bytes of one log. Between reads it holds no line. A line that was
// consumed is released once its record is in a batch, or it is known that it has none; the
// position is after the last released line. Make it with New. Not safe for concurrent use.
type Pipeline struct {
	Enc     *record.Encoder       // set it before the first line
	Split   *lines.Splitter       // nil between reads
	Agg     *aggregate.Aggregator // nil if no lines are joined or thinned out
	Skipped uint64                // lines omitted since the last record
	Now     int64                 // when the current bytes were read, Unix nanoseconds

	log           Log
	out           *writer.Writer
	metrics       *metrics.Cluster
	dropOversized bool
	batch         *writer.Batch // nil if there is nothing to write
	reserved      int           // memory acquired for the partial line (bytes)
}

// New returns a Pipeline. It holds nothing yet.
func New(log Log, out *writer.Writer, m *metrics.Cluster, o Options) *Pipeline {
	p := &Pipeline{log: log, out: out, metrics: m, dropOversized: o.DropOversized}
	p.Agg = aggregate.New(o.Aggregate, o.MaxMessageSize, p)
	return p
}

// Begin starts to read with a splitter. Drop comes before it, if there was a read.
func (p *Pipeline) Begin(s *lines.Splitter) {
	p.Split = s
	if p.Agg != nil {
		p.Agg.Begin(s)
	}
}

// Drop discards the splitter, the partial line, pending lines and the batch: what was not
// flushed is read again from the position.
func (p *Pipeline) Drop() {
	p.DropPartial()
	p.Split = nil
	if p.Agg != nil {
		p.Agg.Drop()
	}
	if p.batch != nil {
		p.out.Free(p.batch)
		p.batch = nil
	}
}

// DropPartial discards the partial line.
func (p *Pipeline) DropPartial() {
	if p.Split != nil {
		p.Split.Drop()
		p.releasePartial(p.Split)
	}
}

// SplitLines consumes the next bytes of the log. It passes only full batches to the
// writer; Flush passes the rest.
func (p *Pipeline) SplitLines(ctx context.Context, b []byte) error {
	s := p.Split
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
		if err := p.log.Admit(ctx, size); err != nil {
			return err
		}
		if err := p.log.Consume(ctx, s.Line()); err != nil {
			return err
		}
	}
}

// FlushPartial writes the partial line, if there is one, as the log's last line, and then
// all that is pending: nothing follows.
func (p *Pipeline) FlushPartial(ctx context.Context) error {
	s := p.Split
	if size, ok := s.Flush(); ok {
		if err := p.log.Admit(ctx, size); err != nil {
			return err
		}
		err := p.log.Consume(ctx, s.Line())
		s.Drop()
		p.releasePartial(s)
		if err != nil {
			return err
		}
	}
	if err := p.FlushPending(ctx); err != nil {
		return err
	}
	return p.Flush(ctx)
}

// Add writes the next line, or passes it to the aggregator.
func (p *Pipeline) Add(ctx context.Context, l lines.Line) error {
	if p.Agg == nil {
		return p.Emit(ctx, l, p.Now)
	}
	return p.Agg.Add(ctx, l, p.Now)
}

// Pass releases the next line without a record. No line may be pending.
func (p *Pipeline) Pass(l lines.Line) {
	if p.Agg != nil {
		p.Agg.Pass(l)
	}
}

// Released returns how many lines of the log are released.
func (p *Pipeline) Released() uint64 {
	if p.Agg != nil {
		return p.Agg.Lines
	}
	return p.Split.Lines()
}

// FlushPending writes the lines that are pending in the aggregator.
func (p *Pipeline) FlushPending(ctx context.Context) error {
	if p.Agg == nil || p.Split == nil {
		return nil
	}
	return p.Agg.Flush(ctx)
}

// Append appends a record to the batch. Ensure comes before it.
func (p *Pipeline) Append(r []byte) {
	p.batch.Buf = append(p.batch.Buf, r...)
	p.batch.Records++
}

// Flush passes the batch, if there is one, to the writer, or the position alone, if that has
// moved.
func (p *Pipeline) Flush(ctx context.Context) error {
	b := p.batch
	if b == nil {
		if !p.log.Moved() {
			return nil
		}
		b = &writer.Batch{} // all lines were skipped
	}
	p.batch = nil
	return p.log.Put(ctx, b)
}

// HasPending reports whether a partial line or pending lines use memory that others may
// wait for.
func (p *Pipeline) HasPending() bool {
	return p.Split != nil && (p.Split.Buffered() > 0 || p.Agg != nil && p.Agg.Reserved())
}

// reservePartial acquires memory for n more bytes of a partial line. It flushes the batch
// first, so that it holds nothing that others wait for.
func (p *Pipeline) reservePartial(ctx context.Context, n int) error {
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
func (p *Pipeline) releasePartial(s *lines.Splitter) {
	if n := p.reserved - s.Buffered(); n > 0 {
		p.reserved -= n
		p.Release(n)
	}
}

// Reserve acquires memory for n bytes of pending lines. Reserve, Release, Ensure, Emit and
// Skip make the pipeline the Emitter of its aggregator.
func (p *Pipeline) Reserve(ctx context.Context, n int) error {
	if err := p.Flush(ctx); err != nil {
		return err
	}
	err := p.out.Memory.Acquire(ctx, int64(n), true, p.HasPending())
	if errors.Is(err, writer.ErrMemoryPressure) {
		p.metrics.PartialDropped().Inc()
	}
	return err
}

// Release releases memory for n bytes.
func (p *Pipeline) Release(n int) { p.out.Memory.Release(int64(n), true) }

// Ensure gets a batch if there is none.
func (p *Pipeline) Ensure(ctx context.Context) error {
	if p.batch != nil {
		return nil
	}
	b, err := p.out.Batch(ctx, p.HasPending())
	p.batch = b
	return err
}

// Emit appends the record of a line to the batch. now is when its first line was read (Unix
// nanoseconds). Ensure comes before it.
func (p *Pipeline) Emit(ctx context.Context, l lines.Line, now int64) error {
	if l.Truncated() {
		p.metrics.Oversized().Inc()
		if p.dropOversized {
			p.Skip()
			return nil
		}
	}
	b := p.batch
	if len(b.Buf)+len(l.Text)+writer.RecordRoom > cap(b.Buf) {
		p.out.Grow(b, len(l.Text)+writer.RecordRoom)
	}
	b.Buf = p.log.Before(b.Buf, now, l.Seq)
	b.Buf = p.Enc.AppendLine(b.Buf, now, l, p.Skipped)
	b.Records++
	p.Skipped = 0
	if len(b.Buf) >= writer.BatchSize {
		return p.Flush(ctx)
	}
	return nil
}

// Skip counts a line that is not written. The next record reports it.
func (p *Pipeline) Skip() {
	p.metrics.Skipped().Inc()
	p.Skipped++
}
