package daemon

import (
	"context"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

// Without a collection by the runtime, there is one in each interval.
func TestCollectGarbage_AtInterval(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- collectGarbage(ctx) }()
		for range 3 {
			before := collections()
			time.Sleep(collectInterval)
			synctest.Wait()
			if n := collections() - before; n != 1 {
				t.Errorf("%d collections in %s, want 1", n, collectInterval)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
