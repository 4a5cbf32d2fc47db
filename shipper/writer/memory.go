package writer

import (
	"context"
	"errors"
	"sync"
)

// errMemoryPressure tells a tail that memory is spent: it lets its half line go and
// reads it again from its position later.
var ErrMemoryPressure = errors.New("the memory for lines is spent: the half line is let go and read again")

// budget bounds the bytes of all buffers of all streams. Waiters are served in
// the order they came. It is safe for concurrent use.
type MemoryLimiter struct {
	mu        sync.Mutex
	size      int64
	used      int64
	partial   int64 // the part of used that half lines hold: only giving up frees it
	waiters   []*waiter
	exhausted chan struct{} // closed while every used byte is a half line's and somebody waits
}

type waiter struct {
	n     int64
	half  bool       // for a half line
	yield bool       // may be told to give up
	ready chan error // gets nil or errMemoryPressure; buffered
	gone  bool       // no longer in waiters
}

func newBudget(size int64) *MemoryLimiter {
	return &MemoryLimiter{size: size, exhausted: make(chan struct{})}
}

// acquire takes n bytes and waits until they are free. half tells that they are
// for a half line. yield tells that the caller holds or wants a half line and
// can let it go: its wait may end with errMemoryPressure.
func (b *MemoryLimiter) Acquire(ctx context.Context, n int64, half, yield bool) error {
	b.mu.Lock()
	if len(b.waiters) == 0 && b.fits(n) {
		b.take(n, half)
		b.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, half: half, yield: yield, ready: make(chan error, 1)}
	b.waiters = append(b.waiters, w)
	b.breakDeadlock()
	b.mu.Unlock()
	select {
	case err := <-w.ready:
		return err
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		if w.gone {
			if err := <-w.ready; err == nil {
				b.give(n, half)
			}
			return ctx.Err()
		}
		for i, o := range b.waiters {
			if o == w {
				b.waiters = append(b.waiters[:i], b.waiters[i+1:]...)
				break
			}
		}
		b.serve()
		return ctx.Err()
	}
}

// force takes n bytes that are in use already, without waiting: whoever asks
// next waits for them instead.
func (b *MemoryLimiter) Force(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.take(n, false)
}

// release gives n bytes back.
func (b *MemoryLimiter) Release(n int64, half bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.give(n, half)
}

// pressure gives a channel that is closed while streams that hold half lines
// and wait for nothing must let them go.
func (b *MemoryLimiter) Pressure() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.exhausted
}

// usage gives the bytes in use.
func (b *MemoryLimiter) usage() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// A request larger than everything is served when it is alone.
func (b *MemoryLimiter) fits(n int64) bool { return b.used+n <= b.size || b.used == 0 }

func (b *MemoryLimiter) take(n int64, half bool) {
	b.used += n
	if half {
		b.partial += n
	}
}

func (b *MemoryLimiter) give(n int64, half bool) {
	b.used -= n
	if half {
		b.partial -= n
	}
	b.serve()
}

func (b *MemoryLimiter) serve() {
	for len(b.waiters) > 0 && b.fits(b.waiters[0].n) {
		w := b.waiters[0]
		b.waiters = b.waiters[1:]
		b.take(w.n, w.half)
		w.gone = true
		w.ready <- nil
	}
	b.breakDeadlock()
}

// relieve breaks the one deadlock there can be: all memory is held by half
// lines, so nothing that is written will free any. The half line that has
// waited longest is given up; where none waits, those at rest are asked.
func (b *MemoryLimiter) breakDeadlock() {
	if len(b.waiters) == 0 || b.used > b.partial {
		select {
		case <-b.exhausted:
			b.exhausted = make(chan struct{})
		default:
		}
		return
	}
	for i, w := range b.waiters {
		if w.yield {
			b.waiters = append(b.waiters[:i:i], b.waiters[i+1:]...)
			w.gone = true
			w.ready <- ErrMemoryPressure
			return
		}
	}
	select {
	case <-b.exhausted:
	default:
		close(b.exhausted)
	}
}
