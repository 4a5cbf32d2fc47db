package writer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/metrics"

	"raytap/lines"
	"raytap/lines/linestest"
	"raytap/ray"
	"raytap/shipper/sink"
)

// written returns what this process has written so far: all bytes that it passed
// to write calls, and those that were sent to a disk.
func written(b *testing.B) (calls, disk int64) {
	b.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip("the kernel does not report what a process writes: ", err)
	}
	for line := range strings.Lines(string(text)) {
		for name, to := range map[string]*int64{"wchar: %d": &calls, "write_bytes: %d": &disk} {
			_, _ = fmt.Sscanf(line, name, to)
		}
	}
	return calls, disk
}

// finishedJobs adds finished jobs to a store, as a shipper of
// Ray 2.60 would.
func finishedJobs(b *testing.B, p *checkpoint.Store, jobs int) (running checkpoint.Key) {
	b.Helper()
	c := lines.NewSplitter(256<<10, 0)
	if err := c.Each(linestest.BenchLog(), func(lines.Line) error { return nil }); err != nil {
		b.Fatal(err)
	}
	const session = "session_2026-11-24_12-00-00_123456_1234"
	p.SetCluster("prod", checkpoint.ClusterState{Session: session, Seen: true})
	for i := range jobs {
		running = checkpoint.Key{Cluster: "prod", Session: session, SubmissionID: fmt.Sprintf("raysubmit_%016d", i)}
		l := p.Log(running, ray.Job{
			Type: ray.JobSubmission, SubmissionID: running.SubmissionID, Start: time.UnixMilli(1764000000123 + int64(i)).UTC(),
			Status: ray.JobSucceeded, JobID: fmt.Sprintf("%08x", i), DriverNodeID: strings.Repeat("0af1", 14), DriverAgentURL: "http://10.1.2.3:52365",
			Metadata: map[string]string{"job_name": fmt.Sprintf("train-%d", i)},
		})
		next := l.State
		next.Pos, next.Node, next.Begun, next.Done, next.LastTime = c.Position(), next.Run.DriverNodeID, true, true, 1764000000123456789
		p.Accept(l.Entry, next)
	}
	return running
}

// The bytes that raytap writes for its positions with one line per second, by the number of
// known jobs. One iteration is one second: run it with -benchtime=20x.
func BenchmarkPositionsPerSecond(b *testing.B) {
	for _, jobs := range []int{10, 1000, 9000} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			dir := b.TempDir()
			p, err := checkpoint.Open(filepath.Join(dir, "positions"))
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			k := finishedJobs(b, p, jobs)
			if err := p.Save(b.Context(), sink.Watermark{}); err != nil {
				b.Fatal(err)
			}
			f, err := sink.NewFile(sink.FileOptions{Path: filepath.Join(dir, "raytap.jsonl"), Checkpoint: p.Save})
			if err != nil {
				b.Fatal(err)
			}
			m := metrics.New()
			o := New(f, Options{Positions: p, Metrics: m})
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- o.Run(ctx) }()
			l := p.Log(k, ray.Job{})
			l.Done = false
			record := append(bytes.Repeat([]byte("x"), 190), '\n')
			calls, disk := written(b)
			began := time.Now()
			b.ResetTimer()
			for range b.N {
				l.Pos.Lines++
				l.Pos.Content += 100
				batch, err := o.Batch(ctx, false)
				if err != nil {
					b.Fatal(err)
				}
				batch.Buf, batch.Records, batch.Entry, batch.Next = append(batch.Buf[:0], record...), 1, l.Entry, l.State
				if err := o.Put(ctx, batch); err != nil {
					b.Fatal(err)
				}
				time.Sleep(time.Second)
			}
			b.StopTimer()
			took := time.Since(began).Seconds()
			callsNow, diskNow := written(b)
			cancel()
			if err := <-ended; err != nil {
				b.Error(err)
			}
			b.ReportMetric(float64(callsNow-calls)/took-float64(len(record)), "B/s")
			b.ReportMetric(float64(diskNow-disk)/took, "disk-B/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// The cost of one save after one line, by the number of known jobs.
func BenchmarkPositionsSave(b *testing.B) {
	for _, jobs := range []int{10, 1000, 9000} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			p, err := checkpoint.Open(filepath.Join(b.TempDir(), "positions"))
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			k := finishedJobs(b, p, jobs)
			mark := sink.Watermark{Path: "/var/lib/raytap/raytap.jsonl", Number: 1}
			if err := p.Save(b.Context(), mark); err != nil {
				b.Fatal(err)
			}
			l := p.Log(k, ray.Job{})
			calls, disk := written(b)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				l.Pos.Lines++
				l.Pos.Content += 100
				mark.Offset += 191
				p.Accept(l.Entry, l.State)
				if err := p.Save(b.Context(), mark); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			callsNow, diskNow := written(b)
			b.ReportMetric(float64(callsNow-calls)/float64(b.N), "B/save")
			b.ReportMetric(float64(diskNow-disk)/float64(b.N), "disk-B/save")
		})
	}
}
