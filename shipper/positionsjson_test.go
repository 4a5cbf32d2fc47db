package shipper

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

func saved(t *testing.T, p *Positions) string {
	t.Helper()
	state, err := p.toJSON()
	if err != nil {
		t.Fatal(err)
	}
	return text(t, state)
}

func text(t *testing.T, s *SavedPositions) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPositionsComeBackAsTheyWereSaved(t *testing.T) {
	file := filepath.Join(t.TempDir(), "positions.db")
	p, err := OpenPositions(file)
	if err != nil {
		t.Fatal(err)
	}
	l := p.entry(logKey{"c", "s", "job"}, ray.Job{})
	c := lines.NewSplitter(100, 0)
	if err := c.Each([]byte(strings.Repeat("some line\n", 1000)), func(lines.Line) error { return nil }); err != nil {
		t.Fatal(err)
	}
	next := l.snapshot
	next.pos, next.epoch, next.begun, next.unverified = c.Position(), 3, true, true
	next.lastVerified, next.skipped = &next.pos, 7
	next.atEnd, next.checks, next.tally = true, 2, runTally{-3, 4, true}
	next.pending = []pendingEvent{{record.EventGap, 3, 1000, []byte("{}\n")}}
	p.accept(l.entry, next)
	p.setCluster("c", clusterState{session: "s", seen: true, left: map[string]time.Time{"old": time.UnixMilli(5).UTC()}})
	p.setSlots("s", map[string]int{"k": 2})
	for _, found := range []string{`"seq":2000,"message":"m"`, `"seq":2001,"event":"start","message":"m","start_time":"2026-11-24T12:00:00.5Z"`} {
		if err := p.Recovered([]byte(`{"time":"2026-11-24T12:00:01Z","ray_cluster":"c","session":"s","submission_id":"job","epoch":3,` + found + `}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Save(t.Context(), p.Mark()); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPositions(file); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second one opened it: %v", err)
	}
	p.Close() //nolint:errcheck // a test's end
	q, err := OpenPositions(file)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close() //nolint:errcheck // a test's end
	a, b := saved(t, p), saved(t, q)
	if a != b || !strings.Contains(a, `"skipped":7`) || !json.Valid([]byte(a)) || !strings.Contains(strings.ReplaceAll(a, "\n", ""), `"next_seq":{"3":2001}`) {
		t.Errorf("saved  %s\nloaded %s", a, b)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

// An event tells of the lines that were skipped before it: they are not counted
// again, and the line behind it is still to come.
func TestLinesSkippedBeforeAnEventInTheSinkAreKnown(t *testing.T) {
	p, err := OpenPositions("")
	if err != nil {
		t.Fatal(err)
	}
	k := logKey{"c", "s", "job"}
	l := p.entry(k, ray.Job{})
	next := l.snapshot
	next.pos.Lines, next.skipped = 3, 2
	p.accept(l.entry, next)
	if l = p.entry(k, ray.Job{}); l.skipped != 2 {
		t.Fatalf("%d lines skipped before the crash", l.skipped)
	}
	record := `{"time":"2026-11-24T12:00:01Z","ray_cluster":"c","session":"s","submission_id":"job","epoch":0,"seq":5,"event":"limit","message":"m","skipped":4}`
	if err := p.Recovered([]byte(record)); err != nil {
		t.Fatal(err)
	}
	if l = p.entry(k, ray.Job{}); l.skipped != 0 || l.written[0] != 5 {
		t.Errorf("%d lines to be counted as skipped, those before %d are known", l.skipped, l.written[0])
	}
}
