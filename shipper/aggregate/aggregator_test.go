package aggregate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"raytap/shipper/writer"

	"raytap/lines"
	"raytap/lines/linestest"
)

// outRecord is a record that an Aggregator emitted.
type outRecord struct {
	seq, skipped uint64
	lines        int
	text         string
	size         int64
}

// logState is what the positions file has of the log.
type logState struct {
	pos     lines.Position
	skipped uint64
	next    *uint64 // the line after those that recovery found in the sink, until pos is after it
}

// harness ships a log through an Aggregator to a sink in memory, and saves the state from
// time to time.
type harness struct {
	t         testing.TB
	r         *rand.Rand
	o         Options
	max       int
	agg       *Aggregator
	recs      []outRecord // that the sink has
	batch     []outRecord
	skipped   uint64
	accepted  logState
	saved     logState
	mark      int // how many records the sink had when saved
	written   uint64
	unfreed   int
	exhausted bool // calls may fail for lack of memory
}

func (w *harness) Ensure(context.Context) error {
	if w.exhausted && w.r.IntN(40) == 0 {
		return writer.ErrMemoryPressure
	}
	return nil
}

func (w *harness) Emit(_ context.Context, l lines.Line, _ int64) error {
	w.batch = append(w.batch, outRecord{l.Seq, w.skipped, max(int(l.Joined), 1), string(l.Text), l.Size})
	w.skipped = 0
	if w.r.IntN(4) == 0 {
		w.flush()
	}
	return nil
}

func (w *harness) Reserve(_ context.Context, n int) error {
	w.flush()
	if w.exhausted && w.r.IntN(10) == 0 {
		return writer.ErrMemoryPressure
	}
	w.unfreed += n
	return nil
}

func (w *harness) Release(n int) { w.unfreed -= n }
func (w *harness) Skip()         { w.skipped++ }

func (w *harness) flush() {
	w.recs = append(w.recs, w.batch...)
	w.batch = nil
	w.accepted.pos, w.accepted.skipped = w.agg.Position(), w.skipped
	if next := w.accepted.next; next != nil && w.accepted.pos.Lines >= *next {
		w.accepted.next = nil
	}
	if w.r.IntN(3) == 0 {
		w.saved, w.mark = w.accepted, len(w.recs)
	}
}

// drop discards what was not flushed.
func (w *harness) drop() {
	w.agg.Drop()
	w.batch, w.skipped = nil, w.accepted.skipped
	if w.unfreed != 0 {
		w.t.Fatalf("%d bytes are still reserved, want 0", w.unfreed)
	}
}

// crash goes back to the saved state, and recovers from the sink.
func (w *harness) crash() {
	next := uint64(0)
	if n := w.saved.next; n != nil {
		next = *n
	}
	for _, r := range w.recs[w.mark:] {
		next = max(next, r.seq+uint64(r.lines))
	}
	w.accepted = logState{w.saved.pos, w.saved.skipped, &next}
	if next > w.saved.pos.Lines {
		w.accepted.skipped = 0 // the sink has a record that reports them
	}
	w.written = next
	w.drop()
}

// read reads the log from the accepted position on, for a while or to its end.
func (w *harness) read(log []byte, now *int64) (done bool) {
	raw := int64(0)
	if w.r.IntN(2) == 0 {
		raw = lines.UnknownOffset
	}
	pos := w.accepted.pos
	if raw == lines.UnknownOffset {
		pos.Raw = lines.UnknownOffset
	}
	p := lines.VerifyAll(pos, raw)
	rest, all := p.Feed(log)
	if !all || !p.OK() {
		w.t.Fatalf("position %d does not verify", pos.Content)
	}
	c := lines.Resume(w.max, p)
	w.agg.Begin(c)
	ctx := context.Background()
	emit := func(l lines.Line) error {
		if l.Seq < w.written {
			w.agg.Pass(l)
			return nil
		}
		return w.agg.Add(ctx, l, *now)
	}
	for _, b := range linestest.Chunks(rest, w.r.Uint64()) {
		*now += int64(w.r.IntN(2000)) * int64(time.Millisecond)
		err := c.Each(b, emit)
		if a, b := w.agg.Position(), c.Position(); err == nil && w.agg.Empty() {
			if a.Hash.Sum64() != b.Hash.Sum64() || a.Content != b.Content || a.Lines != b.Lines || a.Raw != b.Raw || a.Line != b.Line || a.Tail != b.Tail {
				w.t.Fatalf("nothing is pending, but the position is %+v, want %+v", a, b)
			}
		}
		if err == nil && w.r.IntN(2) == 0 {
			err = w.agg.Expire(ctx, time.Unix(0, *now), w.r.IntN(3) == 0)
		}
		if err != nil || w.r.IntN(30) == 0 {
			if w.agg.Flush(ctx) == nil {
				w.flush()
			}
			return false
		}
		if w.r.IntN(3) == 0 {
			w.flush()
		}
		if w.r.IntN(20) == 0 {
			return false // pending lines are read again
		}
	}
	if pullLast(c, emit) != nil || w.agg.Flush(ctx) != nil {
		return false
	}
	w.flush()
	return true
}

var logPieces = []string{
	"\n", "\n", "\n", "\r", "\r\n", "\n\n", "x", "  indented", "Traceback (most recent call last):\n", "  File \"a.py\", line 1, in f\n",
	"ValueError: no\n", "\nDuring handling of the above exception, another exception occurred:\n\n", "(f pid=7) ", "ERROR it failed\n",
	"\r 10%|#    | 1/10", strings.Repeat("long ", 30), "\x1b[31m", "12:00:00", "\t", "  + Exception Group Traceback (most recent call last):\n",
}

// FuzzAggregator_EachLineOnce: whatever the chunks are, and whenever memory is exhausted,
// connections end or the process is killed, each line is in one record, in order, or
// counted as skipped.
func FuzzAggregator_EachLineOnce(f *testing.F) {
	f.Add([]byte{6, 0, 8, 9, 10, 11, 8, 9, 10, 0, 6, 3, 6, 3, 6, 4, 6, 0, 7, 0}, uint64(1), uint8(3))
	f.Add([]byte{14, 14, 14, 14, 0, 13, 8, 9, 10, 19, 7, 0, 15, 15, 0}, uint64(2), uint8(7))
	for i := range uint64(40) {
		r := rand.New(rand.NewPCG(i, 9))
		b := make([]byte, 150)
		for j := range b {
			b[j] = byte(r.IntN(len(logPieces)))
		}
		f.Add(b, i, uint8(i))
	}
	f.Fuzz(func(t *testing.T, words []byte, seed uint64, flags uint8) {
		var log []byte
		for _, i := range words[:min(len(words), 300)] {
			log = append(log, logPieces[int(i)%len(logPieces)]...)
		}
		w := &harness{t: t, r: rand.New(rand.NewPCG(seed, 2)), exhausted: flags&4 != 0}
		w.o, w.max = Options{Multiline: flags&1 != 0, MaxLines: 1 + int(flags>>5)*3}, 200
		if flags&2 != 0 || flags&1 == 0 {
			w.o.Progress = 5 * time.Second
		}
		w.o = w.o.WithDefaults()
		w.agg = New(w.o, w.max, w)
		w.accepted.pos, w.saved.pos = lines.Start(), lines.Start()
		now := int64(1e18)
		for lives := 0; !w.read(log, &now); lives++ {
			if lives > 200 {
				t.Skip("no progress")
			}
			if w.r.IntN(2) == 0 {
				w.crash()
			} else {
				w.drop()
			}
			if lives > 100 {
				w.exhausted = false
			}
		}
		if got, want := w.accepted.pos.Lines, uint64(len(linestest.Lines(log))); got != want {
			t.Fatalf("the position is after %d lines, want %d", got, want)
		}
		checkRecords(t, w.recs, linestest.Lines(log), w.accepted.skipped, w.o, w.max)
	})
}

func checkRecords(t *testing.T, recs []outRecord, want []string, skipped uint64, o Options, max int) {
	t.Helper()
	seq := uint64(0)
	for _, r := range recs {
		if seq += r.skipped; r.seq != seq {
			t.Fatalf("seq %d, want %d (%d skipped)", r.seq, seq, r.skipped)
		}
		if r.lines > 1 && (r.lines > o.MaxLines || len(r.text) > max) {
			t.Fatalf("a record of %d lines and %d bytes", r.lines, len(r.text))
		}
		got := strings.FieldsFunc(r.text, func(c rune) bool { return c == '\n' })
		if len(got) != r.lines {
			t.Fatalf("record %d has %d lines and reports %d: %q", r.seq, len(got), r.lines, r.text)
		}
		for _, g := range got {
			w := want[seq]
			if int64(len(w)) == r.size || r.lines > 1 {
				w = w[:min(len(w), max)]
			}
			if g != w {
				t.Fatalf("line %d is %q, want %q", seq, g, w)
			}
			seq++
		}
	}
	if seq += skipped; seq != uint64(len(want)) {
		t.Fatalf("%d lines shipped, want %d", seq, len(want))
	}
}

// aggregateAll returns the records of a log that is read at once, a line each step.
func aggregateAll(t testing.TB, o Options, max int, log string, step time.Duration) []outRecord {
	t.Helper()
	o = o.WithDefaults()
	w := &harness{t: t, r: rand.New(rand.NewPCG(1, 2)), o: o, max: max}
	w.agg = New(o, max, w)
	c := lines.NewSplitter(max, 0)
	w.agg.Begin(c)
	now := int64(1e18)
	emit := func(l lines.Line) error { now += int64(step); return w.agg.Add(t.Context(), l, now) }
	if err := c.Each([]byte(log), emit); err != nil {
		t.Fatal(err)
	}
	if err := pullLast(c, emit); err != nil {
		t.Fatal(err)
	}
	if err := w.agg.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.flush()
	return w.recs
}

func texts(recs []outRecord) []string {
	var out []string
	for _, r := range recs {
		out = append(out, fmt.Sprintf("%d+%d %s", r.seq, r.skipped, r.text))
	}
	return out
}

func TestAggregator_RecordSize(t *testing.T) {
	log := "head\n" + strings.Repeat("  line\n", 99)
	recs := aggregateAll(t, Options{Multiline: true, MaxLines: 10}, 256<<10, log, 0)
	if len(recs) != 10 || recs[0].lines != 10 || recs[9].lines != 10 {
		t.Errorf("MaxLines 10: records %q", texts(recs))
	}
	recs = aggregateAll(t, Options{Multiline: true}, 64, log, 0)
	for _, r := range recs {
		if len(r.text) > 64 {
			t.Errorf("record of %d bytes, want at most 64", len(r.text))
		}
	}
}

func TestAggregator_ProgressInterval(t *testing.T) {
	var bar strings.Builder
	for i := range 30 { // a state each second
		fmt.Fprintf(&bar, "\r%2d of 30", i)
	}
	recs := aggregateAll(t, Options{Progress: 10 * time.Second}, 256<<10, "start\n"+bar.String()+"\rdone\nnext\r\nlast\r\n", time.Second)
	want := []string{"0+0 start", "1+0  0 of 30", "11+9 10 of 30", "21+9 20 of 30", "31+9 done", "32+0 next", "33+0 last"}
	if got := texts(recs); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAggregator_Expire(t *testing.T) {
	o := Options{Multiline: true, Progress: 10 * time.Second}.WithDefaults()
	w := &harness{t: t, r: rand.New(rand.NewPCG(1, 2)), o: o}
	w.agg = New(o, 256<<10, w)
	c := lines.NewSplitter(1000, 0)
	w.agg.Begin(c)
	now := time.Unix(1e9, 0)
	feed := func(s string) {
		if err := c.Each([]byte(s), func(l lines.Line) error { return w.agg.Add(t.Context(), l, now.UnixNano()) }); err != nil {
			t.Fatal(err)
		}
	}
	expire := func(after time.Duration, idle bool) int {
		now = now.Add(after)
		if err := w.agg.Expire(t.Context(), now, idle); err != nil {
			t.Fatal(err)
		}
		return len(w.recs) + len(w.batch)
	}
	feed("one\n")
	if n := expire(time.Second, false); n != 0 {
		t.Errorf("%d records before the wait is over, want 0", n)
	}
	if at, ok := w.agg.Due(); !ok || !at.Equal(time.Unix(1e9, 0).Add(o.Wait)) {
		t.Errorf("due at %v", at)
	}
	if n := expire(time.Second, false); n != 1 {
		t.Errorf("%d records after the wait, want 1", n)
	}
	feed("two\n")
	if n := expire(0, true); n != 2 {
		t.Errorf("%d records after an idle read, want 2", n)
	}
	feed("1%\r2%\r3%\r")
	if n := expire(5*time.Second, true); n != 3 {
		t.Errorf("%d records, want 3: the first state is emitted, the last one is pending", n)
	}
	if n := expire(6*time.Second, true); n != 4 || !w.agg.Empty() || w.agg.Reserved() {
		t.Errorf("%d records after the interval, want 4, and nothing pending", n)
	}
	if at, ok := w.agg.Due(); ok {
		t.Errorf("due at %v with nothing pending", at)
	}
}

func BenchmarkAggregator(b *testing.B) {
	for _, o := range []Options{{Multiline: true}, {Progress: time.Second}} {
		b.Run(fmt.Sprintf("multiline=%v", o.Multiline), func(b *testing.B) {
			log := linestest.BenchLog()
			w := &discard{}
			h := New(o, 256<<10, w)
			c := lines.NewSplitter(256<<10, 0)
			h.Begin(c)
			emit := func(l lines.Line) error { return h.Add(b.Context(), l, 1) }
			b.SetBytes(200)
			b.ReportAllocs()
			for i := 0; i < b.N; i += 160 {
				if err := c.Each(log, emit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// discard is an Emitter that discards all.
type discard struct{}

func (*discard) Ensure(context.Context) error                  { return nil }
func (*discard) Emit(context.Context, lines.Line, int64) error { return nil }
func (*discard) Reserve(context.Context, int) error            { return nil }
func (*discard) Release(int)                                   {}
func (*discard) Skip()                                         {}

// pullLast calls do with the partial line, if there is one.
func pullLast(s *lines.Splitter, do func(lines.Line) error) error {
	if _, ok := s.Flush(); !ok {
		return nil
	}
	err := do(s.Line())
	s.Drop()
	return err
}
