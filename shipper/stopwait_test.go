package shipper

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"raytap/shipper/tail"
	"raytap/shipper/writer"

	"github.com/sirupsen/logrus"

	"raytap/ray/raytest"
	"raytap/shipper/sink"
)

// fullSink waits for free space until its context ends.
type fullSink struct{}

func (fullSink) Write(ctx context.Context, _ []byte) error {
	<-ctx.Done()
	return fmt.Errorf("write to sink file: %w: %w", syscall.ENOSPC, ctx.Err())
}
func (fullSink) Close() error { return nil }

// fullFile is a fullSink whose records a restart recovers.
type fullFile struct{ fullSink }

func (fullFile) Sync(context.Context) error { return nil }
func (fullFile) Durable() sink.Watermark    { return sink.Watermark{} }

// A stop that does not wait for a full disk loses nothing if the next start
// recovers: it is no failure, and the log has the reason.
func TestWriter_StopWhileSinkBlocked(t *testing.T) {
	for _, s := range []sink.Sink{fullFile{}, fullSink{}} {
		t.Run(fmt.Sprintf("%T", s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer
				log := logrus.New()
				log.SetOutput(&logged)
				out := writer.New(s, writer.Options{Log: log})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- out.Run(ctx) }()
				if err := out.Put(ctx, &writer.Batch{Buf: []byte("a record\n"), Records: 1}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				cancel()
				err := <-done
				_, file := s.(fullFile)
				text := logged.String()
				if err != nil {
					text += err.Error()
				}
				if file != (err == nil) {
					t.Errorf("Run returned %v", err)
				}
				if !strings.Contains(text, "no space left") || !strings.Contains(text, "read again from Ray") || strings.Contains(text, "context canceled") {
					t.Errorf("log and error: %s", text)
				}
			})
		})
	}
}

// A stop, or a lost log, does not end an outage: nothing was read again.
func TestOutage_StopIsNotRecovery(t *testing.T) {
	head := raytest.New(t)
	r := newHarness(t, head, "on", fastOptions(tail.ProtocolAuto), writer.Options{})
	head.Submit("job-1", raytest.JobOptions{}).Print("a line\n")
	r.until("its first line is shipped", func() bool { return len(r.events("job-1", "")) == headLines+1 })
	head.Down()
	r.until("a read failed", func() bool { return strings.Contains(r.logText(), "Log read over node_agent failed") })
	r.stop()
	if strings.Contains(r.logText(), "reads recovered") {
		t.Error("the log reports a recovery")
	}
}
