package nodelogs

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"raytap/shipper/aggregate"
	"raytap/shipper/writer"
)

// An entry at rest has at most 300 bytes, without the state that its log's position is.
func TestEntry_Size(t *testing.T) {
	if n := unsafe.Sizeof(entry{}); n > 300 {
		t.Errorf("an entry has %d bytes", n)
	}
}

// discard is a sink that keeps nothing.
type discard struct{}

func (discard) Write(context.Context, []byte) error { return nil }
func (discard) Close() error                        { return nil }

// Quiet files that were read need at most 1 KiB each, all that is known of their positions
// included, and one request for each look.
func TestCluster_QuietFiles(t *testing.T) {
	size, rate := quietFiles(t, 800, 20*time.Minute)
	if size > 1024 {
		t.Errorf("%d bytes per file", size)
	}
	if rate > 2*10 {
		t.Errorf("%.1f requests per second to two agents", rate)
	}
}

// quietFiles reads two directories of quiet files for some time. It returns the bytes in use
// per file, and the requests per second to both agents.
func quietFiles(t *testing.T, each int, after time.Duration) (size int64, rate float64) {
	synctest.Test(t, func(t *testing.T) {
		n := newNodes()
		for range 2 {
			at := n.add(nil)
			base := len(n.list) * each
			for i := range each / 2 {
				n.live(at, base+i)
				text := bytes.Repeat([]byte("x"), 100)
				n.write(at, fileName(base+i, job, "out"), ":job_id:%s\n%s\n", job, text)
				n.write(at, fileName(base+i, job, "err"), ":job_id:%s\n%s\n", job, text)
			}
		}
		before := heap()
		out := writer.New(discard{}, writer.Options{})
		c := New(n, out, Options{Cluster: "test", Backfill: BackfillAll, Aggregate: aggregate.Options{Multiline: true, Progress: time.Second}})
		c.Observe(testSession, submitted)
		ctx, cancel := context.WithCancel(t.Context())
		outCtx, cancelOut := context.WithCancel(t.Context())
		ended, outEnded := make(chan struct{}), make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		go func() { defer close(outEnded); _ = out.Run(outCtx) }()
		pass(after)
		if got := out.Records(); got != uint64(2*each) {
			t.Errorf("%d records, want %d", got, 2*each)
		}
		n.set(func() { clear(n.requests) })
		pass(10 * time.Minute)
		rate = float64(n.count("stat")+n.count("file")) / 600
		size = (heap() - before) / int64(2*each)
		cancel()
		<-ended
		cancelOut()
		<-outEnded
	})
	return size, rate
}

// heap returns the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
