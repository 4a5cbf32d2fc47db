package shipper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/lines"
	"raytap/logthrottle"
	"raytap/shipper/sink"
)

// errOutputClosed ends the streams when the sink is gone.
var errOutputClosed = errors.New("the output is closed")

// OutputOptions are the settings of an Output. The zero value of each field
// means its default.
type OutputOptions struct {
	Memory    int64         // bytes of all buffers of all streams; 64 MiB
	Drain     time.Duration // how long Run may write after its context ended; 5 s
	Positions *Positions    // in memory
	Interval  time.Duration // between two saves of the positions; 1 s
	Metrics   *Metrics
	Log       logrus.FieldLogger
}

// Output is the one way to a sink for all streams of all clusters: a bounded
// queue with one writer, which also saves the positions. Its methods are safe
// for concurrent use.
type Output struct {
	sink      sink.Sink
	positions *Positions
	opts      OutputOptions
	queue     chan *batch
	budget    *budget
	reopens   chan chan<- error
	done      chan struct{} // closed when Run has ended
	buffers   sync.Pool     // of *batch
	records   atomic.Uint64 // that the sink accepted
	stalled   atomic.Int64  // since when a checkpoint waits to be saved, Unix nanoseconds; 0: none does
	saving    logthrottle.Condition
	runs      runs

	// What follows belongs to Run.
	waiting []chan<- error // checkpoints asked for and not made
	since   time.Time      // the first of them
	next    time.Time      // the next save at an interval

	mu    sync.Mutex
	slots map[string]*slots // by session
}

const (
	// batchSize is how full a batch gets before it is handed over (bytes).
	batchSize = 64 << 10
	// batchReserve is what a batch takes from the memory budget: its bytes, and
	// the chunk that they are made of.
	batchReserve = batchSize + lines.ChunkSize
	// recordRoom is what a record takes beside its message, and more.
	recordRoom = 2 << 10
	// queueBatches is how many batches wait for the sink; a stream that outruns
	// it waits, long before the memory of all is spent.
	queueBatches = 64
	// gather is how long checkpoints wait for others to share a save with.
	gather = 20 * time.Millisecond
	// saveShare is how many times longer than a save the pause behind it is.
	saveShare = 50
	// saveRetry is the pause after a checkpoint that could not be saved.
	saveRetry = time.Second
)

// batch is some records of one stream, in order, and the state of its log that
// holds once the sink has accepted them. A batch without records may carry a
// state alone, or ask for a checkpoint.
type batch struct {
	buf      []byte
	records  int
	reserved int64
	entry    *logEntry
	next     snapshot
	saved    chan<- error // a checkpoint: gets its result; buffered
}

// NewOutput makes an output to a sink that it owns from then on.
func NewOutput(s sink.Sink, o OutputOptions) *Output {
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	if o.Drain == 0 {
		o.Drain = 5 * time.Second
	}
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	if o.Positions == nil {
		o.Positions, _ = OpenPositions("") // in memory: no error
	}
	if o.Log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		o.Log = l
	}
	out := &Output{
		sink:      s,
		positions: o.Positions,
		opts:      o,
		queue:     make(chan *batch, queueBatches),
		budget:    newBudget(o.Memory),
		reopens:   make(chan chan<- error),
		done:      make(chan struct{}),
		slots:     map[string]*slots{},
		saving:    logthrottle.Condition{Log: o.Log},
	}
	out.watchPositions()
	out.buffers.New = func() any { return &batch{buf: make([]byte, 0, batchSize+batchSize/4)} }
	o.Metrics.WatchWriter(out.stats)
	return out
}

// stats returns what the metrics report of the output.
func (o *Output) stats() WriterStats {
	return WriterStats{LastSaved: o.positions.LastSaved(), Queue: len(o.queue), Memory: o.budget.usage(), MemoryLimit: o.budget.size}
}

// Run writes, and saves the positions, until ctx ends; then it writes what is
// still queued and saves once more, for at most the drain time. An error means
// that the sink took less than it was given, or that the last positions are not
// saved: the process has to end.
func (o *Output) Run(ctx context.Context) error {
	defer close(o.done)
	write, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(o.opts.Drain, cancel)
	})
	defer stop()
	err := o.loop(ctx, write)
	// The positions are true whatever happened to the sink: they stand before
	// what it has not accepted.
	last := context.WithoutCancel(ctx)
	serr := o.survive(write, o.save(last))
	if errors.Is(err, sink.ErrFailed) { // it says so again
		serr = nil
	}
	_, file := o.sink.(durableSink)
	if write.Err() != nil && errors.Is(err, write.Err()) {
		err = fmt.Errorf("stopped while the sink waits, and what it did not take is read again from Ray at the next start: %s",
			strings.TrimSuffix(err.Error(), ": "+write.Err().Error()))
		if file { // nothing is lost, and nothing comes twice
			o.opts.Log.Warn(err)
			err = nil
		}
	}
	if file && serr != nil && !errors.Is(serr, sink.ErrFailed) {
		// As after a kill: the next start finds in the file what they lack.
		o.opts.Log.WithError(serr).Warn("Stopped without saving the last positions: the next start finds in the sink file what was written since")
		serr = nil
	}
	return errors.Join(err, serr, o.sink.Close())
}

func (o *Output) loop(ctx, write context.Context) error {
	tick := time.NewTicker(o.opts.Interval)
	defer tick.Stop()
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	for {
		var err error
		select {
		case b := <-o.queue:
			err = o.take(write, b)
		case now := <-tick.C:
			if now.After(o.next) {
				err = o.saveNow(write)
			}
		case <-look.C:
			err = o.tend(write)
		case done := <-o.reopens:
			err = o.survive(write, o.reopen(write))
			done <- err
			if !errors.Is(err, sink.ErrFailed) {
				err = nil
			}
		case <-ctx.Done():
			if err := o.survive(write, o.drain(write)); err != nil {
				return fmt.Errorf("drain the queue: %w", err)
			}
			return nil
		}
		if err == nil && len(o.waiting) > 0 && (len(o.queue) == 0 || time.Since(o.since) > gather) {
			err = o.commit(write)
		}
		if err = o.survive(write, err); err != nil {
			return err
		}
	}
}

func (o *Output) drain(ctx context.Context) error {
	for {
		select {
		case b := <-o.queue:
			if err := o.take(ctx, b); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// take writes a batch and takes the state of its log over.
func (o *Output) take(ctx context.Context, b *batch) error {
	if len(b.buf) > 0 {
		if err := o.write(ctx, b); err != nil {
			return err
		}
	}
	if b.entry != nil {
		o.positions.accept(b.entry, b.next)
	}
	if b.saved != nil {
		if len(o.waiting) == 0 {
			o.since = time.Now()
		}
		o.waiting = append(o.waiting, b.saved)
	}
	o.releaseBatch(b)
	return nil
}

func (o *Output) write(ctx context.Context, b *batch) error {
	started := time.Now()
	err := o.sink.Write(ctx, b.buf)
	o.opts.Metrics.WriteSeconds.Observe(time.Since(started).Seconds())
	if err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	o.records.Add(uint64(b.records))
	return nil
}

// Metrics returns the metrics of the output.
func (o *Output) Metrics() *Metrics { return o.opts.Metrics }

// Records gives how many records the sink accepted, events among them.
func (o *Output) Records() uint64 { return o.records.Load() }

// StalledSince gives since when nothing is written because positions that have to
// be saved first cannot be; the zero time while they can. A sink that waits by
// itself tells so in its own Stats.
func (o *Output) StalledSince() time.Time {
	if at := o.stalled.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// commit makes the checkpoints that are asked for, all with one save. One that
// cannot be saved is back-pressure: nothing is written until it can.
func (o *Output) commit(ctx context.Context) error {
	defer o.stalled.Store(0)
	for {
		err := o.save(ctx)
		if err == nil {
			break
		}
		if errors.Is(err, sink.ErrFailed) || errors.Is(err, sink.ErrRemoved) {
			return err
		}
		o.stalled.CompareAndSwap(0, time.Now().UnixNano())
		o.saving.Failed("Positions cannot be saved, and nothing is shipped until they can", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(saveRetry):
		}
	}
	for _, w := range o.waiting {
		w <- nil
	}
	o.waiting = o.waiting[:0]
	return nil
}

// saveNow saves at an interval, where something has changed, or the file is not
// there any more. A failure is no harm yet: it is tried again. An error says that
// the sink's file was removed, or is final.
func (o *Output) saveNow(ctx context.Context) error {
	if !o.positions.changed() && !o.positions.lost() {
		return nil
	}
	started := time.Now()
	err := o.save(ctx)
	if errors.Is(err, sink.ErrRemoved) || errors.Is(err, sink.ErrFailed) {
		return err
	}
	if err != nil {
		o.saving.Failed("Positions cannot be saved", err)
	}
	o.next = time.Now().Add(max(o.opts.Interval, saveShare*time.Since(started))).Add(-o.opts.Interval / 2)
	return nil
}

// save makes what the sink has accepted durable, as its policy says, and then
// saves the positions behind it.
func (o *Output) save(ctx context.Context) error {
	if f, ok := o.sink.(removableSink); ok {
		if err := f.Check(); err != nil {
			return err
		}
	}
	if !o.positions.Durable() {
		return o.positions.Save(ctx, sink.Watermark{}) // in memory
	}
	var mark sink.Watermark
	if f, ok := o.sink.(durableSink); ok {
		if err := f.Sync(ctx); err != nil {
			return err
		}
		mark = f.Durable()
	}
	started := time.Now()
	if err := o.positions.Save(ctx, mark); err != nil {
		o.opts.Metrics.SaveErrors.Inc()
		return err
	}
	o.opts.Metrics.SaveSeconds.Observe(time.Since(started).Seconds())
	o.saving.Recovered("Positions can be saved again")
	return nil
}

// Reopen has the writer open the sink's file anew, as after a rename by others.
// It returns once nothing is written to the old file any more; a sink without a
// file has nothing to do. Where ctx ends first, the writer still does it when it
// comes to it.
func (o *Output) Reopen(ctx context.Context) error {
	reopened := make(chan error, 1)
	select {
	case o.reopens <- reopened:
	case <-ctx.Done():
		return ctx.Err()
	case <-o.done:
		return errOutputClosed
	}
	select {
	case err := <-reopened:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *Output) reopen(ctx context.Context) error {
	f, ok := o.sink.(interface{ Reopen(context.Context) error })
	if !ok {
		return nil
	}
	return f.Reopen(ctx)
}

// durableSink is a sink that says how far it is durable.
type durableSink interface {
	Sync(ctx context.Context) error
	Durable() sink.Watermark
}

// checkpoint returns once a log's state is on disk, and with it all that was
// put before. entry may be nil: then it is about what the positions hold else.
func (o *Output) checkpoint(ctx context.Context, entry *logEntry, next snapshot) error {
	if !o.positions.Durable() {
		return nil
	}
	saved := make(chan error, 1)
	if err := o.put(ctx, &batch{entry: entry, next: next, saved: saved}); err != nil {
		return err
	}
	select {
	case err := <-saved:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-o.done:
		return errOutputClosed
	}
}

// batch gives an empty batch once there is memory for it. yield tells that the
// caller holds a half line that it can let go: then errMemoryPressure may come.
func (o *Output) batch(ctx context.Context, yield bool) (*batch, error) {
	if err := o.budget.acquire(ctx, batchReserve, false, yield); err != nil {
		return nil, err
	}
	b := o.buffers.Get().(*batch)
	b.reserved = batchReserve
	return b, nil
}

// growBuffer makes room in a batch for a record of about n bytes.
func (o *Output) growBuffer(b *batch, n int) {
	small := b.buf
	b.buf = append(lines.GetBuffer(lines.RoundBuffer(len(small)+n)), small...)
	o.recycle(small)
}

// put queues a batch and owns it from then on, also on an error.
func (o *Output) put(ctx context.Context, b *batch) error {
	if extra := int64(cap(b.buf)) - b.reserved; extra > 0 {
		o.budget.force(extra)
		b.reserved += extra
	}
	select {
	case o.queue <- b:
		return nil
	case <-ctx.Done():
		o.releaseBatch(b)
		return ctx.Err()
	case <-o.done:
		o.releaseBatch(b)
		return errOutputClosed
	}
}

func (o *Output) releaseBatch(b *batch) {
	if b.reserved > 0 {
		o.budget.release(b.reserved, false)
	}
	o.recycle(b.buf)
}

// recycle keeps a batch's buffer, which nobody looks at any more, for another one.
func (o *Output) recycle(buf []byte) {
	if cap(buf) >= batchSize && cap(buf) < 2*batchSize {
		o.buffers.Put(&batch{buf: buf[:0]})
		return
	}
	lines.PutBuffer(buf)
}

// slotsOf gives the slots of a Ray session, which all who read it share,
// whatever they call the cluster.
func (o *Output) slotsOf(session string, max int) *slots {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.slots[session]
	if s == nil {
		for name, old := range o.slots {
			if old.count() == 0 {
				delete(o.slots, name)
			}
		}
		s = newSlots(max, o.positions.slotsOf(session), func(held map[string]int) { o.positions.setSlots(session, held) })
		o.slots[session] = s
	}
	return s
}
