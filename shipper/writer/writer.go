// Package writer writes the records of all tails to one sink, limits the memory that they
// use, and saves the positions of what the sink has accepted.
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

	"raytap/logthrottle"
	"raytap/shipper/sink"
)

// ErrClosed reports that Run has ended.
var ErrClosed = errors.New("the writer is closed")

// Options are the settings of a Writer. The zero value of each field means its default.
type Options struct {
	Memory    int64              // limit of all buffers of all tails (bytes); 64 MiB
	Drain     time.Duration      // how long Run may write after its context has ended; 5 s
	Positions *checkpoint.Store  // default: a store in memory
	Interval  time.Duration      // between two saves of the positions; 1 s
	Metrics   *metrics.Metrics   // default: metrics of its own
	Log       logrus.FieldLogger // default: none
}

// Writer writes the records of all tails of all clusters to one sink: a bounded queue with
// one writing goroutine, which also saves the positions. Its methods are safe for
// concurrent use.
type Writer struct {
	Positions *checkpoint.Store // set by New
	Memory    *MemoryLimiter    // set by New
	sink      sink.Sink
	opts      Options
	queue     chan *Batch
	reopens   chan chan<- error
	done      chan struct{} // closed when Run has ended
	buffers   sync.Pool     // of *Batch
	records   atomic.Uint64 // accepted by the sink
	stalled   atomic.Int64  // since when a checkpoint cannot be saved, Unix nanoseconds; 0: none waits
	saving    logthrottle.Condition
	runs      runGroup

	// checkpoints belongs to Run.
	checkpoints checkpoints

	mu    sync.Mutex
	slots map[string]*slots.Slots // by session
}

const (
	// queueBatches is the capacity of the queue (batches). A tail that is faster than the
	// sink waits for it, long before it has taken the memory of all tails.
	queueBatches = 64
	// saveCoalesce is how long checkpoints wait to share one save with others.
	saveCoalesce = 20 * time.Millisecond
	// saveDutyCycle is how many times longer than a save the pause after it is at least.
	saveDutyCycle = 50
	// saveRetryInterval is the pause after a checkpoint that could not be saved.
	saveRetryInterval = time.Second
)

// checkpoints are the checkpoints that were requested and are not saved yet.
type checkpoints struct {
	pending []chan<- error
	since   time.Time // of the first one
	next    time.Time // of the next save at an interval
}

// resolve sends the result to all pending checkpoints.
func (c *checkpoints) resolve(err error) {
	for _, saved := range c.pending {
		saved <- err
	}
	c.pending = c.pending[:0]
}

// New returns a Writer to a sink, which it owns from then on. Run starts it.
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
	w := &Writer{
		sink:      s,
		Positions: o.Positions,
		opts:      o,
		queue:     make(chan *Batch, queueBatches),
		Memory:    newMemoryLimiter(o.Memory),
		reopens:   make(chan chan<- error),
		done:      make(chan struct{}),
		slots:     map[string]*slots.Slots{},
		saving:    logthrottle.Condition{Log: o.Log},
	}
	w.reportRecreated()
	w.buffers.New = func() any { return &Batch{Buf: make([]byte, 0, BatchSize+BatchSize/4)} }
	o.Metrics.WatchWriter(w.Stats)
	return w
}

// Stats returns what the metrics report of the writer.
func (w *Writer) Stats() metrics.WriterStats {
	return metrics.WriterStats{LastSaved: w.Positions.LastSaved(), Queue: len(w.queue), Memory: w.Memory.usage(), MemoryLimit: w.Memory.size}
}

// Run writes batches and saves the positions until ctx ends. Then it writes what is still
// queued and saves once more, within the drain time. An error means that the sink did not
// accept everything, or that the last positions are not saved: the process must end.
func (w *Writer) Run(ctx context.Context) error {
	defer close(w.done)
	write, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(w.opts.Drain, cancel)
	})
	defer stop()
	err := w.loop(ctx, write)
	// The positions are correct whatever has happened to the sink: they are before what it
	// has not accepted.
	last := context.WithoutCancel(ctx)
	serr := w.handleRemoved(write, w.save(last))
	if errors.Is(err, sink.ErrFailed) { // serr is the same error
		serr = nil
	}
	_, file := w.sink.(durableSink)
	if write.Err() != nil && errors.Is(err, write.Err()) {
		err = fmt.Errorf("stopped while the sink is blocked, and what it did not accept is read again from Ray at the next start: %s",
			strings.TrimSuffix(err.Error(), ": "+write.Err().Error()))
		if file { // nothing is lost or duplicated
			w.opts.Log.WithError(err).Warn("Shutdown does not wait for the sink")
			err = nil
		}
	}
	if file && serr != nil && !errors.Is(serr, sink.ErrFailed) {
		// As after a kill: the next start finds in the file what the positions lack.
		w.opts.Log.WithError(serr).Warn("Last positions not saved, the next start recovers them from the sink file")
		serr = nil
	}
	return errors.Join(err, serr, w.sink.Close())
}

// loop writes, saves and checks until ctx ends, and then drains the queue. write is the
// context of its work.
func (w *Writer) loop(ctx, write context.Context) error {
	tick := time.NewTicker(w.opts.Interval)
	defer tick.Stop()
	check := time.NewTicker(checkInterval)
	defer check.Stop()
	for {
		var err error
		select {
		case b := <-w.queue:
			err = w.consume(write, b)
		case now := <-tick.C:
			if now.After(w.checkpoints.next) {
				err = w.saveIfDue(write)
			}
		case <-check.C:
			err = w.checkFiles(write)
		case done := <-w.reopens:
			err = w.handleRemoved(write, w.reopen(write))
			done <- err
			if !errors.Is(err, sink.ErrFailed) {
				err = nil
			}
		case <-ctx.Done():
			if err := w.handleRemoved(write, w.drain(write)); err != nil {
				return fmt.Errorf("drain the queue: %w", err)
			}
			return nil
		}
		if err == nil && len(w.checkpoints.pending) > 0 && (len(w.queue) == 0 || time.Since(w.checkpoints.since) > saveCoalesce) {
			err = w.commitCheckpoints(write)
		}
		if err = w.handleRemoved(write, err); err != nil {
			return err
		}
	}
}

// drain writes what is queued.
func (w *Writer) drain(ctx context.Context) error {
	for {
		select {
		case b := <-w.queue:
			if err := w.consume(ctx, b); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// consume writes a batch and then accepts the state of its log.
func (w *Writer) consume(ctx context.Context, b *Batch) error {
	if len(b.Buf) > 0 {
		if err := w.writeBatch(ctx, b); err != nil {
			return err
		}
	}
	if b.Entry != nil {
		w.Positions.Accept(b.Entry, b.Next)
	}
	if b.File != nil {
		w.Positions.AcceptFile(b.File, b.NextFile)
	}
	if b.saved != nil {
		if len(w.checkpoints.pending) == 0 {
			w.checkpoints.since = time.Now()
		}
		w.checkpoints.pending = append(w.checkpoints.pending, b.saved)
	}
	w.Free(b)
	return nil
}

func (w *Writer) writeBatch(ctx context.Context, b *Batch) error {
	started := time.Now()
	err := w.sink.Write(ctx, b.Buf)
	w.opts.Metrics.WriteSeconds.Observe(time.Since(started).Seconds())
	if err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	w.records.Add(uint64(b.Records))
	return nil
}

// Metrics returns the metrics of the shipper, which tails share.
func (w *Writer) Metrics() *metrics.Metrics { return w.opts.Metrics }

// Records returns the number of records that the sink has accepted, events included.
func (w *Writer) Records() uint64 { return w.records.Load() }

// StalledSince returns since when nothing is written because positions that must be saved
// first cannot be saved; the zero time while they can. It does not include a blocked sink,
// which reports that in its own Stats.
func (w *Writer) StalledSince() time.Time {
	if at := w.stalled.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// commitCheckpoints completes the pending checkpoints with one save. It retries until the
// save succeeds; nothing is written meanwhile.
func (w *Writer) commitCheckpoints(ctx context.Context) error {
	defer w.stalled.Store(0)
	for {
		err := w.save(ctx)
		if err == nil {
			break
		}
		if errors.Is(err, sink.ErrFailed) || errors.Is(err, sink.ErrRemoved) {
			return err
		}
		w.stalled.CompareAndSwap(0, time.Now().UnixNano())
		w.saving.Failed("Saving positions failed, shipping stops until it succeeds", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(saveRetryInterval):
		}
	}
	w.checkpoints.resolve(nil)
	return nil
}

// saveIfDue saves the positions if they have changed, or their file is lost. It logs a
// failure, and the next interval retries. An error means that the sink's file was removed,
// or is final.
func (w *Writer) saveIfDue(ctx context.Context) error {
	if !w.Positions.Changed() && !w.Positions.Lost() {
		return nil
	}
	started := time.Now()
	err := w.save(ctx)
	if errors.Is(err, sink.ErrRemoved) || errors.Is(err, sink.ErrFailed) {
		return err
	}
	if err != nil {
		w.saving.Failed("Saving positions failed", err)
	}
	w.checkpoints.next = time.Now().Add(max(w.opts.Interval, saveDutyCycle*time.Since(started))).Add(-w.opts.Interval / 2)
	return nil
}

// save makes durable what the sink has accepted, as far as its fsync policy requires, and
// then saves the positions.
func (w *Writer) save(ctx context.Context) error {
	if f, ok := w.sink.(removableSink); ok {
		if err := f.Check(); err != nil {
			return err
		}
	}
	if !w.Positions.Durable() {
		return w.Positions.Save(ctx, sink.Watermark{}) // in memory
	}
	var mark sink.Watermark
	if f, ok := w.sink.(durableSink); ok {
		if err := f.Sync(ctx); err != nil {
			return err
		}
		mark = f.Durable()
	}
	started := time.Now()
	if err := w.Positions.Save(ctx, mark); err != nil {
		w.opts.Metrics.SaveErrors.Inc()
		return err
	}
	w.opts.Metrics.SaveSeconds.Observe(time.Since(started).Seconds())
	w.saving.Recovered("Saving positions recovered")
	return nil
}

// Reopen makes the writer open the sink's file again, as after a rename by logrotate. It
// returns once nothing is written to the old file any more. It does nothing for a sink
// without a file. If ctx ends first, the writer may still reopen the file later.
func (w *Writer) Reopen(ctx context.Context) error {
	reopened := make(chan error, 1)
	select {
	case w.reopens <- reopened:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.done:
		return ErrClosed
	}
	select {
	case err := <-reopened:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *Writer) reopen(ctx context.Context) error {
	f, ok := w.sink.(interface{ Reopen(context.Context) error })
	if !ok {
		return nil
	}
	return f.Reopen(ctx)
}

// durableSink is a sink that knows up to where its content is durable.
type durableSink interface {
	Sync(ctx context.Context) error
	Durable() sink.Watermark
}

// Checkpoint saves a log's state, and everything that was put before. It returns once that
// is on disk; at once if the positions are in memory. entry may be nil: then it saves what
// else the positions hold.
func (w *Writer) Checkpoint(ctx context.Context, entry *checkpoint.Entry, next checkpoint.State) error {
	if !w.Positions.Durable() {
		return nil
	}
	saved := make(chan error, 1)
	if err := w.Put(ctx, &Batch{Entry: entry, Next: next, saved: saved}); err != nil {
		return err
	}
	select {
	case err := <-saved:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-w.done:
		return ErrClosed
	}
}
