package writer

import (
	"context"
	"errors"
	"sync"
)

// ErrMemoryPressure means that the memory for lines is used up by partial lines: the tail
// that gets it drops its partial line, and reads it again from its position later.
var ErrMemoryPressure = errors.New("the memory for lines is used up: the partial line is dropped and read again")

// MemoryLimiter limits the bytes of all buffers of all tails. Waiters are served in the
// order in which they came. It is safe for concurrent use.
type MemoryLimiter struct {
	mu        sync.Mutex
	size      int64
	used      int64
	partial   int64 // of used, the bytes that partial lines hold: only dropping them frees these
	waiters   []*waiter
	exhausted chan struct{} // closed while partial lines hold every used byte and a tail waits
}

type waiter struct {
	n        int64
	partial  bool       // for a partial line
	mayYield bool       // may get ErrMemoryPressure
	ready    chan error // receives nil or ErrMemoryPressure; buffered
	served   bool       // ready has a value, and the waiter is no longer in waiters
}

func newMemoryLimiter(size int64) *MemoryLimiter {
	return &MemoryLimiter{size: size, exhausted: make(chan struct{})}
}

// Acquire waits for n bytes and takes them. partial means that they are for a partial
// line. mayYield means that the caller holds a partial line and can drop it: the
// wait may end with ErrMemoryPressure. Any other error is that of ctx.
func (l *MemoryLimiter) Acquire(ctx context.Context, n int64, partial, mayYield bool) error {
	l.mu.Lock()
	if len(l.waiters) == 0 && l.fits(n) {
		l.reserve(n, partial)
		l.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, partial: partial, mayYield: mayYield, ready: make(chan error, 1)}
	l.waiters = append(l.waiters, w)
	l.breakDeadlock()
	l.mu.Unlock()
	select {
	case err := <-w.ready:
		return err
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		if w.served {
			if err := <-w.ready; err == nil {
				l.unreserve(n, partial)
			}
			return ctx.Err()
		}
		for i, o := range l.waiters {
			if o == w {
				l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
				break
			}
		}
		l.serve()
		return ctx.Err()
	}
}

// Force takes n bytes that are in use already, without waiting: later callers of Acquire
// wait instead.
func (l *MemoryLimiter) Force(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserve(n, false)
}

// Release frees n bytes.
func (l *MemoryLimiter) Release(n int64, partial bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unreserve(n, partial)
}

// Pressure returns a channel that is closed while tails that hold partial lines, and do not
// wait in Acquire, must drop them.
func (l *MemoryLimiter) Pressure() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.exhausted
}

// usage returns the bytes in use.
func (l *MemoryLimiter) usage() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used
}

// fits reports whether n bytes are free. More than the limit fits when nothing is in use.
func (l *MemoryLimiter) fits(n int64) bool { return l.used+n <= l.size || l.used == 0 }

func (l *MemoryLimiter) reserve(n int64, partial bool) {
	l.used += n
	if partial {
		l.partial += n
	}
}

func (l *MemoryLimiter) unreserve(n int64, partial bool) {
	l.used -= n
	if partial {
		l.partial -= n
	}
	l.serve()
}

func (l *MemoryLimiter) serve() {
	for len(l.waiters) > 0 && l.fits(l.waiters[0].n) {
		w := l.waiters[0]
		l.waiters = l.waiters[1:]
		l.reserve(w.n, w.partial)
		w.served = true
		w.ready <- nil
	}
	l.breakDeadlock()
}

// breakDeadlock resolves the only possible deadlock: partial lines hold all memory, so that
// no write frees any. The waiter that has waited longest and may yield gets
// ErrMemoryPressure; if there is none, Pressure reports to the tails that do not wait.
func (l *MemoryLimiter) breakDeadlock() {
	if len(l.waiters) == 0 || l.used > l.partial {
		select {
		case <-l.exhausted:
			l.exhausted = make(chan struct{})
		default:
		}
		return
	}
	for i, w := range l.waiters {
		if w.mayYield {
			l.waiters = append(l.waiters[:i:i], l.waiters[i+1:]...)
			w.served = true
			w.ready <- ErrMemoryPressure
			return
		}
	}
	select {
	case <-l.exhausted:
	default:
		close(l.exhausted)
	}
}
