package tail

import (
	"context"
	"testing"
	"time"

	"raytap/lines"
	"raytap/lines/linestest"
	"raytap/ray"
	"raytap/shipper/checkpoint"
	"raytap/shipper/slots"
	"raytap/shipper/writer"
)

// discard is a sink that keeps nothing.
type discard struct{}

func (discard) Write(context.Context, []byte) error { return nil }
func (discard) Close() error                        { return nil }

// One line from bytes to a batch that the writer has.
func BenchmarkPipeline(b *testing.B) {
	out := writer.New(discard{}, writer.Options{})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- out.Run(ctx) }()
	cl := NewCluster(noAPI{}, noAPI{}, nil, nil, out, Options{Cluster: "bench"}.WithDefaults())
	j := newJob(cl, "session_1", ray.Job{SubmissionID: "raysubmit_0000000000000000"})
	p := newPipeline(cl, j, &health{cl: cl}, slots.New(1, nil, func(map[string]int) {}), out.Positions.Log(checkpoint.Key{}, ray.Job{}))
	p.begin(lines.NewSplitter(256<<10, 0))
	log := linestest.BenchLog()
	b.SetBytes(200)
	b.ReportAllocs()
	for i := 0; i < b.N; i += 160 {
		p.Now = time.Now().UnixNano()
		if err := p.SplitLines(ctx, log); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	p.drop()
	cancel()
	<-ended
}
