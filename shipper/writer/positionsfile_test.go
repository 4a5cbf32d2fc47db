package writer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"raytap/ray"
	"raytap/shipper/checkpoint"
	"raytap/shipper/metrics"
	"raytap/shipper/sink"
)

// openSaved opens positions for the length of a test.
func openSaved(t *testing.T, file string) *checkpoint.Store {
	t.Helper()
	p, err := checkpoint.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// fillStore adds logs to a store, and returns their keys.
func fillStore(t *testing.T, p *checkpoint.Store, logs int) (keys []checkpoint.Key) {
	t.Helper()
	for i := range logs {
		k := checkpoint.Key{Cluster: "prod", Session: "session_2026-11-24_12-00-00_123456_1234", SubmissionID: fmt.Sprintf("raysubmit_%016d", i)}
		acceptLines(p, k, 1)
		keys = append(keys, k)
	}
	p.SetCluster("prod", checkpoint.ClusterState{Session: keys[0].Session, Seen: true, BackfillSkipped: map[string]time.Time{"old": time.UnixMilli(5).UTC()}})
	return keys
}

// acceptLines has the store accept the state of a log with so many lines.
func acceptLines(p *checkpoint.Store, k checkpoint.Key, lines uint64) {
	l := p.Log(k, ray.Job{Type: ray.JobSubmission, SubmissionID: k.SubmissionID, Status: ray.JobRunning, Start: time.UnixMilli(1).UTC(), DriverNodeID: strings.Repeat("0af1", 14)})
	next := l.State
	next.Pos.Lines, next.Begun, next.Run.SubmissionID, next.Run.Type = lines, true, k.SubmissionID, ray.JobSubmission
	p.Accept(l.Entry, next)
}

func saveStore(t *testing.T, p *checkpoint.Store) {
	t.Helper()
	if err := p.Save(t.Context(), sink.Watermark{}); err != nil {
		t.Fatal(err)
	}
}

// storeHolds fails the test unless the file has the same content as the store.
func storeHolds(t *testing.T, file string, p *checkpoint.Store) {
	t.Helper()
	if got, want := storeFile(t, file), storeContent(t, p); got != want {
		t.Errorf("the file has %.2000s\nwant         %.2000s", got, want)
	}
}

func storeFile(t *testing.T, file string) string {
	t.Helper()
	s, err := checkpoint.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return storeJSON(t, s)
}

func storeContent(t *testing.T, p *checkpoint.Store) string {
	t.Helper()
	state, err := p.Content()
	if err != nil {
		t.Fatal(err)
	}
	return storeJSON(t, state)
}

func storeJSON(t *testing.T, s *checkpoint.Saved) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A file that others removed, replaced or truncated is written again as a whole: all
// of its content is in memory.
func TestWriter_PositionsFileWrittenAgain(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, file string) error{
		"removed":   func(_ *testing.T, file string) error { return os.Remove(file) },
		"renamed":   func(_ *testing.T, file string) error { return os.Rename(file, file+".old") },
		"truncated": func(_ *testing.T, file string) error { return os.Truncate(file, 0) },
		"replaced by a copy": func(t *testing.T, file string) error {
			b, err := os.ReadFile(file)
			return errors.Join(err, os.WriteFile(file+".copy", b, 0o600), os.Rename(file+".copy", file))
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "positions.db")
			p := openSaved(t, file)
			m := metrics.New()
			New(sink.NewStdout(io.Discard), Options{Positions: p, Metrics: m})
			keys := fillStore(t, p, 100)
			saveStore(t, p)
			if err := harm(t, file); err != nil {
				t.Fatal(err)
			}
			if !p.Lost() {
				t.Error("the loss was not noticed")
			}
			acceptLines(p, keys[5], 9)
			saveStore(t, p)
			storeHolds(t, file, p)
			if _, err := checkpoint.Open(file); !errors.Is(err, sink.ErrLocked) {
				t.Errorf("another process opened the file: %v", err)
			}
			acceptLines(p, keys[6], 9) // from here on only changes are written
			saveStore(t, p)
			storeHolds(t, file, p)
			if got := testutil.ToFloat64(m.Recreated); got != 1 || p.Lost() {
				t.Errorf("%v recreations were counted; lost: %v", got, p.Lost())
			}
		})
	}
}

// Of two processes with one file name, the one whose file lost that name stops:
// only that one can notice.
func TestWriter_PositionsFileTakenByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "positions.db")
		first := openSaved(t, file)
		fillStore(t, first, 3)
		saveStore(t, first)
		ended := make(chan error, 1)
		go func() {
			ended <- New(sink.NewStdout(io.Discard), Options{Positions: first}).Run(t.Context())
		}()
		synctest.Wait()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		second := openSaved(t, file)
		fillStore(t, second, 2)
		saveStore(t, second)
		err := <-ended // within a second, without a line
		if !errors.Is(err, sink.ErrFailed) || !strings.Contains(err.Error(), "another raytap has created a new one: this raytap stops, so that no line is shipped twice") {
			t.Errorf("Run returned %v", err)
		}
		saveStore(t, second)
		storeHolds(t, file, second)
	})
}

// A removed file is written again within a second, also without lines to ship.
func TestWriter_PositionsFileLossNoticedWithoutLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "positions.db")
		p := openSaved(t, file)
		fillStore(t, p, 3)
		saveStore(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- New(sink.NewStdout(io.Discard), Options{Positions: p, Interval: time.Hour}).Run(ctx)
		}()
		synctest.Wait()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(checkInterval + time.Millisecond)
		synctest.Wait()
		storeHolds(t, file, p)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
