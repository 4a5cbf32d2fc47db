package shipper

import (
	"bytes"
	"context"
	"math"
	"time"

	"raytap/lines"
)

// AggregateOptions are how lines are joined and thinned. The zero value does neither.
type AggregateOptions struct {
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

func (o AggregateOptions) enabled() bool { return o.Multiline || o.Progress > 0 }

func (o AggregateOptions) withDefaults() AggregateOptions {
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
type aggregator struct {
	o   AggregateOptions
	max int // bytes of a joined message
	to  Emitter

	left   lines.Tracker // up to the last line that has left
	lines  uint64
	endRaw int64
	line   lines.LineHash

	group held // lines that are to be one record
	joint joint
	bar   held  // behind the group: a line that may be overwritten
	shown int64 // when a line that was overwritten was let through, Unix nanoseconds
	split *lines.Splitter
}

// held is some lines of a log, one behind the other.
type held struct {
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

func (h *held) empty() bool { return len(h.parts) == 0 }

// newAggregator returns an aggregator that joins lines up to max bytes; nil where the
// options hold nothing back.
func newAggregator(o AggregateOptions, max int, to Emitter) *aggregator {
	if !o.enabled() {
		return nil
	}
	return &aggregator{o: o.withDefaults(), max: max, to: to}
}

// begin goes on where a cutter stands.
func (h *aggregator) begin(s *lines.Splitter) {
	h.split = s
	h.sync()
}

// sync puts the position where the splitter's is. Nothing may be held.
func (h *aggregator) sync() { h.lines, h.endRaw, h.line = h.split.Track(&h.left) }

// drop forgets what is held, and the position: begin gives the next one.
func (h *aggregator) drop() {
	for _, x := range []*held{&h.group, &h.bar} {
		x.parts = nil
		h.release(x)
	}
	h.left = lines.Tracker{}
}

func (h *aggregator) release(x *held) {
	if cap(x.text) > 0 {
		h.to.Release(cap(x.text))
		x.text = nil
	}
}

// reserved reports whether memory for half lines is held.
func (h *aggregator) reserved() bool { return cap(h.group.text) > 0 || cap(h.bar.text) > 0 }

func (h *aggregator) empty() bool { return h.group.empty() && h.bar.empty() }

// position gives the place behind the last line that has left.
func (h *aggregator) position() lines.Position {
	p := h.left.Position(h.lines, h.endRaw)
	p.Line = h.line
	return p
}

// add takes the next line.
func (h *aggregator) add(ctx context.Context, l lines.Line, now int64) error {
	if err := h.settleBar(ctx, l, now); err != nil {
		return err
	}
	if l.Size > int64(len(l.Text)) {
		if err := h.close(ctx); err != nil {
			return err
		}
		if err := h.to.Ensure(ctx); err != nil {
			return err
		}
		h.sync()
		return h.to.Emit(ctx, l, now)
	}
	if h.o.Progress > 0 && l.Ends&lines.EndsCR != 0 {
		return h.hold(ctx, &h.bar, l, now, h.split.Origin(l))
	}
	return h.join(ctx, l, now, h.split.Origin(l))
}

// pass takes a line that the sink has already. Nothing is held then: what came
// before it is there as well.
func (h *aggregator) pass(l lines.Line) {
	if l.Size > int64(len(l.Text)) {
		h.sync()
		return
	}
	h.advance(l.Text, h.split.Origin(l))
}

// lone reports whether the \r behind the bar is no part of a \r\n, so far.
func (h *aggregator) lone() bool { return !h.split.AfterNewline() }

// settleBar decides what becomes of the line in front of l.
func (h *aggregator) settleBar(ctx context.Context, l lines.Line, now int64) error {
	switch {
	case h.bar.empty():
		return nil
	case l.Ends&lines.SameTerminal == 0:
	case now-h.shown >= int64(h.o.Progress):
		h.shown = now
	default:
		if err := h.give(ctx, &h.group); err != nil { // it is told of before what is skipped
			return err
		}
		h.leave(&h.bar)
		h.to.Skip()
		return nil
	}
	return h.passBar(ctx)
}

// passBar lets the bar go on.
func (h *aggregator) passBar(ctx context.Context) error {
	l := h.bar.first
	l.Text = h.bar.text
	if err := h.join(ctx, l, h.bar.since, lines.Origin{Raw: h.bar.parts[0].raw, Hash: h.bar.proof}); err != nil {
		return err
	}
	h.bar.parts = h.bar.parts[:0]
	return nil
}

// join makes a line part of the group before it, or lets that go.
func (h *aggregator) join(ctx context.Context, l lines.Line, now int64, origin lines.Origin) error {
	if !h.o.Multiline {
		if err := h.to.Ensure(ctx); err != nil {
			return err
		}
		h.advance(l.Text, origin)
		return h.to.Emit(ctx, l, now)
	}
	g := &h.group
	if !g.empty() && (len(g.parts) >= h.o.MaxLines || len(g.text)+1+int(l.Blank)+len(l.Text) > h.max || !h.joint.next(l, g.text)) {
		if err := h.give(ctx, g); err != nil {
			return err
		}
	}
	if g.empty() {
		h.joint.first(l.Text)
	}
	return h.hold(ctx, g, l, now, origin)
}

// hold adds a line to what is held.
func (h *aggregator) hold(ctx context.Context, x *held, l lines.Line, now int64, origin lines.Origin) error {
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
func (h *aggregator) give(ctx context.Context, x *held) error {
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
	h.leave(x)
	return h.to.Emit(ctx, l, x.since)
}

// leave puts the position behind what is held, and holds it no longer.
func (h *aggregator) leave(x *held) {
	text := x.text
	for _, p := range x.parts {
		text = bytes.TrimLeft(text, "\n")
		h.advance(text[:p.size], lines.Origin{Raw: p.raw, Hash: x.proof})
		text = text[p.size:]
	}
	x.parts = x.parts[:0]
}

// advance puts the position after a line.
func (h *aggregator) advance(text []byte, origin lines.Origin) {
	h.left.Add(text, origin.Raw)
	h.lines++
	h.line = origin.Hash
	if h.endRaw = origin.Raw; origin.Raw >= 0 {
		h.endRaw += int64(len(text))
	}
}

// close lets all go that is held: what follows does not belong to it.
func (h *aggregator) close(ctx context.Context) error {
	if err := h.give(ctx, &h.group); err != nil {
		return err
	}
	if err := h.give(ctx, &h.bar); err != nil {
		return err
	}
	h.release(&h.group)
	h.release(&h.bar)
	return nil
}

// due gives when rest has something to do; false: never, as it stands.
func (h *aggregator) due() (at time.Time, ok bool) {
	if !h.bar.empty() {
		if !h.lone() {
			return time.Time{}, true
		}
		at, ok = time.Unix(0, h.shown+int64(h.o.Progress)), true
	}
	if !h.group.empty() {
		if t := time.Unix(0, h.group.last+int64(h.o.Wait)); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// rest lets go what has waited long enough. still tells that a read brought
// nothing new.
func (h *aggregator) expire(ctx context.Context, now time.Time, still bool) error {
	if !h.bar.empty() && (!h.lone() || now.UnixNano()-h.shown >= int64(h.o.Progress)) {
		if h.lone() {
			h.shown = now.UnixNano()
		}
		if err := h.passBar(ctx); err != nil {
			return err
		}
	}
	if still || now.UnixNano()-h.group.last >= int64(h.o.Wait) {
		if err := h.give(ctx, &h.group); err != nil {
			return err
		}
	}
	for _, x := range []*held{&h.group, &h.bar} {
		if x.empty() {
			h.release(x)
		}
	}
	return nil
}
