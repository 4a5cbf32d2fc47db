package nodelogs

import (
	"cmp"
	"context"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/convert"
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
	*convert.Pipeline
	l      *look
	state  checkpoint.FileState  // its position is that of the last call of settle
	put    *checkpoint.FileState // as it was last passed to the writer; nil: never
	found  checkpoint.FoundAfter // what the sink has from before a crash
	reader *rotation.Reader

	from    rotation.Position // at the beginning
	places  []place           // line ends from the last released line on, one for each line
	base    int64             // raw offset, as the splitter counts, of the last chunk
	raw     int64             // bytes of the generation before the last chunk's end
	records int               // lines that became records
	failed  bool              // a batch was lost: its lines are read again
}

// place is a line end: where the log's position can be.
type place struct {
	lines.Boundary
	content uint64 // content bytes before it
	raw     int64  // as the splitter counts
	known   bool   // at is set
	at      rotation.Position
}

func newPipeline(l *look) *pipeline {
	p, c := &pipeline{l: l, put: l.was.state, found: l.was.file.Found()}, l.d.s.c
	if p.put != nil {
		p.state = *p.put
	} else {
		p.state = checkpoint.FileState{Name: l.was.name, Directory: l.d.stored.ID()}
	}
	p.from, p.raw = p.state.At, p.state.At.Raw
	p.Pipeline = convert.New(p, c.out, c.metrics, convert.Options{
		Aggregate: c.opts.Aggregate, MaxMessageSize: c.opts.Limits.MaxMessageSize, DropOversized: c.opts.Limits.DropOversized,
	})
	p.Skipped = p.state.Skipped
	p.resume()
	if p.Agg != nil {
		p.Agg.SetLastProgress(l.d.s.progress.last(l.e))
	}
	return p
}

// resume continues at the state.
func (p *pipeline) resume() {
	at := lines.Boundary{Lines: p.state.Lines, Blank: p.state.Blank, AfterCR: p.state.AfterCR}
	p.Begin(lines.Continue(p.l.d.s.c.opts.Limits.MaxMessageSize, at))
	p.places = append(p.places[:0], place{Boundary: at, content: p.state.Content, known: true, at: p.state.At})
}

// stuck reports whether the next look would begin where this one did: no message was read to
// its end, but a part of one.
func (p *pipeline) stuck() bool { return p.state.At == p.from && !p.whole() }

// whole reports whether all that was read is released: there is neither a partial line nor a
// pending one.
func (p *pipeline) whole() bool { return p.reached() == p.state.Content }

// reached returns how many content bytes of the log were read, those of the partial line
// included.
func (p *pipeline) reached() uint64 {
	return p.places[len(p.places)-1].content + uint64(p.Split.Partial())
}

// chunk converts the next bytes.
func (p *pipeline) chunk(ctx context.Context, c rotation.Chunk) error {
	p.Now = time.Now().UnixNano()
	if c.NewGeneration {
		p.raw = 0
	}
	p.raw += int64(len(c.Data))
	if c.Lost {
		if p.l.doubts() {
			return errDoubt
		}
		if err := p.FlushPending(ctx); err != nil {
			return err
		}
		p.settle()
		if n := p.found.Lines(p.state.Epoch); n > p.Split.Lines() {
			p.state.Lines = n // the sink has lines of what is gone
		}
		p.state.Blank, p.state.AfterCR = 0, false
		p.DropPartial() // the rest of it is gone
		p.resume()
		if err := p.lost(ctx, p.Split.Lines(), p.lossReason()); err != nil {
			return err
		}
	}
	p.base = p.Split.Raw()
	err := p.SplitLines(ctx, c.Data)
	if err == nil {
		p.noteEnd()
	}
	p.settle()
	return err
}

// noteLine notes the end of a line that was consumed and not released.
func (p *pipeline) noteLine(l lines.Line) {
	if n := p.released() - p.places[0].Lines; n > 0 {
		p.places = append(p.places[:0], p.places[n:]...)
	}
	last := &p.places[len(p.places)-1]
	next := place{content: last.content + uint64(l.Size)}
	next.Boundary, next.raw = p.Split.Boundary()
	if p.Agg == nil {
		*last = next // it is released at once
	} else {
		p.places = append(p.places, next)
	}
}

// noteEnd moves the last line end behind the empty lines after it, if it is in the last chunk.
func (p *pipeline) noteEnd() {
	last := &p.places[len(p.places)-1]
	if at, raw := p.Split.Boundary(); raw >= p.base {
		last.Boundary, last.raw, last.known = at, raw, false
	}
}

// released returns how many lines of the log were released. A line is, once it was noted,
// unless it is pending.
func (p *pipeline) released() uint64 {
	if p.Agg != nil {
		return p.Agg.Lines
	}
	return p.places[len(p.places)-1].Lines
}

// settle sets the state's position behind the released lines, and makes all noted places
// independent of the last chunk.
func (p *pipeline) settle() {
	for i := range p.places {
		if at := &p.places[i]; !at.known {
			at.known, at.at = true, p.reader.Position(int(at.raw-p.base))
		}
	}
	at := &p.places[p.released()-p.places[0].Lines]
	p.state.Lines, p.state.Blank, p.state.AfterCR = at.Lines, at.Blank, at.AfterCR
	p.state.Content, p.state.At = at.content, at.at
}

// Consume implements convert.Log: it writes a line, or applies a marker. Markers have numbers
// like other lines, and the next record counts them as skipped.
func (p *pipeline) Consume(ctx context.Context, l lines.Line) error {
	marker, value := names.NoMarker, ""
	ofWorker := p.l.log.Kind == names.KindWorker
	if ofWorker && !l.Truncated() {
		marker, value = names.ParseMarker(l.Text)
	}
	if ofWorker && l.Seq == 0 && marker != names.JobMarker && p.put == nil && p.l.files.generations > 0 {
		// The first generation of a worker's log begins with its job.
		if err := p.lost(ctx, 0, "older generations of the log were deleted before it was found"); err != nil {
			return err
		}
	}
	switch {
	case marker != names.NoMarker:
		if err := p.FlushPending(ctx); err != nil { // they belong to what printed before
			return err
		}
		p.mark(marker, value)
		p.skip(l.Seq)
	case p.l.log.IsOwnRequest(l.Text):
		if err := p.FlushPending(ctx); err != nil {
			return err
		}
		p.skip(l.Seq)
	case l.Seq < p.found.Lines(p.state.Epoch): // the sink has it from before a crash
		p.Skipped = 0
		if err := p.decide(); err != nil {
			return err
		}
	default:
		if err := p.begin(); err != nil {
			return err
		}
		if p.Agg == nil {
			if err := p.Ensure(ctx); err != nil {
				return err
			}
		}
		p.noteLine(l)
		return p.Add(ctx, l)
	}
	p.noteLine(l)
	p.Pass(l)
	return nil
}

// Before implements convert.Log.
func (p *pipeline) Before(b []byte, _ int64, _ uint64) []byte {
	p.state.Ended = false
	p.records++
	return b
}

// skip counts a line that has no record. The next record reports it, unless the sink has
// that record already.
func (p *pipeline) skip(seq uint64) {
	if seq < p.found.Lines(p.state.Epoch) {
		return
	}
	p.Skip()
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
		if a.Decided && value != before.ActorName { // the lines before it were a task's
			a.Replica, _ = p.l.replica(value)
		}
	case marker == names.TaskMarker && a.ActorName == "":
		a.TaskName = value
	}
	if p.Enc == nil || *a == before {
		return
	}
	if a.ActorName != before.ActorName { // it may be a replica of Serve
		p.state.LastTime = p.Enc.LastTime()
		p.Enc = p.l.d.s.encoder(p.l.log, p.state)
		return
	}
	p.Enc.SetAttribution(a.ActorName, a.TaskName)
}

// expire writes pending lines that have waited for long enough. idle: the look has found
// nothing new.
func (p *pipeline) expire(ctx context.Context, idle bool) error {
	if p.Agg == nil {
		return nil
	}
	return p.Agg.Expire(ctx, time.Now(), idle)
}

// pendingUntil returns until when lines are pending; zero: none is.
func (p *pipeline) pendingUntil() time.Time {
	if p.Agg == nil {
		return time.Time{}
	}
	at, _ := p.Agg.Due()
	return at
}

// begin prepares for a record: whose it is is decided, and there is an encoder.
func (p *pipeline) begin() error {
	if err := p.decide(); err != nil {
		return err
	}
	if p.Enc == nil {
		if a := &p.state.Attribution; a.Replica == "" && p.l.begun.UnixNano()-p.l.was.first < int64(replicaWait) {
			a.Replica, _ = p.l.replica(a.ActorName) // the log could not wait for it
		}
		p.state.LastTime = max(p.state.LastTime, p.found.LastTime())
		p.Enc = p.l.d.s.encoder(p.l.log, p.state)
	}
	return nil
}

// decide decides the log's job, before its first record.
func (p *pipeline) decide() error {
	a := &p.state.Attribution
	if p.l.d.s.c.hasServeLog(p.l.log, a.ActorName) {
		return errExcluded
	}
	if a.Decided {
		if p.l.d.s.selected(ray.Job{SubmissionID: a.SubmissionID, JobID: a.JobID}, a.JobName) {
			return nil
		}
		return errExcluded
	}
	job, node, known := p.l.attribution(a.JobID)
	replica, listed := p.l.replica(a.ActorName)
	if !known || !listed {
		return errWaitForJob
	}
	if !p.l.d.s.selected(job, job.Name()) {
		return errExcluded
	}
	a.Decided, a.JobID, a.SubmissionID, a.JobName = true, job.JobID, job.SubmissionID, job.Name()
	a.NodeID, a.Replica = node, replica
	return nil
}

// event writes an event, unless the sink has it from before a crash.
func (p *pipeline) event(ctx context.Context, event string, seq uint64, message string, fields ...record.Field) error {
	if p.found.Has(event, p.state.Epoch, seq) {
		p.Skipped = 0
		return p.decide()
	}
	if err := p.begin(); err != nil {
		return err
	}
	if err := p.Ensure(ctx); err != nil {
		return err
	}
	p.Append(p.Enc.AppendEvent(nil, time.Now().UnixNano(), record.Event{
		Type: event, Seq: seq, Message: message, Skipped: p.Skipped, Fields: fields,
	}))
	p.Skipped = 0
	p.l.d.s.c.metrics.Events(event).Inc()
	return nil
}

// lost writes that lines are missing before line seq.
func (p *pipeline) lost(ctx context.Context, seq uint64, reason string) error {
	if !p.found.Has(record.EventGap, p.state.Epoch, seq) {
		p.l.d.s.c.metrics.Gaps().Inc()
		p.l.d.log.WithField("log", p.l.log.Log(p.state.Directory)).WithField("reason", reason).Warn("Lines lost")
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
	p.base = p.Split.Raw() // from where the reader would go on
	if err := p.FlushPartial(ctx); err != nil {
		return err
	}
	if p.state.Lines == 0 || p.state.Ended || !p.state.Decided {
		return nil
	}
	err := p.event(ctx, record.EventEnd, p.state.Lines, completeReason(p.l.log.Kind), endFields(p.state.Lines, p.state.Content, true)...)
	if err != nil {
		return err
	}
	p.state.Ended = true
	return p.Flush(ctx)
}

// retire makes the log one that is not read any more.
func (p *pipeline) retire(ctx context.Context) error {
	if err := p.Flush(ctx); err != nil {
		return err
	}
	p.state.Finished = true
	return p.Put(ctx, &writer.Batch{})
}

// next returns the state behind the released lines.
func (p *pipeline) next() checkpoint.FileState {
	p.settle()
	next := p.state
	next.Skipped = p.Skipped
	if p.Enc != nil {
		next.LastTime = p.Enc.LastTime()
	}
	return next
}

// Moved implements convert.Log.
func (p *pipeline) Moved() bool {
	if p.failed {
		return false
	}
	next := p.next()
	return p.put == nil && next.Lines > 0 || p.put != nil && next != *p.put
}

// Put implements convert.Log.
func (p *pipeline) Put(ctx context.Context, b *writer.Batch) error {
	before, next := uint64(0), p.next()
	if p.put != nil {
		before = p.put.Lines
	}
	b.File, b.NextFile = p.l.was.file, &next
	if err := p.l.d.s.c.out.Put(ctx, b); err != nil {
		p.failed = true
		return err
	}
	p.l.d.s.c.metrics.Lines().Add(float64(next.Lines - before))
	p.put = &next
	return nil
}

// Admit implements convert.Log: it checks a line against the limits.
func (p *pipeline) Admit(ctx context.Context, size int64) error {
	limit, pause := p.l.d.s.limits.admit(p.l.e, p.Split.Lines(), size)
	if limit == "" {
		return nil
	}
	if err := p.FlushPending(ctx); err != nil {
		return err
	}
	p.l.d.s.c.metrics.Limits(limit).Inc()
	message := "limit " + limit + " is reached: the rest of the log is not shipped"
	if pause {
		message = "limit " + limit + " is reached: reading continues after the interval of " + p.l.d.s.c.opts.Limits.Interval.String()
	}
	return cmp.Or(p.event(ctx, record.EventLimit, p.Split.Lines(), message, record.Field{Key: "limit", Value: limit}), errLimited)
}
