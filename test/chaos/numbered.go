package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"raytap/ray/raytest"
)

// numberedJob is a job that prints numbered lines, for rounds that need no oracle.
type numberedJob struct {
	*raytest.Job
	printed int
}

// printLines prints n lines, one each 10 ms.
func (j *numberedJob) printLines(ctx context.Context, n int) {
	for range n {
		j.Printf("line %d of a running job\n", j.printed)
		j.printed++
		wait(ctx, 10*time.Millisecond)
	}
}

// finishNumbered ends the only running job, waits for its end event, stops raytap,
// and checks that each line of the job is in the sink once. It returns the content
// of the sink.
func (r *round) finishNumbered(ctx context.Context, job *numberedJob, res *result) ([]byte, error) {
	job.End("SUCCEEDED", 0)
	end := []byte(`"event":"end"`)
	eventually(ctx, 20*time.Second, 50*time.Millisecond, func() bool {
		b, _ := readSink(r.subject.s.sink) // the file exists: lines are in it
		return bytes.Contains(b, end)
	})
	if err := r.subject.stop(); err != nil {
		res.add("%v", err)
	}
	b, err := readSink(r.subject.s.sink)
	if err != nil {
		return nil, err
	}
	if n := bytes.Count(b, end); n != 1 {
		res.add("%d end events, want 1", n)
	}
	for i := range job.printed {
		res.lines++
		switch n := bytes.Count(b, fmt.Appendf(nil, `"message":"line %d of a running job"`, i)); {
		case n == 0:
			res.lost++
		case n > 1:
			res.duplicated += n - 1
		}
	}
	if res.lost+res.duplicated > 0 {
		res.add("%d lines lost, %d duplicated", res.lost, res.duplicated)
	}
	return b, nil
}
