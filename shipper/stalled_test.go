package shipper

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"raytap/shipper/checkpoint"
	"raytap/shipper/writer"

	"raytap/shipper/sink"
)

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
		o := writer.New(sink.NewStdout(io.Discard), writer.Options{Positions: positions})
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
