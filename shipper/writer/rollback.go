package writer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"raytap/shipper/sink"
)

// Positions are saved only after the sink's file was seen at its name, so what is
// saved is true even where the file was removed. When that has happened, everything
// that was written since is gone: the writer stops all streams, takes the positions
// back to what is saved, has the file made again, and lets the shippers start over,
// as at start-up. What was written since is then read again from Ray.

// errSinkRemoved ends the streams when what they wrote last is gone.
var errSinkRemoved = errors.New("the sink's file was removed")

// lookInterval is the pause between two looks at the sink's file.
const checkInterval = time.Second

// removableSink is a sink whose file others can remove while it is written.
type removableSink interface {
	// Check returns an error that is sink.ErrRemoved once the file is gone.
	Check() error
	// Maintain does what is due while nothing is written.
	Maintain(ctx context.Context) error
	// Recreate creates the file again, and calls record for what is in it already.
	Recreate(ctx context.Context, record func([]byte) error) error
}

// runs are the runs of the shippers that write into an Output. The zero value has
// none.
type runs struct {
	mu      sync.Mutex
	cancels map[int]context.CancelCauseFunc
	last    int
	over    chan struct{} // closed when a rollback is over; nil while there is none
	left    chan struct{} // gets a value, at most one, when a run ends during a rollback
}

// begin waits until no rollback is under way, and enters a run. Its context ends
// with ctx, or with the next rollback; the shipper calls end when nothing of the run
// is at work any more. False: ctx has ended before.
func (r *runs) Begin(ctx context.Context) (run context.Context, end func(), ok bool) {
	r.mu.Lock()
	for r.over != nil {
		over := r.over
		r.mu.Unlock()
		select {
		case <-over:
		case <-ctx.Done():
			return ctx, nil, false
		}
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return ctx, nil, false
	}
	run, cancel := context.WithCancelCause(ctx)
	r.last++
	id := r.last
	if r.cancels == nil {
		r.cancels = map[int]context.CancelCauseFunc{}
	}
	r.cancels[id] = cancel
	return run, func() {
		cancel(nil)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.cancels, id)
		if r.left != nil {
			select {
			case r.left <- struct{}{}:
			default:
			}
		}
	}, true
}

// stop ends all runs, and lets none begin before resume. left gets a value when
// some of them have ended.
func (r *runs) stop(why error) (left <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over, r.left = make(chan struct{}), make(chan struct{}, 1)
	for _, cancel := range r.cancels {
		cancel(why)
	}
	return r.left
}

// stopped reports whether no run is at work.
func (r *runs) stopped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.cancels) == 0
}

func (r *runs) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.over)
	r.over, r.left = nil, nil
}

// tend looks at the sink's file and at that of the positions.
func (o *Writer) checkFiles(ctx context.Context) error {
	if f, ok := o.sink.(removableSink); ok {
		if err := f.Maintain(ctx); err != nil {
			return err
		}
	}
	if o.Positions.Lost() {
		return o.saveIfDue(ctx)
	}
	return nil
}

// survive goes on after an error of the sink that says that its file was removed;
// any other one is returned.
func (o *Writer) handleRemoved(ctx context.Context, err error) error {
	if !errors.Is(err, sink.ErrRemoved) {
		return err
	}
	return o.rollback(ctx)
}

// rollback makes the sink's file again, and has everything shipped again that the
// saved positions do not count. ctx ends when the time to drain is over.
func (o *Writer) rollback(ctx context.Context) error {
	f, ok := o.sink.(removableSink)
	if !ok {
		return sink.ErrRemoved
	}
	o.Opts.Log.Error("The sink file was removed by others: it is made again, and what was written to it since the positions were last saved is read again from Ray. " +
		"What it held before is gone. Let max_files remove rotated files, and never the current one")
	left := o.Runs.stop(errSinkRemoved)
	defer o.Runs.resume()
	for !o.Runs.stopped() {
		select {
		case <-left:
		case b := <-o.queue:
			o.discard(b)
		case <-ctx.Done():
			return fmt.Errorf("stop the streams after the sink's file was removed: %w", ctx.Err())
		}
	}
	for len(o.queue) > 0 {
		o.discard(<-o.queue)
	}
	for _, w := range o.pendingCheckpoints {
		w <- errSinkRemoved
	}
	o.pendingCheckpoints = o.pendingCheckpoints[:0]
	o.Positions.Rollback()
	return f.Recreate(ctx, func(record []byte) error {
		// Others may have put anything there; what is no record is none of ours.
		_ = o.Positions.Recovered(record)
		return nil
	})
}

// discard drops a batch that was not written.
func (o *Writer) discard(b *Batch) {
	if b.saved != nil {
		b.saved <- errSinkRemoved
	}
	o.Free(b)
}
