package writer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"raytap/shipper/sink"
)

// Positions are saved only after the sink's file was found at its path. So saved positions
// are correct even if the file is removed later. When it is removed, everything that was
// written since the last save is lost: the writer stops all tails, returns the positions to
// their saved state, creates the file again, and lets the shippers start as at start-up.
// They read again from Ray what was written since.

// errSinkRemoved ends the runs whose last records are lost with the sink's file.
var errSinkRemoved = errors.New("the sink's file was removed")

// checkInterval is the pause between two checks of the files of the sink and the positions.
const checkInterval = time.Second

// removableSink is a sink whose file others can remove while it is written.
type removableSink interface {
	// Check returns an error that is sink.ErrRemoved once the file is gone.
	Check() error
	// Maintain does what is due while nothing is written, such as a rotation by age.
	Maintain(ctx context.Context) error
	// Recreate creates the file again, and calls record for each record in it already.
	Recreate(ctx context.Context, record func([]byte) error) error
}

// BeginRun waits until no rollback is in progress, and begins a run of a shipper. The run's
// context ends with ctx, or with the next rollback. The shipper calls end when it has
// stopped everything that belongs to the run. ok is false if ctx ended first.
func (w *Writer) BeginRun(ctx context.Context) (run context.Context, end func(), ok bool) {
	return w.runs.begin(ctx)
}

// runGroup is the set of runs of the shippers that use a Writer. The zero value is empty.
type runGroup struct {
	mu      sync.Mutex
	cancels map[int]context.CancelCauseFunc
	last    int
	over    chan struct{} // closed at the end of a rollback; nil while there is none
	ended   chan struct{} // receives a value when a run ends during a rollback; buffered: 1
}

func (r *runGroup) begin(ctx context.Context) (run context.Context, end func(), ok bool) {
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
		if r.ended != nil {
			select {
			case r.ended <- struct{}{}:
			default:
			}
		}
	}, true
}

// stop cancels all runs with a cause, and lets none begin before resume. The channel
// receives a value after some of them have ended.
func (r *runGroup) stop(cause error) (ended <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over, r.ended = make(chan struct{}), make(chan struct{}, 1)
	for _, cancel := range r.cancels {
		cancel(cause)
	}
	return r.ended
}

// stopped reports whether all runs have ended.
func (r *runGroup) stopped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.cancels) == 0
}

// resume lets runs begin again after stop.
func (r *runGroup) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.over)
	r.over, r.ended = nil, nil
}

// checkFiles checks the file of the sink and that of the positions, which it writes again
// if it is lost.
func (w *Writer) checkFiles(ctx context.Context) error {
	if f, ok := w.sink.(removableSink); ok {
		if err := f.Maintain(ctx); err != nil {
			return err
		}
	}
	if w.Positions.Lost() {
		return w.saveIfDue(ctx)
	}
	return nil
}

// handleRemoved does a rollback after an error of the sink that means that its file was
// removed. It returns any other error.
func (w *Writer) handleRemoved(ctx context.Context, err error) error {
	if !errors.Is(err, sink.ErrRemoved) {
		return err
	}
	return w.rollback(ctx)
}

// rollback creates the sink's file again, and returns the positions to their saved state,
// so that everything after it is shipped again. ctx ends when the drain time is over.
func (w *Writer) rollback(ctx context.Context) error {
	f, ok := w.sink.(removableSink)
	if !ok {
		return sink.ErrRemoved
	}
	w.opts.Log.WithField("hint", "let max_files remove rotated files, and never remove the current one").
		Error("Sink file was removed by another program and its content is lost, records since the last save are read again from Ray")
	ended := w.runs.stop(errSinkRemoved)
	defer w.runs.resume()
	for !w.runs.stopped() {
		select {
		case <-ended:
		case b := <-w.queue:
			w.discard(b)
		case <-ctx.Done():
			return fmt.Errorf("stop the tails after the sink's file was removed: %w", ctx.Err())
		}
	}
	for len(w.queue) > 0 {
		w.discard(<-w.queue)
	}
	w.checkpoints.resolve(errSinkRemoved)
	w.Positions.Rollback()
	return f.Recreate(ctx, func(record []byte) error {
		// Other programs may have written anything to it. What is not a record is ignored.
		_ = w.Positions.Recovered(record)
		return nil
	})
}

// discard frees a batch that was not written.
func (w *Writer) discard(b *Batch) {
	if b.saved != nil {
		b.saved <- errSinkRemoved
	}
	w.Free(b)
}
