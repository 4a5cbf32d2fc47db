package checkpoint

import (
	"fmt"
	"testing"
	"time"

	"raytap/ray"
	"raytap/shipper/sink"
)

// A caller may change the map that it has passed to SetCluster, even during a save.
func TestStore_SetClusterCopiesMap(t *testing.T) {
	p := openStore(t, "")
	skipped := map[string]time.Time{"a": time.Unix(1, 0), "b": time.Unix(2, 0)}
	p.SetCluster("test", ClusterState{Session: "s", Seen: true, BackfillSkipped: skipped})
	save(t, p)
	p.dirty = false
	delete(skipped, "a")
	if n := len(p.Cluster("test").BackfillSkipped); n != 2 {
		t.Errorf("%d skipped jobs, want 2: the store must not share the caller's map", n)
	}
	p.SetCluster("test", ClusterState{Session: "s", Seen: true, BackfillSkipped: skipped})
	if !p.Changed() || len(p.Cluster("test").BackfillSkipped) != 1 {
		t.Error("the removal of a skipped job is not saved")
	}
}

func TestStore_Expire(t *testing.T) {
	start := time.Unix(1764000000, 0)
	for name, tt := range map[string]struct {
		change func(p *Store, k Key)
		after  time.Duration
		want   int
	}{
		"listed":                           {func(p *Store, k Key) { p.logs[k].Done = true }, 2 * Retention, 0},
		"done, not listed for a while":     {func(p *Store, k Key) { p.logs[k].Done = true; p.MarkUnlisted(k, start) }, Retention, 0},
		"done, not listed for longer":      {func(p *Store, k Key) { p.logs[k].Done = true; p.MarkUnlisted(k, start) }, Retention + 1, 1},
		"not done, not listed for longer":  {func(p *Store, k Key) { p.MarkUnlisted(k, start) }, Retention + 1, 0},
		"not done, cluster removed before": {func(p *Store, _ Key) { p.Configure([]string{"other"}, start) }, Retention + 1, 1},
		"listed again":                     {func(p *Store, k Key) { p.logs[k].Done = true; p.MarkUnlisted(k, start); p.Log(k, ray.Job{}) }, 2 * Retention, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := openStore(t, "")
			tt.change(p, fill(t, p, 1)[0])
			if got := p.Expire(start.Add(tt.after)); got != tt.want || len(p.logs) != 1-tt.want {
				t.Errorf("%d positions expired and %d are left, want %d expired", got, len(p.logs), tt.want)
			}
		})
	}
	t.Run("more than the maximum", func(t *testing.T) {
		p := openStore(t, "")
		keys := fill(t, p, MaxRetained+2)
		for i, k := range keys {
			p.logs[k].Done = true
			p.MarkUnlisted(k, start.Add(time.Duration(i)*time.Millisecond))
		}
		if got := p.Expire(start.Add(time.Minute)); got != 2 || p.logs[keys[0]] != nil || p.logs[keys[1]] != nil || p.logs[keys[2]] == nil {
			t.Errorf("%d positions expired, want the 2 oldest", got)
		}
	})
}

// Rollback returns logs to their last saved states, and later saves continue from there.
func TestStore_Rollback(t *testing.T) {
	p := openStore(t, "")
	k := fill(t, p, 1)[0]
	save(t, p)
	for n := range uint64(3) {
		acceptLines(p, k, 2+n)
	}
	p.Rollback()
	if lines, _ := p.Shipped(k); lines != 1 || !p.Changed() {
		t.Errorf("%d lines after the rollback, want 1", lines)
	}
	acceptLines(p, k, 7)
	save(t, p)
	p.Rollback()
	if lines, _ := p.Shipped(k); lines != 7 {
		t.Errorf("%d lines after a save and a rollback, want 7", lines)
	}
}

// Recovered records are not written again: Log returns what the sink has after the position.
func TestStore_Recovered(t *testing.T) {
	p := openStore(t, "")
	k := Key{"c", "s", "job"}
	acceptLines(p, k, 3)
	for seq := range 2 {
		r := fmt.Sprintf(`{"time":"2026-11-24T12:00:01Z","ray_cluster":"c","session":"s","submission_id":"job","epoch":0,"seq":%d,"message":"m"}`, 3+seq)
		if err := p.Recovered([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	if l := p.Log(k, ray.Job{}); l.Pos.Lines != 3 || l.Written[0] != 5 {
		t.Errorf("at line %d, and the sink has lines before %d: want 3 and 5", l.Pos.Lines, l.Written[0])
	}
	acceptLines(p, k, 5)
	if l := p.Log(k, ray.Job{}); l.Written != nil {
		t.Errorf("the position has passed the recovered records, and %v are left", l.Written)
	}
	if err := p.Recovered([]byte("text\n")); err == nil {
		t.Error("a line that is not a record was accepted")
	}
}

func TestStore_SlotsAndWatermark(t *testing.T) {
	p := openStore(t, "")
	p.SetSlots("s", map[string]int{"job": 2})
	if got := p.Slots("s")["job"]; got != 2 || p.Slots("other") != nil {
		t.Errorf("%d slots, want 2", got)
	}
	p.SetSlots("s", nil)
	if got := p.Slots("s"); got != nil {
		t.Errorf("slots %v, want none", got)
	}
	w := sink.Watermark{Path: "/f", Number: 1, Offset: 10}
	for _, next := range []sink.Watermark{w, {}} { // zero changes nothing
		if err := p.Save(t.Context(), next); err != nil || p.Watermark() != w {
			t.Errorf("watermark %v (%v), want %v", p.Watermark(), err, w)
		}
	}
}
