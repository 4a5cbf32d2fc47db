package checkpoint

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/lines"
	"raytap/ray"
	"raytap/shipper/record"
)

func content(t *testing.T, p *Store) string {
	t.Helper()
	state, err := p.toJSON()
	if err != nil {
		t.Fatal(err)
	}
	return text(t, state)
}

func text(t *testing.T, s *Saved) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestStore_RoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	l := p.Log(Key{"c", "s", "job"}, ray.Job{})
	c := lines.NewSplitter(100, 0)
	if err := c.Each([]byte(strings.Repeat("some line\n", 1000)), func(lines.Line) error { return nil }); err != nil {
		t.Fatal(err)
	}
	next := l.State
	next.Pos, next.Epoch, next.Begun, next.Unverified = c.Position(), 3, true, true
	next.LastVerified, next.Skipped = &next.Pos, 7
	next.AtEnd, next.Checks, next.Tally = true, 2, RunTally{-3, 4, true}
	next.Pending = []PendingEvent{{record.EventGap, 3, 1000, []byte("{}\n")}}
	p.Accept(l.Entry, next)
	p.SetCluster("c", ClusterState{Session: "s", Seen: true, BackfillSkipped: map[string]time.Time{"old": time.UnixMilli(5).UTC()}})
	p.SetSlots("s", map[string]int{"k": 2})
	for _, found := range []string{`"seq":2000,"message":"m"`, `"seq":2001,"event":"start","message":"m","start_time":"2026-11-24T12:00:00.5Z"`} {
		if err := p.Recovered([]byte(`{"time":"2026-11-24T12:00:01Z","ray_cluster":"c","session":"s","submission_id":"job","epoch":3,` + found + `}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Save(t.Context(), p.Watermark()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Open of the locked file: %v", err)
	}
	p.Close()
	q, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	a, b := content(t, p), content(t, q)
	if a != b || !strings.Contains(a, `"skipped":7`) || !json.Valid([]byte(a)) || !strings.Contains(strings.ReplaceAll(a, "\n", ""), `"next_seq":{"3":2001}`) {
		t.Errorf("saved  %s\nloaded %s", a, b)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600 (%v)", fi.Mode(), err)
	}
}

// An event counts the lines that were skipped before it: they are not counted again, and
// the line after it is still to be written.
func TestStore_RecoveredEventCountsSkippedLines(t *testing.T) {
	p, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	k := Key{"c", "s", "job"}
	l := p.Log(k, ray.Job{})
	next := l.State
	next.Pos.Lines, next.Skipped = 3, 2
	p.Accept(l.Entry, next)
	if l = p.Log(k, ray.Job{}); l.Skipped != 2 {
		t.Fatalf("%d lines skipped before the crash, want 2", l.Skipped)
	}
	record := `{"time":"2026-11-24T12:00:01Z","ray_cluster":"c","session":"s","submission_id":"job","epoch":0,"seq":5,"event":"limit","message":"m","skipped":4}`
	if err := p.Recovered([]byte(record)); err != nil {
		t.Fatal(err)
	}
	if l = p.Log(k, ray.Job{}); l.Skipped != 0 || l.Written[0] != 5 {
		t.Errorf("%d lines skipped and written up to %d, want 0 and 5", l.Skipped, l.Written[0])
	}
}

// How a run ended is known after a restart, too: its id may be another run's by then, and
// Ray reports only that one.
func TestStore_RoundTripEndedRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	s, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	exit := 3
	run := ray.Job{Status: ray.JobFailed, DriverExitCode: &exit, ErrorType: "JOB_ENTRYPOINT_COMMAND_ERROR"}
	l := s.Log(Key{"c", "s", "job"}, run)
	s.Accept(l.Entry, l.State)
	if err := s.Save(t.Context(), s.Watermark()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err = Open(file); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := s.Log(Key{"c", "s", "job"}, ray.Job{}).Run
	if got.Status != ray.JobFailed || got.DriverExitCode == nil || *got.DriverExitCode != exit || got.ErrorType != run.ErrorType {
		t.Errorf("the loaded run is %+v", got)
	}
}

// A file of version 1 has no log but those of drivers.
func TestStore_ReadsVersion1(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	s, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	acceptLines(s, Key{"c", "s", "job"}, 7)
	if err := s.Save(t.Context(), s.Watermark()); err != nil {
		t.Fatal(err)
	}
	var e encoder
	e.put(bucketMeta, []byte(keyVersion), 1)
	if err := s.db.commit(e.out); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err = Open(file); err != nil {
		t.Fatal(err)
	}
	if lines, _ := s.Shipped(Key{"c", "s", "job"}); lines != 7 {
		t.Errorf("%d lines shipped, want 7", lines)
	}
	s.Close()
	var l loader
	if err := readUnlocked(file, l.visit); err != nil || string(l.values[bucketMeta][keyVersion]) != "2" {
		t.Errorf("version %s (%v): an older raytap would read it", l.values[bucketMeta][keyVersion], err)
	}
}
