package shipper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/shipper/sink"
)

// errOutputClosed ends the streams when the sink is gone.
var errOutputClosed = errors.New("the output is closed")

// OutputOptions are the settings of an Output. The zero value of each field
// means its default.
type OutputOptions struct {
	Memory  int64         // bytes of all buffers of all streams; 64 MiB
	Drain   time.Duration // how long Run may write after its context ended; 5 s
	Metrics *Metrics
	Log     logrus.FieldLogger
}

// Output is the one way to a sink for all streams of all clusters: a bounded
// queue with one writer. Its methods are safe for concurrent use.
type Output struct {
	sink    sink.Sink
	opts    OutputOptions
	queue   chan *batch
	budget  *budget
	done    chan struct{} // closed when Run has ended
	buffers sync.Pool     // of *batch

	mu    sync.Mutex
	slots map[string]*slots // by session
}

// batchSize is how full a batch gets before it is handed over (bytes).
const batchSize = 64 << 10

// batchReserve is what a batch takes from the memory budget: its bytes, and
// the chunk that they are made of.
const batchReserve = batchSize + chunkSize

// batch is some records of one stream, in order.
type batch struct {
	buf      []byte
	records  int
	reserved int64
}

// NewOutput makes an output to a sink that it owns from then on.
func NewOutput(s sink.Sink, o OutputOptions) *Output {
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	if o.Drain == 0 {
		o.Drain = 5 * time.Second
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	out := &Output{
		sink:   s,
		opts:   o,
		queue:  make(chan *batch, 1024),
		budget: newBudget(o.Memory),
		done:   make(chan struct{}),
		slots:  map[string]*slots{},
	}
	out.buffers.New = func() any { return &batch{buf: make([]byte, 0, batchSize+batchSize/4)} }
	o.Metrics.watch(out)
	return out
}

// Run writes until ctx ends and then what is still queued, for at most the
// drain time. An error means that the sink took less than it was given: the
// process has to end.
func (o *Output) Run(ctx context.Context) error {
	defer close(o.done)
	write, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(o.opts.Drain, cancel)
	})
	defer stop()
	for {
		select {
		case b := <-o.queue:
			if err := o.write(write, b); err != nil {
				return err
			}
		case <-ctx.Done():
			for {
				select {
				case b := <-o.queue:
					if err := o.write(write, b); err != nil {
						return fmt.Errorf("drain the queue: %w", err)
					}
				default:
					return o.sink.Close()
				}
			}
		}
	}
}

func (o *Output) write(ctx context.Context, b *batch) error {
	started := time.Now()
	err := o.sink.Write(ctx, b.buf)
	o.opts.Metrics.writeSeconds.Observe(time.Since(started).Seconds())
	if err != nil {
		o.opts.Metrics.sinkErrors.Inc()
		return fmt.Errorf("write records: %w", err)
	}
	o.opts.Metrics.written.Add(float64(b.records))
	o.opts.Metrics.writtenBytes.Add(float64(len(b.buf)))
	o.free(b)
	return nil
}

// batch gives an empty batch once there is memory for it. yield tells that the
// caller holds a half line that it can let go: then errGiveUp may come.
func (o *Output) batch(ctx context.Context, yield bool) (*batch, error) {
	if err := o.budget.acquire(ctx, batchReserve, false, yield); err != nil {
		return nil, err
	}
	b := o.buffers.Get().(*batch)
	b.reserved = batchReserve
	return b, nil
}

// put queues a batch and owns it from then on, also on an error.
func (o *Output) put(ctx context.Context, b *batch) error {
	if len(b.buf) == 0 {
		o.free(b)
		return nil
	}
	if extra := int64(cap(b.buf)) - b.reserved; extra > 0 {
		o.budget.force(extra)
		b.reserved += extra
	}
	select {
	case o.queue <- b:
		return nil
	case <-ctx.Done():
		o.free(b)
		return ctx.Err()
	case <-o.done:
		o.free(b)
		return errOutputClosed
	}
}

func (o *Output) free(b *batch) {
	o.budget.release(b.reserved, false)
	if cap(b.buf) > 2*batchSize {
		return // a rare big one is left to the collector
	}
	*b = batch{buf: b.buf[:0]}
	o.buffers.Put(b)
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
		s = newSlots(max)
		o.slots[session] = s
	}
	return s
}
