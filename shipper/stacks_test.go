//go:build !race

package shipper

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"

	"raytap/shipper/tail"
)

// The stacks of tails that wait shrink to 4 KiB: see follow in shipper/tail. With the race
// detector, stack frames are larger.
func TestIdle_SmallStacks(t *testing.T) {
	stacks := func() uint64 {
		runtime.GC() // shrinks stacks
		runtime.GC()
		sample := []metrics.Sample{{Name: "/memory/classes/heap/stacks:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	const jobs = 300
	var each uint64
	before := stacks()
	synctest.Test(t, func(t *testing.T) {
		f := newFileOnly(jobs)
		shipTo(t, f, f, tail.ProtocolHTTP, func(*Shipper) {
			time.Sleep(time.Minute)
			synctest.Wait()
			each = (stacks() - before) / jobs
		})
	})
	if each > 5<<10 {
		t.Errorf("the stack of a tail that waits has %d bytes, want 4 KiB", each)
	}
}
