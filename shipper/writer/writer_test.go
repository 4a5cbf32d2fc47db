package writer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/shipper/checkpoint"
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
				out := New(s, Options{Log: log})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- out.Run(ctx) }()
				if err := out.Put(ctx, &Batch{Buf: []byte("a record\n"), Records: 1}); err != nil {
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

// A checkpoint that cannot be saved blocks all lines. It is reported for as
// long as it lasts, like a sink that is blocked.
func TestWriter_CheckpointNotSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		positions, err := checkpoint.Open(filepath.Join(dir, "positions.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer positions.Close() // its directory was removed
		if err := positions.Save(t.Context(), sink.Watermark{}); err != nil {
			t.Fatal(err)
		}
		o := New(sink.NewStdout(io.Discard), Options{Positions: positions})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- o.Run(ctx) }()

		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		saved := make(chan error, 1)
		go func() { saved <- o.Checkpoint(ctx, nil, checkpoint.State{}) }()
		time.Sleep(10 * saveRetryInterval)
		since := o.StalledSince()
		if since.Before(began) || time.Since(since) < 9*saveRetryInterval {
			t.Errorf("stalled since %v, for a checkpoint that was requested at %v", since, began)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := <-saved; err != nil {
			t.Errorf("checkpoint: %v", err)
		}
		synctest.Wait()
		if since := o.StalledSince(); !since.IsZero() {
			t.Errorf("still stalled, since %v", since)
		}
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
