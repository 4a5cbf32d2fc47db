package shipper

import (
	"bytes"
	"context"
	"time"
)

// Shaping is how records are made of lines. The zero value makes one record of
// each line, as it was printed.
type Shaping struct {
	// LineTime adds the time that a line states. Location is where one was taken
	// that names no zone; nil: UTC.
	LineTime bool
	Location *time.Location
	// StripANSI takes escape sequences out of messages.
	StripANSI bool
	// Multiline joins Python's tracebacks, and indented lines with the line
	// before them: at most MaxLines (500) and Limits.MaxMessageSize bytes. A line
	// waits for others for Wait (1.5 s), or until a read brings nothing more.
	Multiline bool
	MaxLines  int
	Wait      time.Duration
	// Progress is how often a progress bar, a line that is overwritten by another
	// behind a \r, makes a record; 0: each state of it does.
	Progress time.Duration
}

func (o *Shaping) holds() bool { return o.Multiline || o.Progress > 0 }

// outlet takes what a shaper lets go. Each method may find that memory is spent,
// or that ctx has ended.
type outlet interface {
	// need makes sure that write has room.
	need(ctx context.Context) error
	// write makes a record. Before it returns the position may be asked for.
	write(ctx context.Context, l cutLine, now int64) error
	// reserveHalf takes memory for n more bytes. The position may be asked for.
	reserveHalf(ctx context.Context, n int) error
	// unreserve gives memory back.
	unreserve(n int)
	// skip counts a line that makes no record.
	skip()
}

// shaper stands between the cutter and the records, and holds lines back until
// it is known what becomes of them. It keeps the position behind the last line
// that has left it: one that is held back is read again after a crash, and what
// becomes of it then may differ, but it is in one record, or counted as skipped,
// once. It is nil where nothing is held back; its methods are for one goroutine.
type shaper struct {
	o   Shaping
	max int // bytes of a joined message
	to  outlet

	left   proofs // up to the last line that has left
	lines  uint64
	endRaw int64
	line   lineProof

	group held // lines that are to be one record
	joint joint
	bar   held  // behind the group: a line that may be overwritten
	shown int64 // when a line that was overwritten was let through, Unix nanoseconds
	c     *cutter
}

// held is some lines of a log, one behind the other.
type held struct {
	first cutLine // without its text
	text  []byte  // of all, with a \n for each line end
	parts []part
	proof lineProof // of the last one
	since int64     // when the first one came, Unix nanoseconds
	last  int64     // when the last one came
}

// part is one line of what is held.
type part struct {
	raw  int64
	size int
}

// partProof is what a position needs of a line beside its bytes.
type partProof struct {
	raw  int64 // raw offset of its first byte, or unknown
	line lineProof
}

// proof gives that of the line that the cutter has just given.
func (h *shaper) proof(l cutLine) partProof {
	raw := h.c.endRaw
	if raw >= 0 {
		raw -= l.size
	}
	return partProof{raw, h.c.line}
}

func (h *held) empty() bool { return len(h.parts) == 0 }

func newShaper(o *Options, to outlet) *shaper {
	if !o.Shaping.holds() {
		return nil
	}
	return &shaper{o: o.Shaping, max: o.Limits.MaxMessageSize, to: to}
}

// begin goes on where a cutter stands.
func (h *shaper) begin(c *cutter) {
	h.c = c
	h.sync()
}

// sync puts the position where the cutter's is. Nothing may be held.
func (h *shaper) sync() {
	c, tail, marks := h.c, h.left.tail, h.left.marks
	h.left = c.proofs
	h.left.tail = append(tail[:0], c.tail...)
	h.left.marks = append(marks[:0], c.marks...)
	h.lines, h.endRaw, h.line = c.lines, c.endRaw, c.line
}

// drop forgets what is held, and the position: begin gives the next one.
func (h *shaper) drop() {
	for _, x := range []*held{&h.group, &h.bar} {
		x.parts = nil
		h.release(x)
	}
	h.left = proofs{}
}

func (h *shaper) release(x *held) {
	if cap(x.text) > 0 {
		h.to.unreserve(cap(x.text))
		x.text = nil
	}
}

// reserved reports whether memory for half lines is held.
func (h *shaper) reserved() bool { return cap(h.group.text) > 0 || cap(h.bar.text) > 0 }

func (h *shaper) empty() bool { return h.group.empty() && h.bar.empty() }

// position gives the place behind the last line that has left.
func (h *shaper) position() position {
	p := h.left.position(h.lines, h.endRaw)
	p.line = h.line
	return p
}

// take takes the next line.
func (h *shaper) take(ctx context.Context, l cutLine, now int64) error {
	if err := h.settleBar(ctx, l, now); err != nil {
		return err
	}
	if l.size > int64(len(l.text)) {
		if err := h.close(ctx); err != nil {
			return err
		}
		if err := h.to.need(ctx); err != nil {
			return err
		}
		h.sync()
		return h.to.write(ctx, l, now)
	}
	if h.o.Progress > 0 && l.ends&endsCR != 0 {
		return h.hold(ctx, &h.bar, l, now, h.proof(l))
	}
	return h.join(ctx, l, now, h.proof(l))
}

// pass takes a line that the sink has already. Nothing is held then: what came
// before it is there as well.
func (h *shaper) pass(l cutLine) {
	if l.size > int64(len(l.text)) {
		h.sync()
		return
	}
	h.add(l.text, h.proof(l))
}

// lone reports whether the \r behind the bar is no part of a \r\n, so far.
func (h *shaper) lone() bool { return !h.c.lf }

// settleBar decides what becomes of the line in front of l.
func (h *shaper) settleBar(ctx context.Context, l cutLine, now int64) error {
	switch {
	case h.bar.empty():
		return nil
	case l.ends&over == 0:
	case now-h.shown >= int64(h.o.Progress):
		h.shown = now
	default:
		if err := h.give(ctx, &h.group); err != nil { // it is told of before what is skipped
			return err
		}
		h.leave(&h.bar)
		h.to.skip()
		return nil
	}
	return h.passBar(ctx)
}

// passBar lets the bar go on.
func (h *shaper) passBar(ctx context.Context) error {
	l := h.bar.first
	l.text = h.bar.text
	if err := h.join(ctx, l, h.bar.since, partProof{h.bar.parts[0].raw, h.bar.proof}); err != nil {
		return err
	}
	h.bar.parts = h.bar.parts[:0]
	return nil
}

// join makes a line part of the group before it, or lets that go.
func (h *shaper) join(ctx context.Context, l cutLine, now int64, proof partProof) error {
	if !h.o.Multiline {
		if err := h.to.need(ctx); err != nil {
			return err
		}
		h.add(l.text, proof)
		return h.to.write(ctx, l, now)
	}
	g := &h.group
	if !g.empty() && (len(g.parts) >= h.o.MaxLines || len(g.text)+1+int(l.blank)+len(l.text) > h.max || !h.joint.next(l, g.text)) {
		if err := h.give(ctx, g); err != nil {
			return err
		}
	}
	if g.empty() {
		h.joint.first(l.text)
	}
	return h.hold(ctx, g, l, now, proof)
}

// hold adds a line to what is held.
func (h *shaper) hold(ctx context.Context, x *held, l cutLine, now int64, proof partProof) error {
	ends := 0
	if x.empty() {
		x.text = x.text[:0]
	} else {
		ends = 1 + int(l.blank)
	}
	if need := len(x.text) + ends + len(l.text); need > cap(x.text) {
		size := min(max(need, 2*cap(x.text), 256), max(h.max, need))
		if err := h.to.reserveHalf(ctx, size-cap(x.text)); err != nil {
			return err
		}
		x.text = append(make([]byte, 0, size), x.text...)
	}
	for range ends {
		x.text = append(x.text, '\n')
	}
	if x.empty() {
		x.first, x.since = l, now
		x.first.text = nil
	}
	x.text = append(x.text, l.text...)
	x.parts = append(x.parts, part{proof.raw, len(l.text)})
	x.proof, x.last = proof.line, now
	return nil
}

// give makes a record of what is held.
func (h *shaper) give(ctx context.Context, x *held) error {
	if x.empty() {
		return nil
	}
	if err := h.to.need(ctx); err != nil {
		return err
	}
	l := x.first
	l.text, l.size = x.text, int64(len(x.text))
	if n := len(x.parts); n > 1 {
		l.lines = uint16(n)
	}
	h.leave(x)
	return h.to.write(ctx, l, x.since)
}

// leave puts the position behind what is held, and holds it no longer.
func (h *shaper) leave(x *held) {
	text := x.text
	for _, p := range x.parts {
		text = bytes.TrimLeft(text, "\n")
		h.add(text[:p.size], partProof{p.raw, x.proof})
		text = text[p.size:]
	}
	x.parts = x.parts[:0]
}

// add puts the position behind a line.
func (h *shaper) add(text []byte, proof partProof) {
	h.left.add(text, proof.raw)
	h.lines++
	h.line = proof.line
	if h.endRaw = proof.raw; proof.raw >= 0 {
		h.endRaw += int64(len(text))
	}
}

// close lets all go that is held: what follows does not belong to it.
func (h *shaper) close(ctx context.Context) error {
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
func (h *shaper) due() (at time.Time, ok bool) {
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
func (h *shaper) rest(ctx context.Context, now time.Time, still bool) error {
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
