package shard

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// generations returns generations with these numbers of shards, an hour apart.
func generations(shards ...int) Generations {
	var g Generations
	for i, n := range shards {
		x := Generation{Shards: n}
		if i > 0 {
			x.From = start.Add(time.Duration(i-1) * time.Hour)
		}
		g = append(g, x)
	}
	return g
}

func uid(i int) string { return fmt.Sprintf("0b6d3f5e-93c4-4c5a-8d7a-%012x", i) }

// Another result would move the clusters of every release before.
func TestOwner_NeverChanges(t *testing.T) {
	for id, want := range map[string]int{"prod": 6, "ray/prod": 4, "default": 6, uid(1): 0, uid(2): 0} {
		if got := generations(7).Owner(id, time.Time{}); got != want {
			t.Errorf("owner of %q of 7: got %d, want %d", id, got, want)
		}
	}
}

// A new generation moves no cluster that existed before it, and is used for all later ones.
func TestOwner_Sticky(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	for range 200 {
		var shards []int
		for range 1 + random.IntN(5) {
			shards = append(shards, 1+random.IntN(6))
		}
		old := generations(shards...)
		added := generations(append(shards, 1+random.IntN(6))...)
		last := added[len(added)-1]
		for i := range 50 {
			id := uid(random.Int())
			before := last.From.Add(-time.Duration(1+random.IntN(1e6)) * time.Second)
			if len(added) > 1 && old.Owner(id, before) != added.Owner(id, before) {
				t.Fatalf("%v: a generation from %s moved %s, created at %s", shards, last.From, id, before)
			}
			for _, after := range []time.Time{last.From, last.From.Add(time.Duration(i) * time.Hour)} {
				if got, want := added.Owner(id, after), (Generations{{Shards: last.Shards}}).Owner(id, time.Time{}); got != want {
					t.Fatalf("%v: %s, created at %s: got %d, want %d", shards, id, after, got, want)
				}
			}
		}
	}
}

// Clusters without a creation time stay where they are, whatever is added.
func TestOwner_NoTime(t *testing.T) {
	for i := range 100 {
		if got, want := generations(2, 3, 1).Owner(uid(i), time.Time{}), generations(2).Owner(uid(i), time.Time{}); got != want {
			t.Errorf("%s: got %d, want %d", uid(i), got, want)
		}
	}
}

// Shards get about the same number of clusters, also of names that differ in a digit only.
func TestOwner_Even(t *testing.T) {
	for name, id := range map[string]func(int) string{
		"uids": uid, "names": func(i int) string { return fmt.Sprintf("team-a/cluster-%d", i) },
	} {
		for _, n := range []int{2, 3, 8} {
			count := make([]int, n)
			for i := range 1000 * n {
				count[generations(n).Owner(id(i), time.Time{})]++
			}
			for s, c := range count {
				if c < 850 || c > 1150 {
					t.Errorf("%s: shard %d of %d has %d of %d clusters", name, s, n, c, 1000*n)
				}
			}
		}
	}
}

func TestLargest(t *testing.T) {
	if got := generations(2, 3, 1).Largest(); got != 3 {
		t.Errorf("got %d", got)
	}
	if got := (Generations{}).Largest(); got != 0 {
		t.Errorf("no generations: got %d", got)
	}
}

func TestOrdinal(t *testing.T) {
	for pod, want := range map[string]int{"raytap-0": 0, "raytap-2": 2, "a-b-10": 10, "raytap-7d9c5b8f6d-24567": 24567} {
		if got, err := Ordinal(pod); err != nil || got != want {
			t.Errorf("%s: got %d, %v", pod, got, err)
		}
	}
	for _, pod := range []string{"", "raytap", "-1", "raytap-", "raytap-01", "raytap-+1", "raytap-7d9c5b8f6d-x2kq9", "raytap-0.raytap.ray.svc", "raytap-99999999999", "3"} {
		if n, err := Ordinal(pod); err == nil || !strings.Contains(err.Error(), "StatefulSet") {
			t.Errorf("%q: got %d, %v; want an error that names StatefulSet", pod, n, err)
		}
	}
}

// Every cluster belongs to exactly one shard that a generation has, at all times.
func FuzzOwner(f *testing.F) {
	f.Add("prod", int64(0), uint8(2), uint8(3), uint8(2))
	f.Add(uid(1), start.Unix(), uint8(1), uint8(0), uint8(255))
	f.Fuzz(func(t *testing.T, id string, created int64, a, b, c uint8) {
		g := generations(int(a)+1, int(b)+1, int(c)+1)
		at := time.Unix(created, 0)
		owner := g.Owner(id, at)
		owners := 0
		for shard := range g.Largest() + 2 { // two pods that no generation reaches
			if owner == shard {
				owners++
			}
		}
		if owners != 1 || owner >= g.Largest() || g.Owner(id, at) != owner {
			t.Errorf("%v: %q, created at %s, has %d owners, of which one is %d", g, id, at, owners, owner)
		}
	})
}
