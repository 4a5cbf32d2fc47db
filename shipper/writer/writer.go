package writer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/metrics"
	"raytap/shipper/slots"

	"github.com/sirupsen/logrus"

	"raytap/lines"
	"raytap/logthrottle"
	"raytap/shipper/sink"
)

// errOutputClosed ends the streams when the sink is gone.
var ErrClosed = errors.New("the output is closed")

// OutputOptions are the settings of an Output. The zero value of each field
// means its default.
type Options struct {
	Memory    int64             // bytes of all buffers of all streams; 64 MiB
	Drain     time.Duration     // how long Run may write after its context ended; 5 s
	Positions *checkpoint.Store // in memory
	Interval  time.Duration     // between two saves of the positions; 1 s
	Metrics   *metrics.Metrics
	Log       logrus.FieldLogger
}

// Output is the one way to a sink for all streams of all clusters: a bounded
// queue with one writer, which also saves the positions. Its methods are safe
// for concurrent use.
type Writer struct {
	sink      sink.Sink
	Positions *checkpoint.Store
	Opts      Options
	queue     chan *Batch
	Memory    *MemoryLimiter
	reopens   chan chan<- error
	done      chan struct{} // closed when Run has ended
	buffers   sync.Pool     // of *batch
	records   atomic.Uint64 // that the sink accepted
	stalled   atomic.Int64  // since when a checkpoint waits to be saved, Unix nanoseconds; 0: none does
	saving    logthrottle.Condition
	Runs      runs

	// What follows belongs to Run.
	pendingCheckpoints []chan<- error // checkpoints asked for and not made
	since              time.Time      // the first of them
	next               time.Time      // the next save at an interval

	mu    sync.Mutex
	slots map[string]*slots.Slots // by session
}

const (
	// batchSize is how full a batch gets before it is handed over (bytes).
	BatchSize = 64 << 10
	// batchReserve is what a batch takes from the memory budget: its bytes, and
	// the chunk that they are made of.
	batchReserve = BatchSize + lines.ChunkSize
	// recordRoom is what a record takes beside its message, and more.
	RecordRoom = 2 << 10
	// queueBatches is how many batches wait for the sink; a stream that outruns
	// it waits, long before the memory of all is spent.
	queueBatches = 64
	// gather is how long checkpoints wait for others to share a save with.
	saveCoalesce = 20 * time.Millisecond
	// saveShare is how many times longer than a save the pause behind it is.
	saveDutyCycle = 50
	// saveRetry is the pause after a checkpoint that could not be saved.
	saveRetryInterval = time.Second
)

// batch is some records of one stream, in order, and the state of its log that
// holds once the sink has accepted them. A batch without records may carry a
// state alone, or ask for a checkpoint.
type Batch struct {
	Buf      []byte
	Records  int
	reserved int64
	Entry    *checkpoint.Entry
	Next     checkpoint.State
	saved    chan<- error // a checkpoint: gets its result; buffered
}

// NewOutput makes an output to a sink that it owns from then on.
func New(s sink.Sink, o Options) *Writer {
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
		o.Metrics = metrics.New()
	}
	if o.Positions == nil {
		o.Positions, _ = checkpoint.Open("") // in memory: no error
	}
	if o.Log == nil {
		l := logrus.New()
		l.SetOutput(io.Discard)
		o.Log = l
	}
	out := &Writer{
		sink:      s,
		Positions: o.Positions,
		Opts:      o,
		queue:     make(chan *Batch, queueBatches),
		Memory:    newBudget(o.Memory),
		reopens:   make(chan chan<- error),
		done:      make(chan struct{}),
		slots:     map[string]*slots.Slots{},
		saving:    logthrottle.Condition{Log: o.Log},
	}
	out.reportRecreated()
	out.buffers.New = func() any { return &Batch{Buf: make([]byte, 0, BatchSize+BatchSize/4)} }
	o.Metrics.WatchWriter(out.Stats)
	return out
}

// Stats returns what the metrics report of the writer.
func (o *Writer) Stats() metrics.WriterStats {
	return metrics.WriterStats{LastSaved: o.Positions.LastSaved(), Queue: len(o.queue), Memory: o.Memory.usage(), MemoryLimit: o.Memory.size}
}

// Run writes, and saves the positions, until ctx ends; then it writes what is
// still queued and saves once more, for at most the drain time. An error means
// that the sink took less than it was given, or that the last positions are not
// saved: the process has to end.
func (o *Writer) Run(ctx context.Context) error {
	defer close(o.done)
	write, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(o.Opts.Drain, cancel)
	})
	defer stop()
	err := o.loop(ctx, write)
	// The positions are true whatever happened to the sink: they stand before
	// what it has not accepted.
	last := context.WithoutCancel(ctx)
	serr := o.handleRemoved(write, o.save(last))
	if errors.Is(err, sink.ErrFailed) { // it says so again
		serr = nil
	}
	_, file := o.sink.(durableSink)
	if write.Err() != nil && errors.Is(err, write.Err()) {
		err = fmt.Errorf("stopped while the sink waits, and what it did not take is read again from Ray at the next start: %s",
			strings.TrimSuffix(err.Error(), ": "+write.Err().Error()))
		if file { // nothing is lost, and nothing comes twice
			o.Opts.Log.Warn(err)
			err = nil
		}
	}
	if file && serr != nil && !errors.Is(serr, sink.ErrFailed) {
		// As after a kill: the next start finds in the file what they lack.
		o.Opts.Log.WithError(serr).Warn("Stopped without saving the last positions: the next start finds in the sink file what was written since")
		serr = nil
	}
	return errors.Join(err, serr, o.sink.Close())
}

func (o *Writer) loop(ctx, write context.Context) error {
	tick := time.NewTicker(o.Opts.Interval)
	defer tick.Stop()
	look := time.NewTicker(checkInterval)
	defer look.Stop()
	for {
		var err error
		select {
		case b := <-o.queue:
			err = o.consume(write, b)
		case now := <-tick.C:
			if now.After(o.next) {
				err = o.saveIfDue(write)
			}
		case <-look.C:
			err = o.checkFiles(write)
		case done := <-o.reopens:
			err = o.handleRemoved(write, o.reopen(write))
			done <- err
			if !errors.Is(err, sink.ErrFailed) {
				err = nil
			}
		case <-ctx.Done():
			if err := o.handleRemoved(write, o.drain(write)); err != nil {
				return fmt.Errorf("drain the queue: %w", err)
			}
			return nil
		}
		if err == nil && len(o.pendingCheckpoints) > 0 && (len(o.queue) == 0 || time.Since(o.since) > saveCoalesce) {
			err = o.commitCheckpoints(write)
		}
		if err = o.handleRemoved(write, err); err != nil {
			return err
		}
	}
}

func (o *Writer) drain(ctx context.Context) error {
	for {
		select {
		case b := <-o.queue:
			if err := o.consume(ctx, b); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// take writes a batch and takes the state of its log over.
func (o *Writer) consume(ctx context.Context, b *Batch) error {
	if len(b.Buf) > 0 {
		if err := o.writeBatch(ctx, b); err != nil {
			return err
		}
	}
	if b.Entry != nil {
		o.Positions.Accept(b.Entry, b.Next)
	}
	if b.saved != nil {
		if len(o.pendingCheckpoints) == 0 {
			o.since = time.Now()
		}
		o.pendingCheckpoints = append(o.pendingCheckpoints, b.saved)
	}
	o.Free(b)
	return nil
}

func (o *Writer) writeBatch(ctx context.Context, b *Batch) error {
	started := time.Now()
	err := o.sink.Write(ctx, b.Buf)
	o.Opts.Metrics.WriteSeconds.Observe(time.Since(started).Seconds())
	if err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	o.records.Add(uint64(b.Records))
	return nil
}

// Metrics returns the metrics of the output.
func (o *Writer) Metrics() *metrics.Metrics { return o.Opts.Metrics }

// Records gives how many records the sink accepted, events among them.
func (o *Writer) Records() uint64 { return o.records.Load() }

// StalledSince gives since when nothing is written because positions that have to
// be saved first cannot be; the zero time while they can. A sink that waits by
// itself tells so in its own Stats.
func (o *Writer) StalledSince() time.Time {
	if at := o.stalled.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// commit makes the checkpoints that are asked for, all with one save. One that
// cannot be saved is back-pressure: nothing is written until it can.
func (o *Writer) commitCheckpoints(ctx context.Context) error {
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
		case <-time.After(saveRetryInterval):
		}
	}
	for _, w := range o.pendingCheckpoints {
		w <- nil
	}
	o.pendingCheckpoints = o.pendingCheckpoints[:0]
	return nil
}

// saveNow saves at an interval, where something has changed, or the file is not
// there any more. A failure is no harm yet: it is tried again. An error says that
// the sink's file was removed, or is final.
func (o *Writer) saveIfDue(ctx context.Context) error {
	if !o.Positions.Changed() && !o.Positions.Lost() {
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
	o.next = time.Now().Add(max(o.Opts.Interval, saveDutyCycle*time.Since(started))).Add(-o.Opts.Interval / 2)
	return nil
}

// save makes what the sink has accepted durable, as its policy says, and then
// saves the positions behind it.
func (o *Writer) save(ctx context.Context) error {
	if f, ok := o.sink.(removableSink); ok {
		if err := f.Check(); err != nil {
			return err
		}
	}
	if !o.Positions.Durable() {
		return o.Positions.Save(ctx, sink.Watermark{}) // in memory
	}
	var mark sink.Watermark
	if f, ok := o.sink.(durableSink); ok {
		if err := f.Sync(ctx); err != nil {
			return err
		}
		mark = f.Durable()
	}
	started := time.Now()
	if err := o.Positions.Save(ctx, mark); err != nil {
		o.Opts.Metrics.SaveErrors.Inc()
		return err
	}
	o.Opts.Metrics.SaveSeconds.Observe(time.Since(started).Seconds())
	o.saving.Recovered("Positions can be saved again")
	return nil
}

// Reopen has the writer open the sink's file anew, as after a rename by others.
// It returns once nothing is written to the old file any more; a sink without a
// file has nothing to do. Where ctx ends first, the writer still does it when it
// comes to it.
func (o *Writer) Reopen(ctx context.Context) error {
	reopened := make(chan error, 1)
	select {
	case o.reopens <- reopened:
	case <-ctx.Done():
		return ctx.Err()
	case <-o.done:
		return ErrClosed
	}
	select {
	case err := <-reopened:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *Writer) reopen(ctx context.Context) error {
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
func (o *Writer) Checkpoint(ctx context.Context, entry *checkpoint.Entry, next checkpoint.State) error {
	if !o.Positions.Durable() {
		return nil
	}
	saved := make(chan error, 1)
	if err := o.Put(ctx, &Batch{Entry: entry, Next: next, saved: saved}); err != nil {
		return err
	}
	select {
	case err := <-saved:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-o.done:
		return ErrClosed
	}
}

// batch gives an empty batch once there is memory for it. yield tells that the
// caller holds a half line that it can let go: then errMemoryPressure may come.
func (o *Writer) Batch(ctx context.Context, yield bool) (*Batch, error) {
	if err := o.Memory.Acquire(ctx, batchReserve, false, yield); err != nil {
		return nil, err
	}
	b := o.buffers.Get().(*Batch)
	b.reserved = batchReserve
	return b, nil
}

// growBuffer makes room in a batch for a record of about n bytes.
func (o *Writer) Grow(b *Batch, n int) {
	small := b.Buf
	b.Buf = append(lines.GetBuffer(lines.RoundBuffer(len(small)+n)), small...)
	o.putBuffer(small)
}

// put queues a batch and owns it from then on, also on an error.
func (o *Writer) Put(ctx context.Context, b *Batch) error {
	if extra := int64(cap(b.Buf)) - b.reserved; extra > 0 {
		o.Memory.Force(extra)
		b.reserved += extra
	}
	select {
	case o.queue <- b:
		return nil
	case <-ctx.Done():
		o.Free(b)
		return ctx.Err()
	case <-o.done:
		o.Free(b)
		return ErrClosed
	}
}

func (o *Writer) Free(b *Batch) {
	if b.reserved > 0 {
		o.Memory.Release(b.reserved, false)
	}
	o.putBuffer(b.Buf)
}

// recycle keeps a batch's buffer, which nobody looks at any more, for another one.
func (o *Writer) putBuffer(buf []byte) {
	if cap(buf) >= BatchSize && cap(buf) < 2*BatchSize {
		o.buffers.Put(&Batch{Buf: buf[:0]})
		return
	}
	lines.PutBuffer(buf)
}
