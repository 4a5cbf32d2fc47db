package daemon

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"raytap/collector"
	"raytap/config"
	"raytap/discovery"
	"raytap/ray/raytest"
)

// seriesOnce fails if /metrics has a series twice, and returns it.
func (h *harness) seriesOnce() string {
	h.t.Helper()
	page := h.exposition()
	seen := map[string]bool{}
	for line := range strings.Lines(page) {
		series := line[:strings.LastIndexByte(strings.TrimSpace(line), ' ')+1]
		if !strings.HasPrefix(line, "#") && seen[series] {
			h.t.Fatalf("twice: %s", series)
		}
		seen[series] = true
	}
	return page
}

// What a cluster was leaves /metrics at once; how its jobs ended, and what was counted, stays
// until it was scraped, next to the next cluster of its name.
func TestEnded_EndsStay(t *testing.T) {
	hs := heads(t, "first", "second")
	h, source := openSource(t)
	hs["first"].Submit("failed", raytest.JobOptions{JobID: "01000000"}).End("FAILED", 1)
	hs["first"].Submit("runs", raytest.JobOptions{JobID: "02000000"}).Print("one\n")
	first := kubernetesCluster(t, "uid-1", hs["first"])
	source.set(first)
	const failed = `raytap_job_status{ray_cluster="team/train",status="FAILED",submission_id="failed"} 1`
	const runs = `raytap_job_status{ray_cluster="team/train",status="RUNNING",submission_id="runs"} 1`
	h.until("its jobs are shown and shipped", func() bool {
		page := h.seriesOnce()
		return strings.Contains(page, failed) && strings.Contains(page, runs) && strings.Contains(h.out.String(), `"message":"one"`)
	})
	left := func(where string) {
		t.Helper()
		page := h.seriesOnce()
		if !strings.Contains(page, failed) || !strings.Contains(page, `raytap_shipper_gaps_total{ray_cluster="team/train"}`) {
			t.Errorf("%s: the end of its job is not shown:\n%s", where, page)
		}
	}
	gone := func(where string) {
		t.Helper()
		left(where)
		for _, state := range []string{"raytap_up{", "raytap_nodes{", "raytap_cluster_info{", `submission_id="runs"`} {
			if page := h.seriesOnce(); strings.Contains(page, state) {
				t.Errorf("%s: %s is shown:\n%s", where, state, page)
			}
		}
	}
	first.Facts.Set(in(discovery.Draining, running(hs["first"])))
	source.set(first)
	h.until("it drains", func() bool { return !strings.Contains(h.seriesOnce(), up) })
	gone("while it drains")
	hs["first"].Down()
	first.Facts.Set(in(discovery.Gone, discovery.State{}))
	source.set()
	h.until("it has ended", func() bool { return len(h.d.clusters.alive()) == 0 })
	gone("once it is gone")
	if page := h.page(); strings.Contains(page, `raytap_shipper_gaps_total{ray_cluster="team/train"} 0`) {
		t.Errorf("the lines that it lost are not counted:\n%s", page)
	}

	// Another one has the same name, and a job of the same id.
	hs["second"].Submit("failed", raytest.JobOptions{JobID: "01000000"}).Print("two\n")
	source.set(kubernetesCluster(t, "uid-2", hs["second"]))
	h.until("the next cluster's job is shown", func() bool {
		return strings.Contains(h.seriesOnce(), `status="RUNNING",submission_id="failed"} 1`)
	})
}

// Without ended_clusters.keep nothing stays.
func TestEnded_KeepNothing(t *testing.T) {
	hs := heads(t, "head")
	s := &fakeSource{changed: make(chan struct{})}
	c := configure(t, nil)
	c.EndedClusters = config.EndedClusters{}
	h := openWith(t, c, nil, func(d *Daemon) { d.sources = []discovery.Source{s} })
	hs["head"].Submit("failed", raytest.JobOptions{JobID: "01000000"}).End("FAILED", 1)
	k := kubernetesCluster(t, "uid-1", hs["head"])
	s.set(k)
	h.until("it is up", func() bool { return strings.Contains(h.seriesOnce(), up+"1") })
	s.set()
	h.until("nothing of it is left", func() bool { return !strings.Contains(h.seriesOnce(), "team/train") })
}

// Clusters that come and go do not pile up.
func TestEnded_Expire(t *testing.T) {
	c := collector.New(nil, collector.Options{Cluster: "prod"})
	var e ended
	e.setKeep(5 * time.Minute)
	now := time.Now()
	for range 3000 {
		now = now.Add(time.Second)
		e.add(c, now)
	}
	if n := len(e.all); n != 300 {
		t.Errorf("%d are kept, want those of five minutes", n)
	}
	if n := len(e.expositions(now.Add(5 * time.Minute))); n != 0 || len(e.all) != 0 {
		t.Errorf("%d are left", n)
	}
}

// RayClusters that come and go leave nothing behind, and neither do their positions. They may
// have one session, as the generations of a RayService that store it in one place.
func TestEnded_NothingPilesUp(t *testing.T) {
	hs := heads(t, "shared")
	hs["shared"].Submit("job", raytest.JobOptions{JobID: "01000000"}).Print("one\n")
	h, source := openSource(t)
	const n = 8
	var before discovery.Cluster
	for i := range n {
		c := kubernetesCluster(t, "uid-"+strconv.Itoa(i), hs["shared"])
		c.Name = "team/generation-" + strconv.Itoa(i)
		found := []discovery.Cluster{c}
		if i > 0 {
			found = append(found, before)
		}
		source.set(found...)
		h.until("both generations are shipped", func() bool {
			return strings.Count(h.out.String(), `"message":"one"`) == i+1 && strings.Contains(h.seriesOnce(), `raytap_up{ray_cluster="`+c.Name+`"} 1`)
		})
		if i > 0 {
			before.Facts.Set(in(discovery.Gone, discovery.State{}))
		}
		source.set(c)
		before = c
	}
	before.Facts.Set(in(discovery.Gone, discovery.State{}))
	source.set()
	h.until("all have ended", func() bool { return len(h.d.clusters.alive()) == 0 })
	source.set()
	h.until("none is kept", func() bool {
		h.d.clusters.mu.RLock()
		defer h.d.clusters.mu.RUnlock()
		return len(h.d.clusters.running)+len(h.d.clusters.leaving) == 0
	})
	if got := strings.Count(h.out.String(), `"event":"end"`); got != n {
		t.Errorf("%d ends, want %d", got, n)
	}
	positions := h.d.storage.positions
	if got := len(positions.UIDs()); got != n {
		t.Errorf("positions of %d clusters right after their ends, want %d", got, n)
	}
	positions.Expire(time.Now().Add(2 * time.Hour))
	if c, err := positions.Content(); err != nil || len(c.Clusters)+len(c.Slots) != 0 {
		t.Errorf("positions that are left: %+v, %v", c, err)
	}
}
