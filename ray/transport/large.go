package transport

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
)

// largeAnswer is how long an answer may be before it counts as a big one, in bytes.
const largeAnswer = 1 << 20

// largeHold is what one answer has taken of what big answers share. It takes all
// that it can ever need at once, so that no two can wait for each other.
type largeHold struct {
	mu    sync.Mutex
	from  *semaphore.Weighted // nil: nothing is held
	size  int64
	ended bool
}

// take waits until size is free and holds it, if it does not already. The error
// is that of ctx. A nil from has room for all.
func (h *largeHold) take(ctx context.Context, from *semaphore.Weighted, size int64) error {
	h.mu.Lock()
	held := h.from != nil
	h.mu.Unlock()
	if from == nil || held {
		return nil
	}
	if err := from.Acquire(ctx, size); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended { // closed while it waited
		from.Release(size)
		return context.Canceled
	}
	h.from, h.size = from, size
	return nil
}

// end gives back what is held; it is called once.
func (h *largeHold) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	if h.from != nil {
		h.from.Release(h.size)
	}
}
