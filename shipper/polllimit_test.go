package shipper

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"raytap/ray"
)

// fileOnly is a cluster of many running jobs whose logs can be read only over the transport file.
type fileOnly struct {
	allTransports
	jobs []ray.Job
}

func newFileOnly(n int) *fileOnly {
	f := &fileOnly{}
	for i := range n {
		f.jobs = append(f.jobs, ray.Job{Type: ray.JobSubmission, SubmissionID: strconv.Itoa(i), Status: "RUNNING",
			Start: time.UnixMilli(1), DriverNodeID: "n", DriverAgentURL: "http://agent"})
	}
	return f
}

func (f *fileOnly) Jobs() []ray.Job { return f.jobs }
func (f *fileOnly) JobsNewerThan(context.Context, time.Time) ([]ray.Job, error) {
	return f.jobs, nil
}
func (f *fileOnly) Job(_ context.Context, id string) (ray.Job, error) {
	i, err := strconv.Atoi(id)
	return f.jobs[i], err
}
func (f *fileOnly) Nodes(context.Context) ([]ray.Node, error) { return nil, nil }
func (f *fileOnly) Version(context.Context) (ray.Version, error) {
	return ray.Version{Session: "s"}, nil
}
func (f *fileOnly) TailLog(context.Context, ray.LogRef) (ray.LogStream, error) {
	return nil, &ray.Error{Op: "tail log", Code: 501}
}
func (f *fileOnly) AgentFile(context.Context, string, string, int64, int64) (ray.FilePart, error) {
	return ray.FilePart{}, &ray.Error{Op: "read log from node agent", Code: 403, Err: ray.ErrTransportNotAllowed}
}
func (f *fileOnly) AgentFileStat(context.Context, string, string) (ray.FileStat, error) {
	return ray.FileStat{}, &ray.Error{Op: "read log from node agent", Code: 403, Err: ray.ErrTransportNotAllowed}
}
func (f *fileOnly) AgentLog(context.Context, ray.LogRef, int64) (ray.LogRange, error) {
	return ray.LogRange{}, &ray.Error{Op: "read log from node agent", Code: 403, Err: ray.ErrTransportNotAllowed}
}
func (f *fileOnly) LogLines(_ context.Context, ref ray.LogRef, _ int) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("the line of " + ref.SubmissionID + "\n")), nil
}

// A tail that waits for a poll slot longer than transportCooldown has
// to use the slot; otherwise it never reads.
func TestPollLimit_EveryLogIsRead(t *testing.T) {
	const jobs, rate = 800, 2 // a round of polls takes longer than transportCooldown
	synctest.Test(t, func(t *testing.T) {
		f := newFileOnly(jobs)
		sink := &memorySink{moved: make(chan struct{})}
		out := writer.New(sink, writer.Options{})
		s := New(f, f, out, Options{Options: tail.Options{Cluster: "test", Protocol: tail.ProtocolHTTP, FileRate: rate}})
		ctx, cancel := context.WithCancel(t.Context())
		outCtx, cancelOut := context.WithCancel(t.Context())
		ended, outEnded := make(chan error, 1), make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		go func() { outEnded <- out.Run(outCtx) }()
		time.Sleep(3 * jobs / rate * time.Second)
		cancel()
		<-ended
		cancelOut()
		<-outEnded
		missing := 0
		for i := range jobs {
			if !bytes.Contains(sink.buf.Bytes(), fmt.Appendf(nil, `"message":"the line of %d"`, i)) {
				missing++
			}
		}
		if missing > 0 {
			t.Errorf("%d of %d logs were not read in three rounds", missing, jobs)
		}
	})
}
