// Package aggregate joins lines of a log into one record (Python's tracebacks, indented
// lines) and thins out progress bars.
package aggregate

import (
	"bytes"
	"context"
	"math"
	"time"

	"raytap/lines"
)

// Options say which lines are joined or skipped. The zero value passes each line on as it
// is.
type Options struct {
	// Multiline joins Python's tracebacks, and indented lines with the line before them. A
	// record has at most MaxLines lines (500) and the bytes of one message. A line waits for
	// more lines for at most Wait (1.5 s), and no longer than until a read returns nothing new.
	Multiline bool
	MaxLines  int
	Wait      time.Duration
	// Progress is the minimum time between two records of a progress bar, which is a line
	// that ends with \r and is overwritten by the next one; 0: each state makes a record.
	Progress time.Duration
}

func (o Options) enabled() bool { return o.Multiline || o.Progress > 0 }

// WithDefaults returns o with the default of each field that is zero.
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

// Emitter receives the lines that an Aggregator releases. Its methods return an error if
// memory is exhausted or ctx has ended.
type Emitter interface {
	// Ensure waits until Emit has room for a record.
	Ensure(ctx context.Context) error
	// Emit writes a record. now is when its first line was read (Unix nanoseconds). It may
	// call Position.
	Emit(ctx context.Context, l lines.Line, now int64) error
	// Skip counts a line that is not written.
	Skip()
	// Reserve acquires memory for n more bytes. It may call Position.
	Reserve(ctx context.Context, n int) error
	// Release releases memory for n bytes.
	Release(n int)
}

// Aggregator is between the Splitter and the records. It keeps lines pending until it is
// known which record they belong to. Its position is after the last line that it released:
// pending lines are read again after a crash. They may then be joined in another way, but
// each is in exactly one record, or counted as skipped. Make it with New. Not safe for
// concurrent use.
type Aggregator struct {
	o   Options
	max int // bytes of a joined message
	to  Emitter

	released lines.Tracker // up to the last line that was released
	Lines    uint64        // lines that were released: the seq of the next one
	endRaw   int64
	line     lines.LineHash

	pending      pendingLines // lines that are to be one record
	matcher      tracebackMatcher
	progress     pendingLines // after those: one line that may be overwritten
	lastProgress int64        // when the last overwritten line was released, Unix nanoseconds
	split        *lines.Splitter
}

// pendingLines are consecutive lines that were not released yet.
type pendingLines struct {
	first lines.Line // without its text
	text  []byte     // of all, with a \n for each line end
	parts []part
	hash  lines.LineHash // of the last one
	since int64          // when the first one was read, Unix nanoseconds
	last  int64          // when the last one was read
}

// part is one pending line.
type part struct {
	raw  int64 // its raw offset, or lines.UnknownOffset
	size int
}

func (p *pendingLines) empty() bool { return len(p.parts) == 0 }

// New returns an Aggregator that joins lines up to max bytes; nil if the options change
// nothing.
func New(o Options, max int, to Emitter) *Aggregator {
	if !o.enabled() {
		return nil
	}
	return &Aggregator{o: o.WithDefaults(), max: max, to: to}
}

// Begin continues at the position of s, whose lines Add and Pass get from then on.
func (a *Aggregator) Begin(s *lines.Splitter) {
	a.split = s
	a.sync()
}

// sync sets the position to the splitter's. No line may be pending.
func (a *Aggregator) sync() { a.Lines, a.endRaw, a.line = a.split.Track(&a.released) }

// Drop discards the pending lines and the position. Begin sets the next one.
func (a *Aggregator) Drop() {
	for _, x := range []*pendingLines{&a.pending, &a.progress} {
		x.parts = nil
		a.free(x)
	}
	a.released = lines.Tracker{}
}

// free releases the buffer of x.
func (a *Aggregator) free(x *pendingLines) {
	if cap(x.text) > 0 {
		a.to.Release(cap(x.text))
		x.text = nil
	}
}

// Reserved reports whether it uses memory for pending lines.
func (a *Aggregator) Reserved() bool { return cap(a.pending.text) > 0 || cap(a.progress.text) > 0 }

// Empty reports whether no line is pending.
func (a *Aggregator) Empty() bool { return a.pending.empty() && a.progress.empty() }

// LastProgress returns when a line that was overwritten was last released (Unix nanoseconds);
// 0: none was.
func (a *Aggregator) LastProgress() int64 { return a.lastProgress }

// SetLastProgress sets what LastProgress returns to that of an earlier Aggregator of the log.
func (a *Aggregator) SetLastProgress(at int64) { a.lastProgress = at }

// Position returns the position after the last line that was released.
func (a *Aggregator) Position() lines.Position {
	p := a.released.Position(a.Lines, a.endRaw)
	p.Line = a.line
	return p
}

// Add adds the next line of the log. now is when it was read (Unix nanoseconds).
func (a *Aggregator) Add(ctx context.Context, l lines.Line, now int64) error {
	if err := a.resolveProgress(ctx, l, now); err != nil {
		return err
	}
	if !l.Whole() { // its text is not what to move the position by
		if err := a.Flush(ctx); err != nil {
			return err
		}
		if err := a.to.Ensure(ctx); err != nil {
			return err
		}
		a.sync()
		return a.to.Emit(ctx, l, now)
	}
	if a.o.Progress > 0 && l.Ends&lines.EndsCR != 0 {
		return a.addPending(ctx, &a.progress, l, now, a.split.Origin(l))
	}
	return a.join(ctx, l, now, a.split.Origin(l))
}

// Pass moves the position after a line that the sink has already. No line may be pending:
// the sink has those before it, too.
func (a *Aggregator) Pass(l lines.Line) {
	if !l.Whole() {
		a.sync()
		return
	}
	a.advance(l.Text, a.split.Origin(l))
}

// bareCR reports whether the \r after the progress line is not followed by \n, so far.
func (a *Aggregator) bareCR() bool { return !a.split.AfterNewline() }

// resolveProgress releases or skips the progress line, now that the next line is known.
func (a *Aggregator) resolveProgress(ctx context.Context, l lines.Line, now int64) error {
	switch {
	case a.progress.empty():
		return nil
	case l.Ends&lines.SameTerminal == 0:
	case now-a.lastProgress >= int64(a.o.Progress):
		a.lastProgress = now
	default:
		if err := a.emit(ctx, &a.pending); err != nil { // they are before the skipped line
			return err
		}
		a.markReleased(&a.progress)
		a.to.Skip()
		return nil
	}
	return a.joinProgress(ctx)
}

// joinProgress adds the progress line to the pending lines, like any other line.
func (a *Aggregator) joinProgress(ctx context.Context) error {
	l := a.progress.first
	l.Text = a.progress.text
	if err := a.join(ctx, l, a.progress.since, lines.Origin{Raw: a.progress.parts[0].raw, Hash: a.progress.hash}); err != nil {
		return err
	}
	a.progress.parts = a.progress.parts[:0]
	return nil
}

// join adds a line to the pending lines if it continues them, and emits them first if not.
func (a *Aggregator) join(ctx context.Context, l lines.Line, now int64, origin lines.Origin) error {
	if !a.o.Multiline {
		if err := a.to.Ensure(ctx); err != nil {
			return err
		}
		a.advance(l.Text, origin)
		return a.to.Emit(ctx, l, now)
	}
	p := &a.pending
	if !p.empty() && (len(p.parts) >= a.o.MaxLines || len(p.text)+1+int(l.Blank)+len(l.Text) > a.max || !a.matcher.next(l, p.text)) {
		if err := a.emit(ctx, p); err != nil {
			return err
		}
	}
	if p.empty() {
		a.matcher.first(l.Text)
	}
	return a.addPending(ctx, p, l, now, origin)
}

// addPending adds a line to x.
func (a *Aggregator) addPending(ctx context.Context, x *pendingLines, l lines.Line, now int64, origin lines.Origin) error {
	ends := 0
	if x.empty() {
		x.text = x.text[:0]
	} else {
		ends = 1 + int(l.Blank)
	}
	if need := len(x.text) + ends + len(l.Text); need > cap(x.text) {
		size := min(max(need, 2*cap(x.text), 256), max(a.max, need))
		if err := a.to.Reserve(ctx, size-cap(x.text)); err != nil {
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
	x.hash, x.last = origin.Hash, now
	return nil
}

// emit writes the lines of x as one record, and releases them.
func (a *Aggregator) emit(ctx context.Context, x *pendingLines) error {
	if x.empty() {
		return nil
	}
	if err := a.to.Ensure(ctx); err != nil {
		return err
	}
	l := x.first
	l.Text, l.Size = x.text, int64(len(x.text))
	if n := len(x.parts); n > 1 {
		l.Joined = uint16(n)
	}
	a.markReleased(x)
	return a.to.Emit(ctx, l, x.since)
}

// markReleased moves the position after the lines of x, and empties x.
func (a *Aggregator) markReleased(x *pendingLines) {
	text := x.text
	for _, p := range x.parts {
		text = bytes.TrimLeft(text, "\n")
		a.advance(text[:p.size], lines.Origin{Raw: p.raw, Hash: x.hash})
		text = text[p.size:]
	}
	x.parts = x.parts[:0]
}

// advance moves the position after a line.
func (a *Aggregator) advance(text []byte, origin lines.Origin) {
	a.released.Add(text, origin.Raw)
	a.Lines++
	a.line = origin.Hash
	if a.endRaw = origin.Raw; origin.Raw >= 0 {
		a.endRaw += int64(len(text))
	}
}

// Flush emits all pending lines: no later line belongs to them.
func (a *Aggregator) Flush(ctx context.Context) error {
	if err := a.emit(ctx, &a.pending); err != nil {
		return err
	}
	if err := a.emit(ctx, &a.progress); err != nil {
		return err
	}
	a.free(&a.pending)
	a.free(&a.progress)
	return nil
}

// Due returns when Expire has something to do; false: not before the next line.
func (a *Aggregator) Due() (at time.Time, ok bool) {
	if !a.progress.empty() {
		if !a.bareCR() {
			return time.Time{}, true
		}
		at, ok = time.Unix(0, a.lastProgress+int64(a.o.Progress)), true
	}
	if !a.pending.empty() {
		if t := time.Unix(0, a.pending.last+int64(a.o.Wait)); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// Expire emits the lines that have been pending for long enough. idle reports that a read
// returned nothing new: then no line waits longer.
func (a *Aggregator) Expire(ctx context.Context, now time.Time, idle bool) error {
	if !a.progress.empty() && (!a.bareCR() || now.UnixNano()-a.lastProgress >= int64(a.o.Progress)) {
		if a.bareCR() {
			a.lastProgress = now.UnixNano()
		}
		if err := a.joinProgress(ctx); err != nil {
			return err
		}
	}
	if idle || now.UnixNano()-a.pending.last >= int64(a.o.Wait) {
		if err := a.emit(ctx, &a.pending); err != nil {
			return err
		}
	}
	for _, x := range []*pendingLines{&a.pending, &a.progress} {
		if x.empty() {
			a.free(x)
		}
	}
	return nil
}
