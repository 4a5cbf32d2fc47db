package writer

import (
	"context"

	"raytap/lines"
	"raytap/shipper/checkpoint"
)

const (
	// BatchSize is the size at which a batch is put (bytes).
	BatchSize = 64 << 10
	// RecordRoom is more than a record takes in addition to its message (bytes).
	RecordRoom = 2 << 10
	// batchReserve is what a batch takes from the memory limiter: its bytes, and the chunk
	// from which they are made.
	batchReserve = BatchSize + lines.ChunkSize
)

// Batch holds records of one log, in order, and the state of the log that is true once the
// sink has accepted them. A batch without records can carry a state alone, or request a
// checkpoint.
type Batch struct {
	Buf      []byte            // records, each with its line end
	Records  int               // number of records in Buf
	Entry    *checkpoint.Entry // of the log; nil: no state
	Next     checkpoint.State
	File     *checkpoint.FileEntry // of a log file on a node, instead of Entry; nil: no state
	NextFile *checkpoint.FileState
	reserved int64        // bytes taken from the memory limiter
	saved    chan<- error // receives the result of the requested checkpoint; buffered; nil: none
}

// Batch returns an empty batch once there is memory for it. The caller puts it or frees it.
// mayYield means that the caller holds a partial line that it can drop: then the error can
// be ErrMemoryPressure.
func (w *Writer) Batch(ctx context.Context, mayYield bool) (*Batch, error) {
	if err := w.Memory.Acquire(ctx, batchReserve, false, mayYield); err != nil {
		return nil, err
	}
	b := w.buffers.Get().(*Batch)
	b.reserved = batchReserve
	return b, nil
}

// Grow makes room in a batch for a record of about n bytes.
func (w *Writer) Grow(b *Batch, n int) {
	small := b.Buf
	b.Buf = append(lines.GetBuffer(lines.RoundBuffer(len(small)+n)), small...)
	w.putBuffer(small)
}

// Put queues a batch. The writer owns it from then on, also after an error.
func (w *Writer) Put(ctx context.Context, b *Batch) error {
	if extra := int64(cap(b.Buf)) - b.reserved; extra > 0 {
		w.Memory.Force(extra)
		b.reserved += extra
	}
	select {
	case w.queue <- b:
		return nil
	case <-ctx.Done():
		w.Free(b)
		return ctx.Err()
	case <-w.done:
		w.Free(b)
		return ErrClosed
	}
}

// Free releases a batch that is not put.
func (w *Writer) Free(b *Batch) {
	if b.reserved > 0 {
		w.Memory.Release(b.reserved, false)
	}
	w.putBuffer(b.Buf)
}

// putBuffer keeps an unused buffer for another batch.
func (w *Writer) putBuffer(buf []byte) {
	if cap(buf) >= BatchSize && cap(buf) < 2*BatchSize {
		w.buffers.Put(&Batch{Buf: buf[:0]})
		return
	}
	lines.PutBuffer(buf)
}
