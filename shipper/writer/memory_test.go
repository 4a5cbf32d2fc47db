package writer

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
)

// acquisition is a call of Acquire in a goroutine of its own.
type acquisition struct {
	name              string
	n                 int64
	partial, mayYield bool
}

// limiterTest runs acquisitions and records the order in which they return.
type limiterTest struct {
	*MemoryLimiter
	t     *testing.T
	done  chan string
	order []string
}

func newLimiterTest(t *testing.T, size int64) *limiterTest {
	return &limiterTest{newMemoryLimiter(size), t, make(chan string, 10), nil}
}

// start starts an acquisition, and returns once it waits or has returned.
func (l *limiterTest) start(ctx context.Context, a acquisition) {
	go func() {
		name := a.name
		if err := l.Acquire(ctx, a.n, a.partial, a.mayYield); err != nil {
			name += ": " + err.Error()
		}
		l.done <- name
	}()
	synctest.Wait()
}

// expect fails the test unless exactly these acquisitions have returned, in this order.
func (l *limiterTest) expect(want ...string) {
	l.t.Helper()
	synctest.Wait()
	for len(l.done) > 0 {
		l.order = append(l.order, <-l.done)
	}
	if !slices.Equal(l.order, want) {
		l.t.Errorf("returned %q, want %q", l.order, want)
	}
	l.order = nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestMemoryLimiter_WaitersInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := newLimiterTest(t, 100), t.Context()
		l.start(ctx, acquisition{name: "first", n: 60})
		l.expect("first")
		l.start(ctx, acquisition{name: "large", n: 95})
		l.start(ctx, acquisition{name: "small", n: 10}) // it fits, but it is not the first
		l.expect()
		l.Release(60, false)
		l.expect("large")
		l.Release(95, false)
		l.expect("small")
		if got := l.usage(); got != 10 {
			t.Errorf("%d bytes in use, want 10", got)
		}
	})
}

func TestMemoryLimiter_MoreThanTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := newLimiterTest(t, 100), t.Context()
		l.start(ctx, acquisition{name: "first", n: 1})
		l.start(ctx, acquisition{name: "huge", n: 1000})
		l.expect("first")
		l.Release(1, false)
		l.expect("huge")
		l.Release(1000, false)
		l.Force(150) // does not wait
		l.start(ctx, acquisition{name: "next", n: 1})
		l.expect()
		l.Release(150, false)
		l.expect("next")
	})
}

// A waiter whose context ends lets the next one proceed, and leaves no bytes in use.
func TestMemoryLimiter_Cancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiterTest(t, 100)
		ctx, cancel := context.WithCancel(t.Context())
		l.start(t.Context(), acquisition{name: "first", n: 60})
		l.start(ctx, acquisition{name: "large", n: 80})
		l.start(t.Context(), acquisition{name: "small", n: 10})
		l.expect("first")
		cancel()
		synctest.Wait()
		var got []string
		for len(l.done) > 0 {
			got = append(got, <-l.done)
		}
		slices.Sort(got)
		if want := []string{"large: context canceled", "small"}; !slices.Equal(got, want) {
			t.Errorf("returned %q, want %q", got, want)
		}
		if got := l.usage(); got != 70 {
			t.Errorf("%d bytes in use, want 70", got)
		}
	})
}

func TestMemoryLimiter_Pressure(t *testing.T) {
	exceeded := ": " + ErrMemoryPressure.Error()
	t.Run("the waiter that waited longest and may yield drops its line", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, ctx := newLimiterTest(t, 100), t.Context()
			l.start(ctx, acquisition{"a", 50, true, true})
			l.start(ctx, acquisition{"b", 50, true, true})
			l.expect("a", "b")
			pressure := l.Pressure()
			l.start(ctx, acquisition{"a again", 50, true, true})
			l.expect("a again" + exceeded)
			if closed(pressure) {
				t.Error("pressure was reported, although a waiter has dropped its line")
			}
			l.start(ctx, acquisition{"b again", 50, true, true})
			l.expect("b again" + exceeded)
			l.Release(100, true)
			if got := l.usage(); got != 0 {
				t.Errorf("%d bytes in use, want 0", got)
			}
		})
	})
	t.Run("without such a waiter the other tails must drop theirs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, ctx := newLimiterTest(t, 100), t.Context()
			l.start(ctx, acquisition{"partial", 100, true, true})
			l.start(ctx, acquisition{"batch", 50, false, false})
			l.expect("partial")
			if !closed(l.Pressure()) {
				t.Error("no pressure was reported")
			}
			l.Release(100, true)
			l.expect("batch")
			if closed(l.Pressure()) {
				t.Error("pressure is still reported after memory was released")
			}
		})
	})
	t.Run("none while written lines hold memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l, ctx := newLimiterTest(t, 100), t.Context()
			l.start(ctx, acquisition{"partial", 90, true, true})
			l.start(ctx, acquisition{"batch", 10, false, false})
			l.start(ctx, acquisition{"more", 10, true, true})
			l.expect("partial", "batch")
			if closed(l.Pressure()) {
				t.Error("pressure was reported")
			}
			l.Release(10, false)
			l.expect("more")
		})
	})
}
