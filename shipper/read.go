package shipper

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// chunkSize is how many bytes of a log are read at once.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

// checkSize is how many of the last raw bytes the next read begins with, to see
// that it goes on where the last one stopped.
const checkSize = 256

// feeder takes a log's bytes as one way reads them: first those that prove the
// position, if there is one, then new ones.
type feeder struct {
	s     *stream
	way   way
	p     *prover // nil once the position is proven
	last  []byte  // the last raw bytes fed, at most checkSize
	fresh int64   // new bytes fed
}

// newFeeder starts at the start of the log where p is nil.
func (s *stream) newFeeder(ctx context.Context, w way, p *prover, raw int64) *feeder {
	f := &feeder{s: s, way: w, p: p}
	if p == nil {
		s.begin(ctx, newCutter(s.sh.opts.Limits.MaxMessageSize, raw))
	}
	return f
}

// feed takes the next bytes. It hands nothing over but full batches: flush does.
func (f *feeder) feed(ctx context.Context, b []byte) error {
	f.remember(b)
	s := f.s
	if f.p != nil {
		rest, done := f.p.feed(b)
		s.sh.metrics.replayed.WithLabelValues(s.sh.opts.Cluster, f.way.String()).Add(float64(len(b) - len(rest)))
		if !done {
			return nil
		}
		if err := f.prove(ctx); err != nil {
			return err
		}
		b = rest
	}
	if len(b) == 0 {
		return nil
	}
	s.readable()
	s.now = time.Now().UnixNano()
	c := s.cut
	err := c.feed(b, s.emit)
	// Line ends behind the position and a half line that was seen before are
	// nothing new.
	if reached := c.content + uint64(c.partSize); reached > s.log.reached {
		f.fresh += int64(reached - s.log.reached)
		s.log.reached = reached
		s.grow(f.way, len(b))
	}
	return err
}

// prove ends the proof. It may be called only when the prover has had all its bytes.
func (f *feeder) prove(ctx context.Context) error {
	if !f.p.proven() {
		return errReplaced
	}
	f.s.begin(ctx, resumeCutter(f.s.sh.opts.Limits.MaxMessageSize, f.p))
	f.p = nil
	return nil
}

func (f *feeder) remember(b []byte) {
	if len(b) >= checkSize {
		f.last = append(f.last[:0], b[len(b)-checkSize:]...)
		return
	}
	f.last = append(f.last, b...)
	if n := len(f.last); n > checkSize {
		f.last = f.last[:copy(f.last, f.last[n-checkSize:])]
	}
}

// readAll feeds a body to its end.
func (f *feeder) readAll(ctx context.Context, body io.Reader) error {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for {
		n, err := body.Read(*buf)
		if n > 0 {
			if err := f.feed(ctx, (*buf)[:n]); err != nil {
				return err
			}
			if n < chunkSize/2 || err != nil { // a reader that is not far behind
				if err := f.s.flush(ctx); err != nil {
					return err
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return f.s.flush(ctx)
		case err != nil:
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// begin puts a cutter in use, for as long as ctx lasts.
func (s *stream) begin(ctx context.Context, c *cutter) {
	s.drop()
	c.reserve = func(n int) error {
		if n < 0 {
			s.unreserve(-n)
			return nil
		}
		return s.reserveHalf(ctx, n)
	}
	c.admit = func(size int64) error { return s.admit(ctx, size) }
	s.cut = c
	if s.shape != nil {
		s.shape.begin(c)
	}
	s.emit = func(l cutLine) error { return s.take(ctx, l) }
}

// reserveHalf takes memory for a half line. It holds no batch while it waits,
// so that what it waits for can come about.
func (s *stream) reserveHalf(ctx context.Context, n int) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	err := s.sh.out.budget.acquire(ctx, int64(n), true, true)
	if errors.Is(err, errGiveUp) {
		s.sh.metrics.givenUp.WithLabelValues(s.sh.opts.Cluster).Inc()
	}
	return err
}

// drop lets the cutter go, and with it the half line: what was not handed over
// is read again from the position.
func (s *stream) drop() {
	if s.cut != nil {
		s.cut.drop()
		s.cut = nil
	}
	if s.shape != nil {
		s.shape.drop()
	}
	if s.b != nil {
		s.sh.out.free(s.b)
		s.b = nil
	}
	s.skipped = s.log.skipped
}

// grow notes that new content came by a way.
func (s *stream) grow(w way, n int) {
	s.grown, s.grewAt = true, time.Now()
	s.sh.metrics.bytes.WithLabelValues(s.sh.opts.Cluster, w.String()).Add(float64(n))
	s.slots.printed(s.key)
}

// admit holds a line against the limits, and takes memory for its record,
// before it is taken: until then the position can stand before it.
func (s *stream) admit(ctx context.Context, size int64) error {
	if s.reopening {
		if err := s.reopened(ctx); err != nil {
			return err
		}
	}
	end := s.cut.content + uint64(size)
	for s.lim.bounds() && end > s.log.admitted { // a line that is read again is not new
		why := s.lim.admit(size, time.Unix(0, s.now))
		if why == "" {
			break
		}
		if err := s.hitLimit(ctx, why); err != nil {
			return err
		}
		s.now = time.Now().UnixNano()
	}
	s.log.admitted = max(s.log.admitted, end)
	return s.need(ctx)
}

// take takes the next line.
func (s *stream) take(ctx context.Context, l cutLine) error {
	switch known := len(s.log.written) > 0 && l.seq < s.log.written[s.log.epoch]; {
	case s.shape == nil && known:
		return nil // the sink has it from before a crash
	case s.shape == nil:
		return s.write(ctx, l, s.now)
	case known:
		s.shape.pass(l)
		return nil
	}
	return s.shape.take(ctx, l, s.now)
}

// write makes a record. now is when its first line came, Unix nanoseconds.
func (s *stream) write(ctx context.Context, l cutLine, now int64) error {
	if l.size > int64(len(l.text)) {
		s.sh.metrics.cut.WithLabelValues(s.sh.opts.Cluster).Inc()
		if s.sh.opts.Limits.SkipOversized {
			s.skip()
			return nil
		}
	}
	if len(s.b.buf)+len(l.text)+recordRoom > cap(s.b.buf) {
		s.sh.out.widen(s.b, len(l.text)+recordRoom)
	}
	s.b.buf = s.stepBack(s.b.buf, now, l.seq)
	s.b.buf = s.enc.line(s.b.buf, now, l, s.skipped)
	s.b.records++
	s.skipped = 0
	if len(s.b.buf) >= batchSize {
		return s.flush(ctx)
	}
	return nil
}

// skip counts a line that makes no record. The next one tells of it.
func (s *stream) skip() {
	s.sh.metrics.skipped.WithLabelValues(s.sh.opts.Cluster).Inc()
	s.skipped++
}

// need makes sure that there is a batch to write into.
func (s *stream) need(ctx context.Context) error {
	if s.b != nil {
		return nil
	}
	b, err := s.sh.out.batch(ctx, s.holds())
	s.b = b
	return err
}

// flush hands the batch over, if there is one. From then on the log's position
// stands behind the last line that was taken and is not held back.
func (s *stream) flush(ctx context.Context) error {
	moved := s.cut != nil && s.taken() != s.log.pos.lines
	b := s.b
	if b == nil && !moved {
		return nil
	}
	s.b = nil
	if b == nil {
		b = &batch{} // lines that make no record
	}
	next := s.log.snapshot
	if moved {
		next.pos = s.position()
	}
	next.lastTime, next.skipped = s.enc.last, s.skipped
	b.entry, b.next = s.log.entry, next
	if err := s.sh.out.put(ctx, b); err != nil {
		s.drop() // its lines are read again from where the position stands
		return err
	}
	if moved {
		s.lines.Add(float64(next.pos.lines - s.log.pos.lines))
	}
	s.log.snapshot = next
	return nil
}

// event writes an event record behind what was written before.
func (s *stream) event(ctx context.Context, event, message string, fields ...field) error {
	if err := s.need(ctx); err != nil {
		return err
	}
	s.b.buf = append(s.b.buf, s.record(event, message, fields...).record...)
	s.b.records++
	return s.flush(ctx)
}

// nextLine is the number of the line that comes next in the sink. That holds
// lines behind the position where a crash came before they were saved.
func (s *stream) nextLine() uint64 {
	lines := s.log.pos.lines
	if s.cut != nil {
		lines = s.taken()
	}
	return max(lines, s.log.written[s.log.epoch])
}

// record makes an event record. Its seq is that of the next line.
func (s *stream) record(event, message string, fields ...field) owed {
	seq := s.nextLine()
	now := time.Now().UnixNano()
	r := s.stepBack(nil, now, seq)
	r = s.enc.event(r, now, seq, event, message, s.skipped, fields...)
	s.skipped, s.log.skipped = 0, 0
	s.sh.metrics.events.WithLabelValues(s.sh.opts.Cluster, event).Inc()
	return owed{event: event, epoch: s.enc.epoch, seq: seq, record: r}
}

// tell writes events that must be neither lost nor doubled, whenever the
// process dies: first they are saved as owed, together with what the log's
// state is from then on, then they are written. done: the run is over with them.
// That is the stream's own run, or the one before it where that was left open:
// then the stream's own has not begun.
func (s *stream) tell(ctx context.Context, done bool, events ...owed) error {
	// With what is owed from the first save on: the lines that an event says were
	// skipped are counted nowhere else.
	for _, e := range events {
		if !slices.ContainsFunc(s.log.found, e.is) { // the sink has it from before a crash
			s.log.owed = append(s.log.owed, e)
		}
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	s.log.lastTime = s.enc.last
	if !s.leftOpen() {
		s.log.run = *s.current()
	}
	if err := s.sh.out.checkpoint(ctx, s.log.entry, s.log.snapshot); err != nil {
		return err
	}
	return s.pay(ctx, done)
}

// pay writes what is owed.
func (s *stream) pay(ctx context.Context, done bool) error {
	if err := s.need(ctx); err != nil {
		return err
	}
	for _, o := range s.log.owed {
		s.b.buf = append(s.b.buf, o.record...)
		s.b.records++
	}
	s.log.owed = nil
	s.log.done = s.log.done || done
	return s.flush(ctx)
}

// settle writes what a process before this one has left owed. over: the run's
// end was among it, or is written already.
func (s *stream) settle(ctx context.Context) (over bool, err error) {
	same := sameRun(s.log.run.Start, s.started)
	if len(s.log.owed) > 0 {
		done := slices.ContainsFunc(s.log.owed, func(o owed) bool { return o.event == EventEnd || o.event == EventLimit })
		if err := s.pay(ctx, done); err != nil {
			return false, err
		}
	}
	return same && s.log.done, nil
}
