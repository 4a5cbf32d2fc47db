package shipper

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
	"raytap/shipper/sink"
)

// openSaved opens positions for the length of a test.
func openSaved(t *testing.T, file string) *Positions {
	t.Helper()
	p, err := OpenPositions(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// fillStore makes positions know so many logs, and returns their keys.
func fillStore(t *testing.T, p *Positions, logs int) (keys []logKey) {
	t.Helper()
	for i := range logs {
		k := logKey{"prod", "session_2026-11-24_12-00-00_123456_1234", fmt.Sprintf("raysubmit_%016d", i)}
		acceptLines(p, k, 1)
		keys = append(keys, k)
	}
	p.setCluster("prod", clusterState{session: keys[0].session, seen: true, left: map[string]time.Time{"old": time.UnixMilli(5).UTC()}})
	return keys
}

// acceptLines makes a log that the sink has accepted so many lines of.
func acceptLines(p *Positions, k logKey, lines uint64) {
	l := p.entry(k, ray.Job{Type: ray.JobSubmission, SubmissionID: k.submission, Status: ray.JobRunning, Start: time.UnixMilli(1).UTC(), DriverNodeID: strings.Repeat("0af1", 14)})
	next := l.snapshot
	next.pos.Lines, next.begun, next.run.SubmissionID, next.run.Type = lines, true, k.submission, ray.JobSubmission
	p.accept(l.entry, next)
}

func saveStore(t *testing.T, p *Positions) {
	t.Helper()
	if err := p.Save(t.Context(), sink.Watermark{}); err != nil {
		t.Fatal(err)
	}
}

// storeHolds fails the test unless the file says what the positions say.
func storeHolds(t *testing.T, file string, p *Positions) {
	t.Helper()
	if got, want := storeFile(t, file), storeContent(t, p); got != want {
		t.Errorf("the file says %.2000s\nwant          %.2000s", got, want)
	}
}

func storeFile(t *testing.T, file string) string {
	t.Helper()
	s, err := ReadPositions(file)
	if err != nil {
		t.Fatal(err)
	}
	return storeJSON(t, s)
}

func storeContent(t *testing.T, p *Positions) string {
	t.Helper()
	state, err := p.Content()
	if err != nil {
		t.Fatal(err)
	}
	return storeJSON(t, state)
}

func storeJSON(t *testing.T, s *SavedPositions) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A file that others removed, replaced or cut is written again as a whole: all
// that it said is in memory.
func TestAFileThatGoesIsWrittenAgain(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, file string) error{
		"removed": func(_ *testing.T, file string) error { return os.Remove(file) },
		"renamed": func(_ *testing.T, file string) error { return os.Rename(file, file+".old") },
		"cut":     func(_ *testing.T, file string) error { return os.Truncate(file, 0) },
		"replaced by a copy": func(t *testing.T, file string) error {
			b, err := os.ReadFile(file)
			return errors.Join(err, os.WriteFile(file+".copy", b, 0o600), os.Rename(file+".copy", file))
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "positions.db")
			p := openSaved(t, file)
			m := NewMetrics()
			NewOutput(sink.NewStdout(io.Discard), OutputOptions{Positions: p, Metrics: m})
			keys := fillStore(t, p, 100)
			saveStore(t, p)
			if err := harm(t, file); err != nil {
				t.Fatal(err)
			}
			if !p.lost() {
				t.Error("it was not noticed")
			}
			acceptLines(p, keys[5], 9)
			saveStore(t, p)
			storeHolds(t, file, p)
			if _, err := OpenPositions(file); !errors.Is(err, sink.ErrLocked) {
				t.Errorf("another raytap opened it: %v", err)
			}
			acceptLines(p, keys[6], 9) // and it goes on by changes
			saveStore(t, p)
			storeHolds(t, file, p)
			if got := testutil.ToFloat64(m.Recreated); got != 1 || p.lost() {
				t.Errorf("%v were counted; lost: %v", got, p.lost())
			}
		})
	}
}

// Of two raytaps on one name the one that has not the file of that name stops:
// it alone can see it.
func TestTheRaytapWhoseFileIsGoneStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "positions.db")
		first := openSaved(t, file)
		fillStore(t, first, 3)
		saveStore(t, first)
		ended := make(chan error, 1)
		go func() {
			ended <- NewOutput(sink.NewStdout(io.Discard), OutputOptions{Positions: first}).Run(t.Context())
		}()
		synctest.Wait()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		second := openSaved(t, file)
		fillStore(t, second, 2)
		saveStore(t, second)
		err := <-ended // within a second, without a line
		if !errors.Is(err, sink.ErrFailed) || !strings.Contains(err.Error(), "another raytap has made a new one: this one stops, so that no line is shipped twice") {
			t.Errorf("it ended with %v", err)
		}
		saveStore(t, second)
		storeHolds(t, file, second)
	})
}

// Without a line to ship, too, a file that goes is there again within a second.
func TestAFileThatGoesIsNoticedInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "positions.db")
		p := openSaved(t, file)
		fillStore(t, p, 3)
		saveStore(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- NewOutput(sink.NewStdout(io.Discard), OutputOptions{Positions: p, Interval: time.Hour}).Run(ctx)
		}()
		synctest.Wait()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lookInterval + time.Millisecond)
		synctest.Wait()
		storeHolds(t, file, p)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
