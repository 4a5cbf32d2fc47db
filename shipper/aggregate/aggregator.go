package aggregate

import (
	"bytes"
	"context"
	"math"
	"time"

	"raytap/lines"
)

// AggregateOptions are how lines are joined and thinned. The zero value does neither.
type Options struct {
	// Multiline joins Python's tracebacks, and indented lines with the line before them: at
	// most MaxLines (500) and so many bytes as one message may have. A line waits for others
	// for Wait (1.5 s), or until a read brings nothing more.
	Multiline bool
	MaxLines  int
	Wait      time.Duration
	// Progress is how often a progress bar, a line that is overwritten by another one after a
	// \r, makes a record; 0: each state of it does.
	Progress time.Duration
}

func (o Options) enabled() bool { return o.Multiline || o.Progress > 0 }

func (o Options) WithDefaults() Options {
	if o.Wait == 0 {
		o.Wait = 1500 * time.Millisecond
	}
	if o.MaxLines == 0 {
		o.MaxLines = 500
	}
	o.MaxLines = min(o.MaxLines, math.MaxUint16)
	return o
}

// Emitter takes the lines that an aggregator releases. Each method may return an error
// where memory is exhausted, or ctx has ended.
type Emitter interface {
	// Ensure makes sure that Emit has room.
	Ensure(ctx context.Context) error
	// Emit makes a record. now is when its first line came, Unix nanoseconds. Before it
	// returns the position may be requested.
	Emit(ctx context.Context, l lines.Line, now int64) error
	// Skip counts a line that makes no record.
	Skip()
	// Reserve takes memory for n more bytes. The position may be requested.
	Reserve(ctx context.Context, n int) error
	// Release gives memory back.
	Release(n int)
}

// aggregator stands between the cutter and the records, and holds lines back until
// it is known what becomes of them. It keeps the position behind the last line
// that has left it: one that is held back is read again after a crash, and what
// becomes of it then may differ, but it is in one record, or counted as skipped,
// once. It is nil where nothing is held back; its methods are for one goroutine.
type Aggregator struct {
	o   Options
	max int // bytes of a joined message
	to  Emitter

	released lines.Tracker // up to the last line that has left
	Lines    uint64
	endRaw   int64
	line     lines.LineHash

	pending      pendingLines // lines that are to be one record
	matcher      tracebackMatcher
	progress     pendingLines // behind the group: a line that may be overwritten
	lastProgress int64        // when a line that was overwritten was let through, Unix nanoseconds
	split        *lines.Splitter
}

// held is some lines of a log, one behind the other.
type pendingLines struct {
	first lines.Line // without its text
	text  []byte     // of all, with a \n for each line end
	parts []part
	proof lines.LineHash // of the last one
	since int64          // when the first one came, Unix nanoseconds
	last  int64          // when the last one came
}

// part is one line of what is held.
type part struct {
	raw  int64
	size int
}

func (h *pendingLines) empty() bool { return len(h.parts) == 0 }

// newAggregator returns an aggregator that joins lines up to max bytes; nil where the
// options hold nothing back.
func New(o Options, max int, to Emitter) *Aggregator {
	if !o.enabled() {
		return nil
	}
	return &Aggregator{o: o.WithDefaults(), max: max, to: to}
}

// begin goes on where a cutter stands.
func (h *Aggregator) Begin(s *lines.Splitter) {
	h.split = s
	h.sync()
}

// sync puts the position where the splitter's is. Nothing may be held.
func (h *Aggregator) sync() { h.Lines, h.endRaw, h.line = h.split.Track(&h.released) }

// drop forgets what is held, and the position: begin gives the next one.
func (h *Aggregator) Drop() {
	for _, x := range []*pendingLines{&h.pending, &h.progress} {
		x.parts = nil
		h.free(x)
	}
	h.released = lines.Tracker{}
}

func (h *Aggregator) free(x *pendingLines) {
	if cap(x.text) > 0 {
		h.to.Release(cap(x.text))
		x.text = nil
	}
}

// reserved reports whether memory for half lines is held.
func (h *Aggregator) Reserved() bool { return cap(h.pending.text) > 0 || cap(h.progress.text) > 0 }

func (h *Aggregator) Empty() bool { return h.pending.empty() && h.progress.empty() }

// position gives the place behind the last line that has left.
func (h *Aggregator) Position() lines.Position {
	p := h.released.Position(h.Lines, h.endRaw)
	p.Line = h.line
	return p
}

// add takes the next line.
func (h *Aggregator) Add(ctx context.Context, l lines.Line, now int64) error {
	if err := h.resolveProgress(ctx, l, now); err != nil {
		return err
	}
	if l.Size > int64(len(l.Text)) {
		if err := h.Flush(ctx); err != nil {
			return err
		}
		if err := h.to.Ensure(ctx); err != nil {
			return err
		}
		h.sync()
		return h.to.Emit(ctx, l, now)
	}
	if h.o.Progress > 0 && l.Ends&lines.EndsCR != 0 {
		return h.hold(ctx, &h.progress, l, now, h.split.Origin(l))
	}
	return h.join(ctx, l, now, h.split.Origin(l))
}

// pass takes a line that the sink has already. Nothing is held then: what came
// before it is there as well.
func (h *Aggregator) Pass(l lines.Line) {
	if l.Size > int64(len(l.Text)) {
		h.sync()
		return
	}
	h.advance(l.Text, h.split.Origin(l))
}

// lone reports whether the \r behind the bar is no part of a \r\n, so far.
func (h *Aggregator) bareCR() bool { return !h.split.AfterNewline() }

// settleBar decides what becomes of the line in front of l.
func (h *Aggregator) resolveProgress(ctx context.Context, l lines.Line, now int64) error {
	switch {
	case h.progress.empty():
		return nil
	case l.Ends&lines.SameTerminal == 0:
	case now-h.lastProgress >= int64(h.o.Progress):
		h.lastProgress = now
	default:
		if err := h.emit(ctx, &h.pending); err != nil { // it is told of before what is skipped
			return err
		}
		h.markReleased(&h.progress)
		h.to.Skip()
		return nil
	}
	return h.joinProgress(ctx)
}

// passBar lets the bar go on.
func (h *Aggregator) joinProgress(ctx context.Context) error {
	l := h.progress.first
	l.Text = h.progress.text
	if err := h.join(ctx, l, h.progress.since, lines.Origin{Raw: h.progress.parts[0].raw, Hash: h.progress.proof}); err != nil {
		return err
	}
	h.progress.parts = h.progress.parts[:0]
	return nil
}

// join makes a line part of the group before it, or lets that go.
func (h *Aggregator) join(ctx context.Context, l lines.Line, now int64, origin lines.Origin) error {
	if !h.o.Multiline {
		if err := h.to.Ensure(ctx); err != nil {
			return err
		}
		h.advance(l.Text, origin)
		return h.to.Emit(ctx, l, now)
	}
	g := &h.pending
	if !g.empty() && (len(g.parts) >= h.o.MaxLines || len(g.text)+1+int(l.Blank)+len(l.Text) > h.max || !h.matcher.next(l, g.text)) {
		if err := h.emit(ctx, g); err != nil {
			return err
		}
	}
	if g.empty() {
		h.matcher.first(l.Text)
	}
	return h.hold(ctx, g, l, now, origin)
}

// hold adds a line to what is held.
func (h *Aggregator) hold(ctx context.Context, x *pendingLines, l lines.Line, now int64, origin lines.Origin) error {
	ends := 0
	if x.empty() {
		x.text = x.text[:0]
	} else {
		ends = 1 + int(l.Blank)
	}
	if need := len(x.text) + ends + len(l.Text); need > cap(x.text) {
		size := min(max(need, 2*cap(x.text), 256), max(h.max, need))
		if err := h.to.Reserve(ctx, size-cap(x.text)); err != nil {
			return err
		}
		x.text = append(make([]byte, 0, size), x.text...)
	}
	for range ends {
		x.text = append(x.text, '\n')
	}
	if x.empty() {
		x.first, x.since = l, now
		x.first.Text = nil
	}
	x.text = append(x.text, l.Text...)
	x.parts = append(x.parts, part{origin.Raw, len(l.Text)})
	x.proof, x.last = origin.Hash, now
	return nil
}

// give makes a record of what is held.
func (h *Aggregator) emit(ctx context.Context, x *pendingLines) error {
	if x.empty() {
		return nil
	}
	if err := h.to.Ensure(ctx); err != nil {
		return err
	}
	l := x.first
	l.Text, l.Size = x.text, int64(len(x.text))
	if n := len(x.parts); n > 1 {
		l.Joined = uint16(n)
	}
	h.markReleased(x)
	return h.to.Emit(ctx, l, x.since)
}

// leave puts the position behind what is held, and holds it no longer.
func (h *Aggregator) markReleased(x *pendingLines) {
	text := x.text
	for _, p := range x.parts {
		text = bytes.TrimLeft(text, "\n")
		h.advance(text[:p.size], lines.Origin{Raw: p.raw, Hash: x.proof})
		text = text[p.size:]
	}
	x.parts = x.parts[:0]
}

// advance puts the position after a line.
func (h *Aggregator) advance(text []byte, origin lines.Origin) {
	h.released.Add(text, origin.Raw)
	h.Lines++
	h.line = origin.Hash
	if h.endRaw = origin.Raw; origin.Raw >= 0 {
		h.endRaw += int64(len(text))
	}
}

// close lets all go that is held: what follows does not belong to it.
func (h *Aggregator) Flush(ctx context.Context) error {
	if err := h.emit(ctx, &h.pending); err != nil {
		return err
	}
	if err := h.emit(ctx, &h.progress); err != nil {
		return err
	}
	h.free(&h.pending)
	h.free(&h.progress)
	return nil
}

// due gives when rest has something to do; false: never, as it stands.
func (h *Aggregator) Due() (at time.Time, ok bool) {
	if !h.progress.empty() {
		if !h.bareCR() {
			return time.Time{}, true
		}
		at, ok = time.Unix(0, h.lastProgress+int64(h.o.Progress)), true
	}
	if !h.pending.empty() {
		if t := time.Unix(0, h.pending.last+int64(h.o.Wait)); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// rest lets go what has waited long enough. still tells that a read brought
// nothing new.
func (h *Aggregator) Expire(ctx context.Context, now time.Time, still bool) error {
	if !h.progress.empty() && (!h.bareCR() || now.UnixNano()-h.lastProgress >= int64(h.o.Progress)) {
		if h.bareCR() {
			h.lastProgress = now.UnixNano()
		}
		if err := h.joinProgress(ctx); err != nil {
			return err
		}
	}
	if still || now.UnixNano()-h.pending.last >= int64(h.o.Wait) {
		if err := h.emit(ctx, &h.pending); err != nil {
			return err
		}
	}
	for _, x := range []*pendingLines{&h.pending, &h.progress} {
		if x.empty() {
			h.free(x)
		}
	}
	return nil
}
