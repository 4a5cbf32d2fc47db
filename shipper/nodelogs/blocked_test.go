package nodelogs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"raytap/shipper/metrics"
	"raytap/shipper/writer"
)

// gate is a sink that accepts nothing while it is closed.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	buf  bytes.Buffer
}

func (g *gate) Write(ctx context.Context, b []byte) error {
	select {
	case <-g.open:
	case <-ctx.Done():
		return ctx.Err()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.buf.Write(b)
	return nil
}

func (*gate) Close() error { return nil }

// While the sink is blocked, the looks at logs wait within the memory limit, however small:
// nothing is lost, no agent counts as failed, and when the sink goes on, each line comes once.
// A raytap that is stopped meanwhile stops at once.
func TestCluster_BlockedSink(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		inBubble(t, func(t *testing.T, n *nodes, dir string) {
			const workers, lines = 40, 80
			on := []*node{n.add(nil), n.add(nil), n.add(nil), n.add(nil)} // as many looks at once as a cluster can have
			long := strings.Repeat("x", 200<<10)
			want := 0
			for i := range workers {
				n.live(on[i%4], i)
				n.write(on[i%4], fileName(i, job, "out"), ":job_id:%s\n", job)
			}
			g := &gate{open: make(chan struct{})}
			m := metrics.New()
			out := writer.New(g, writer.Options{Memory: 1 << 20, Metrics: m})
			c := New(n, out, Options{Cluster: "test"})
			c.Observe(testSession, submitted)
			ctx, cancel := context.WithCancel(t.Context())
			outCtx, cancelOut := context.WithCancel(t.Context())
			ended, outEnded := make(chan struct{}), make(chan struct{})
			go func() { defer close(ended); c.Run(ctx) }()
			go func() { defer close(outEnded); _ = out.Run(outCtx) }()
			for j := range lines {
				for i := range workers {
					n.write(on[i%4], fileName(i, job, "out"), "%d of %d %s\n", j, i, long[:1000])
					want++
				}
				if j%20 == 0 {
					pass(time.Second)
				}
			}
			for i := range workers {
				n.write(on[i%4], fileName(i, job, "out"), "long of %d %s", i, long) // it does not end yet
				want++
			}
			pass(10 * time.Minute)
			if stopped {
				begun := time.Now()
				cancel()
				<-ended
				if took := time.Since(begun); took > time.Second {
					t.Errorf("a stop took %v", took)
				}
				cancelOut()
				<-outEnded
				return
			}
			for _, d := range c.Stats().Directories {
				if d.Error != "" {
					t.Errorf("an agent counts as failed: %s", d.Error)
				}
			}
			close(g.open)
			pass(time.Minute)
			for i := range workers {
				n.write(on[i%4], fileName(i, job, "out"), "\n")
			}
			pass(10 * time.Minute)
			cancel()
			<-ended
			cancelOut()
			<-outEnded
			h := &harness{t: t, file: filepath.Join(dir, "lines.jsonl")}
			if err := os.WriteFile(h.file, g.buf.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			h.checkKeys()
			got := h.messages()
			slices.Sort(got)
			if len(slices.Compact(got)) != want || len(h.messages()) != want || len(h.events("gap")) > 0 {
				t.Errorf("%d lines, %d of them once, want %d; gaps %+v", len(h.messages()), len(got), want, h.events("gap"))
			}
			if last := fmt.Sprintf("long of %d %s", workers-1, long); !slices.Contains(h.messages(), last) {
				t.Error("a long line is missing")
			}
		})
	}
}
