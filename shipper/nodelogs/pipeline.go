package nodelogs

import (
	"cmp"
	"context"
	"errors"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/writer"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/nodelogs/names"
	"raytap/shipper/record"
	"raytap/shipper/rotation"
)

// pipeline converts the bytes of one look to records, and passes them to the writer with the
// state of the log behind them. Not safe for concurrent use.
type pipeline struct {
	l      *look
	out    *writer.Writer
	state  checkpoint.FileState  // up to the last whole line of the last chunk
	put    *checkpoint.FileState // as it was last passed to the writer; nil: never
	found  checkpoint.FoundAfter // what the sink has from before a crash
	reader *rotation.Reader

	split    *lines.Splitter
	base     int64           // raw offset, as split counts, of the last chunk
	at       int             // byte of the last chunk that the state is at; -1: state.At is set
	raw      int64           // bytes of the generation before the last chunk's end
	records  int             // lines that became records
	enc      *record.Encoder // nil before the first record
	batch    *writer.Batch   // nil if there is nothing to write
	reserved int             // memory acquired for the partial line (bytes)
	now      int64           // when the last chunk was read, Unix nanoseconds
}

func newPipeline(l *look) *pipeline {
	p := &pipeline{l: l, out: l.d.s.c.out, put: l.was.state, found: l.was.file.Found()}
	if p.put != nil {
		p.state = *p.put
	} else {
		p.state = checkpoint.FileState{Name: l.was.name, Directory: l.d.stored.ID()}
	}
	p.raw, p.at = p.state.At.Raw, -1
	p.split = p.resume()
	return p
}

// resume returns a splitter that continues at the state.
func (p *pipeline) resume() *lines.Splitter {
	return lines.Continue(p.l.d.s.c.opts.Limits.MaxMessageSize, lines.Boundary{Lines: p.state.Lines, Blank: p.state.Blank, AfterCR: p.state.AfterCR})
}

// inLine reports whether no whole line was read yet, but a part of one.
func (p *pipeline) inLine() bool {
	return p.split.Partial() > 0 && p.state.Lines == p.split.Lines() && (p.put == nil || p.state.At == p.put.At)
}

// reached returns how many content bytes of the log were read, those of the partial line
// included.
func (p *pipeline) reached() uint64 { return p.state.Content + uint64(p.split.Partial()) }

// chunk converts the next bytes.
func (p *pipeline) chunk(ctx context.Context, c rotation.Chunk) error {
	defer p.settle()
	p.now = time.Now().UnixNano()
	if c.NewGeneration {
		p.raw = 0
	}
	p.raw += int64(len(c.Data))
	if c.Lost {
		if n := p.found.Lines(p.state.Epoch); n > p.split.Lines() {
			p.state.Lines = n // the sink has lines of what is gone
		}
		p.state.Blank, p.state.AfterCR = 0, false
		p.split.Drop() // the rest of the partial line is gone
		p.releasePartial()
		p.split = p.resume()
		if err := p.lost(ctx, p.split.Lines(), p.lossReason()); err != nil {
			return err
		}
	}
	p.base = p.split.Raw()
	p.split.Write(c.Data)
	for {
		size, ok := p.split.Next()
		p.releasePartial()
		if err := p.reservePartial(ctx, p.split.Need()); err != nil {
			return err
		}
		if !ok {
			p.split.Keep()
			p.advance()
			return nil
		}
		if err := p.admit(ctx, size); err != nil {
			return err
		}
		l := p.split.Line()
		err := p.line(ctx, l)
		if err != nil {
			return err
		}
		p.state.Content += uint64(l.Size)
		p.advance()
		if p.batch != nil && len(p.batch.Buf) >= writer.BatchSize {
			if err := p.flush(ctx, false); err != nil {
				return err
			}
		}
	}
}

// advance sets the state to the last line end, if it is in the last chunk. state.At is set by
// settle.
func (p *pipeline) advance() {
	at, raw := p.split.Boundary()
	if raw < p.base {
		return // the line began in an earlier chunk
	}
	p.state.Lines, p.state.Blank, p.state.AfterCR = at.Lines, at.Blank, at.AfterCR
	p.at = int(raw - p.base)
}

// settle sets the state's position, which costs a hash of the bytes before it: once for each
// batch and each chunk, not for each line.
func (p *pipeline) settle() {
	if p.at >= 0 {
		p.state.At, p.at = p.reader.Position(p.at), -1
	}
}

// line writes a line, or applies a marker. Markers have numbers like other lines, and the
// next record counts them as skipped.
func (p *pipeline) line(ctx context.Context, l lines.Line) error {
	marker, value := names.NoMarker, ""
	if !l.Truncated() {
		marker, value = names.ParseMarker(l.Text)
	}
	if l.Seq == 0 && marker != names.JobMarker && p.put == nil && p.l.files.generations > 0 {
		// The first generation of a worker's log begins with its job.
		if err := p.lost(ctx, 0, "older generations of the log were deleted before it was found"); err != nil {
			return err
		}
	}
	if marker != names.NoMarker {
		p.mark(marker, value)
		p.skip(l.Seq)
		return nil
	}
	if l.Seq < p.found.Lines(p.state.Epoch) {
		p.state.Skipped = 0
		return p.decide() // the sink has it from before a crash
	}
	if l.Truncated() {
		p.l.d.s.c.metrics.Oversized().Inc()
		if p.l.d.s.c.opts.Limits.DropOversized {
			p.skip(l.Seq)
			return nil
		}
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	p.room(len(l.Text))
	p.batch.Buf = p.enc.AppendLine(p.batch.Buf, p.now, l, p.state.Skipped)
	p.batch.Records++
	p.records++
	p.state.Skipped, p.state.Ended, p.state.LastTime = 0, false, p.enc.LastTime()
	return nil
}

// skip counts a line that has no record. The next record reports it, unless the sink has
// that record already.
func (p *pipeline) skip(seq uint64) {
	if seq < p.found.Lines(p.state.Epoch) {
		return
	}
	p.state.Skipped++
	p.l.d.s.c.metrics.Skipped().Inc()
}

// mark applies a marker. A worker serves one job. In an actor a task's marker says nothing of
// the lines behind it: its methods may run at the same time.
func (p *pipeline) mark(marker names.Marker, value string) {
	a := &p.state.Attribution
	before := *a
	switch {
	case marker == names.JobMarker && !a.Decided:
		a.JobID = value
	case marker == names.ActorMarker:
		a.ActorName, a.TaskName = value, ""
	case marker == names.TaskMarker && a.ActorName == "":
		a.TaskName = value
	}
	if p.enc == nil || *a == before {
		return
	}
	if a.ActorName != before.ActorName { // it may be a replica of Serve
		p.enc = p.l.d.s.encoder(p.l.worker, p.state)
		return
	}
	p.enc.SetAttribution(a.ActorName, a.TaskName)
}

// begin prepares for a record: whose it is is decided, and there is an encoder and a batch.
func (p *pipeline) begin(ctx context.Context) error {
	if err := p.decide(); err != nil {
		return err
	}
	if p.enc == nil {
		p.state.LastTime = max(p.state.LastTime, p.found.LastTime())
		p.enc = p.l.d.s.encoder(p.l.worker, p.state)
	}
	if p.batch != nil {
		return nil
	}
	b, err := p.out.Batch(ctx, p.split.Buffered() > 0)
	p.batch = b
	return err
}

// decide decides the log's job, before its first record.
func (p *pipeline) decide() error {
	a := &p.state.Attribution
	if a.Decided {
		if p.l.d.s.selected(ray.Job{SubmissionID: a.SubmissionID, JobID: a.JobID}, a.JobName) {
			return nil
		}
		return errExcluded
	}
	job, node, known := p.l.attribution(a.JobID)
	if !known {
		return errWaitForJob
	}
	if !p.l.d.s.selected(job, job.Name()) {
		return errExcluded
	}
	a.Decided, a.JobID, a.SubmissionID, a.JobName = true, job.JobID, job.SubmissionID, job.Name()
	a.NodeID = node
	return nil
}

// room makes room in the batch for a record with a text of n bytes.
func (p *pipeline) room(n int) {
	if len(p.batch.Buf)+n+writer.RecordRoom > cap(p.batch.Buf) {
		p.out.Grow(p.batch, n+writer.RecordRoom)
	}
}

// event writes an event, unless the sink has it from before a crash.
func (p *pipeline) event(ctx context.Context, event string, seq uint64, message string, fields ...record.Field) error {
	if p.found.Has(event, p.state.Epoch, seq) {
		p.state.Skipped = 0
		return p.decide()
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	p.room(len(message))
	p.batch.Buf = p.enc.AppendEvent(p.batch.Buf, time.Now().UnixNano(), record.Event{
		Type: event, Seq: seq, Message: message, Skipped: p.state.Skipped, Fields: fields,
	})
	p.batch.Records++
	p.state.Skipped, p.state.LastTime = 0, p.enc.LastTime()
	p.l.d.s.c.metrics.Events(event).Inc()
	return nil
}

// lost writes that lines are missing before line seq.
func (p *pipeline) lost(ctx context.Context, seq uint64, reason string) error {
	if !p.found.Has(record.EventGap, p.state.Epoch, seq) {
		p.l.d.s.c.metrics.Gaps().Inc()
		p.l.d.log.WithField("log", p.l.worker.Log()).WithField("reason", reason).Warn("Lines lost")
	}
	return p.event(ctx, record.EventGap, seq, reason)
}

// lossReason says why generations were deleted unread.
func (p *pipeline) lossReason() string {
	if p.l.late > time.Second && p.put != nil {
		p.l.d.s.c.metrics.BudgetMisses().Inc()
		return "generations of the log were deleted before they were read: the budget of looks at this node is used up"
	}
	return "generations of the log were deleted before they were read"
}

// end writes the end event of a log whose worker is dead, and before that the partial line,
// which no process continues.
func (p *pipeline) end(ctx context.Context) error {
	if size, ok := p.split.Flush(); ok {
		if err := p.admit(ctx, size); err != nil {
			return err
		}
		l := p.split.Line()
		err := p.line(ctx, l)
		if err == nil {
			p.state.Content += uint64(l.Size)
			p.state.Lines, p.state.Blank, p.state.AfterCR = l.Seq+1, 0, false
			p.state.At = p.reader.Position(0) // behind the partial line
		}
		p.split.Drop()
		p.releasePartial()
		if err != nil {
			return err
		}
	}
	if p.state.Lines == 0 || p.state.Ended || !p.state.Decided {
		return p.flush(ctx, false)
	}
	err := p.event(ctx, record.EventEnd, p.state.Lines, "the worker is dead and its log was read to its end", endFields(p.state.Lines, p.state.Content, true)...)
	if err != nil {
		return err
	}
	p.state.Ended = true
	return p.flush(ctx, false)
}

// retire makes the log one that is not read any more.
func (p *pipeline) retire(ctx context.Context) error {
	p.state.Finished = true
	return p.flush(ctx, true)
}

// flush passes the batch, if there is one, to the writer, with the state behind it. always:
// also if the state holds nothing that was shipped.
func (p *pipeline) flush(ctx context.Context, always bool) error {
	p.settle()
	b := p.batch
	p.batch = nil
	same := p.put != nil && p.state == *p.put || p.put == nil && p.state.Lines == 0
	if b == nil && same && !always {
		return nil
	}
	if b == nil {
		b = &writer.Batch{} // all lines were skipped
	}
	before, next := uint64(0), p.state
	if p.put != nil {
		before = p.put.Lines
	}
	b.File, b.NextFile = p.l.was.file, &next
	if err := p.out.Put(ctx, b); err != nil {
		return err
	}
	p.l.d.s.c.metrics.Lines().Add(float64(next.Lines - before))
	p.put = &next
	return nil
}

// admit checks a line against the limits.
func (p *pipeline) admit(ctx context.Context, size int64) error {
	limit, pause := p.l.d.s.limits.admit(p.l.e, p.split.Lines(), size)
	if limit == "" {
		return nil
	}
	p.l.d.s.c.metrics.Limits(limit).Inc()
	message := "limit " + limit + " is reached: the rest of the log is not shipped"
	if pause {
		message = "limit " + limit + " is reached: reading continues after the interval of " + p.l.d.s.c.opts.Limits.Interval.String()
	}
	return cmp.Or(p.event(ctx, record.EventLimit, p.split.Lines(), message, record.Field{Key: "limit", Value: limit}), errLimited)
}

// reservePartial acquires memory for n more bytes of the partial line.
func (p *pipeline) reservePartial(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	if err := p.flush(ctx, false); err != nil {
		return err
	}
	err := p.out.Memory.Acquire(ctx, int64(n), true, p.split.Buffered() > 0)
	if err == nil {
		p.reserved += n
	} else if errors.Is(err, writer.ErrMemoryPressure) {
		p.l.d.s.c.metrics.PartialDropped().Inc()
	}
	return err
}

// releasePartial releases the memory that the splitter does not use any more.
func (p *pipeline) releasePartial() {
	if n := p.reserved - p.split.Buffered(); n > 0 {
		p.reserved -= n
		p.out.Memory.Release(int64(n), true)
	}
}

// release frees what the pipeline holds.
func (p *pipeline) release() {
	p.split.Drop()
	p.releasePartial()
	if p.batch != nil {
		p.out.Free(p.batch)
		p.batch = nil
	}
}
