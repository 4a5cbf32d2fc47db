package transport

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// largeResponse is the size, in bytes, from which a response takes part of the memory
// that large responses share.
const largeResponse = 1 << 20

// reservation is one response's part of that memory. It is acquired all at once, so
// that no two responses can wait for each other.
type reservation struct {
	mu       sync.Mutex
	from     *semaphore.Weighted // nil: nothing is held
	size     int64
	released bool
}

// acquire waits until size is free and holds it, unless it already does. The error is
// that of ctx. A nil from has no bound.
func (r *reservation) acquire(ctx context.Context, from *semaphore.Weighted, size int64) error {
	r.mu.Lock()
	held := r.from != nil
	r.mu.Unlock()
	if from == nil || held {
		return nil
	}
	if err := from.Acquire(ctx, size); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.released { // closed while it waited
		from.Release(size)
		return context.Canceled
	}
	r.from, r.size = from, size
	return nil
}

// release returns what is held; it is called once.
func (r *reservation) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released = true
	if r.from != nil {
		r.from.Release(r.size)
	}
}
