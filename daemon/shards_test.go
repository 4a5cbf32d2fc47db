package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"raytap/config"
	"raytap/discovery"
	"raytap/ray/raytest"
	"raytap/shipper/checkpoint"
)

// sharded returns the shards of raytap number n, with these numbers of shards, the first
// one from the beginning and the next ones an hour apart.
func sharded(t *testing.T, n int, numbers ...int) shards {
	t.Helper()
	c := config.Sharding{Shard: config.ShardNumber(n)}
	for i, shards := range numbers {
		g := config.Generation{Shards: shards}
		if i > 0 {
			g.From = config.Time{Time: time.Unix(int64(i)*3600, 0)}
		}
		c.Generations = append(c.Generations, g)
	}
	positions, err := checkpoint.Open("")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newShards(c, func() (string, error) { return "", errors.New("not asked") }, positions)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Of all the raytaps that run, exactly one watches each cluster, however many there are.
func TestShards_OneOwner(t *testing.T) {
	for i := range 300 {
		c := config.Cluster{Name: "cluster-" + strconv.Itoa(i)}
		byHand := config.Cluster{Name: c.Name, Shard: config.ShardNumber(2)}
		for what, own := range map[string]func(*shards) bool{
			"in the configuration": func(s *shards) bool { return s.owns(c, "", time.Time{}) },
			"by hand":              func(s *shards) bool { return s.owns(byHand, "", time.Time{}) },
			"of Kubernetes":        func(s *shards) bool { return s.owns(c, "uid-"+c.Name, time.Unix(int64(i)*60, 0)) },
		} {
			var owners []int
			for n := range 5 { // the last two are reached by no generation
				if s := sharded(t, n, 2, 3, 1); own(&s) {
					owners = append(owners, n)
				}
			}
			if len(owners) != 1 || owners[0] > 2 || what == "by hand" && owners[0] != 2 {
				t.Errorf("%s %s: owners are %v", c.Name, what, owners)
			}
		}
	}
}

// The uid decides, not the name, which another cluster may have used before.
func TestShards_UID(t *testing.T) {
	names, uids := map[bool]int{}, map[bool]int{}
	for i := range 64 {
		s := sharded(t, 0, 2)
		names[s.owns(config.Cluster{Name: strconv.Itoa(i)}, "uid", time.Time{})]++
		uids[s.owns(config.Cluster{Name: "name"}, strconv.Itoa(i), time.Time{})]++
	}
	if len(names) != 1 || len(uids) != 2 {
		t.Errorf("owners with one uid: %v; with one name: %v", names, uids)
	}
}

func TestShards_None(t *testing.T) {
	var s shards
	found := []discovery.Cluster{{Cluster: config.Cluster{Name: "a"}}, {Cluster: config.Cluster{Name: "b"}}}
	if got := s.keep(found); len(got) != 2 {
		t.Errorf("without shards, %d of 2 clusters are kept", len(got))
	}
}

// auto is the number of the pod; without one raytap does not start.
func TestShards_Hostname(t *testing.T) {
	c := config.Sharding{Generations: []config.Generation{{Shards: 2}}}
	positions, err := checkpoint.Open("")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newShards(c, func() (string, error) { return "raytap-1", nil }, positions)
	if err != nil || s.number != 1 {
		t.Errorf("got shard %d, %v", s.number, err)
	}
	_, err = newShards(c, func() (string, error) { return "raytap-6d4cf56db6-x2kqz", nil }, positions)
	if err == nil || !strings.Contains(err.Error(), "sharding.shard") || !strings.Contains(err.Error(), "StatefulSet") {
		t.Errorf("the pod of a Deployment: %v", err)
	}
}

// twoShards returns a configuration of shard n of 2, and heads: of a cluster of shard 0, one
// of shard 1, both in the configuration, and one of each in a file. Names tell which.
func twoShards(t *testing.T, dir string, n int) (config.Config, map[string]*raytest.Head) {
	t.Helper()
	hs := map[string]*raytest.Head{}
	var own []string
	var targets []map[string]any
	s := sharded(t, 0, 2)
	for shard := range 2 {
		for _, kind := range []string{"static", "listed"} {
			name := ""
			for i := 0; name == "" || s.owns(config.Cluster{Name: name}, "", time.Time{}) != (shard == 0); i++ {
				name = fmt.Sprintf("%s-%d-%d", kind, shard, i)
			}
			hs[name] = raytest.New(t)
			for range len(hs) - 1 {
				if err := hs[name].Restart(raytest.RestartOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			hs[name].Submit("job-"+name, raytest.JobOptions{}).Print("from " + name + "\n")
			if kind == "static" {
				own = append(own, name)
				continue
			}
			targets = append(targets, map[string]any{"targets": []string{hs[name].URL()}, "labels": map[string]string{"ray_cluster": name}})
		}
	}
	file := filepath.Join(dir, "clusters.json")
	text, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c := configure(t, hs, own...)
	c.Modules = map[string]config.Module{"m": module(t, "127.0.0.1:*")}
	c.ClusterFiles = []config.ClusterFiles{{Module: "m", Files: []config.Path{config.Path(file)}}}
	c.Shipper.Positions.File = config.Path(filepath.Join(dir, "positions.db"))
	c.MaxClusters = 2
	c.Sharding = config.Sharding{Shard: config.ShardNumber(n), Generations: []config.Generation{{Shards: 2}}}
	return c, hs
}

// A shard ships and shows its own clusters, of the configuration and of files, and no
// others. Where shards were changed for clusters that exist, it says so.
func TestShards_OwnClusters(t *testing.T) {
	c, hs := twoShards(t, t.TempDir(), 1)
	h := open(t, c, nil)
	for name := range hs {
		if own := strings.Contains(name, "-1-"); own {
			h.until("the lines of "+name, func() bool { return strings.Contains(h.out.String(), "from "+name) })
		}
	}
	page := h.page() // max_clusters is a limit of what a shard watches
	for name := range hs {
		if got, want := strings.Contains(page, `raytap_up{ray_cluster="`+name+`"} 1`), strings.Contains(name, "-1-"); got != want {
			t.Errorf("raytap_up of %s: got %t, want %t", name, got, want)
		}
	}
	for _, want := range []string{
		"raytap_clusters 2", `raytap_shard_info{shard="1",shards="2"} 1`, "raytap_shards 2",
		`raytap_shard_clusters{owner="this"} 2`, `raytap_shard_clusters{owner="another"} 2`, "raytap_shard_misplaced_clusters 0",
	} {
		if !strings.Contains(page, want+"\n") {
			t.Errorf("/metrics has no %s:\n%s", want, page)
		}
	}

	moved := c
	moved.Clusters = slices.Clone(c.Clusters)
	for i := range moved.Clusters {
		moved.Clusters[i].Shard = config.ShardNumber(0)
	}
	if code, text := h.reload(moved, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	if page := h.page(); !strings.Contains(page, "raytap_clusters 1\n") || !strings.Contains(page, "raytap_shard_misplaced_clusters 1\n") {
		t.Errorf("/metrics after a cluster has moved away:\n%s", page)
	}
	if !strings.Contains(h.lines(), "belongs to shard 0") {
		t.Errorf("the log does not say that it moved:%s", h.lines())
	}
	if strings.Contains(h.out.String(), "-0-") {
		t.Errorf("lines of another shard:\n%s", h.out.String())
	}

	none := c
	none.Sharding, none.MaxClusters = config.Sharding{}, 4
	if code, text := h.reload(none, nil); code != 200 {
		t.Fatalf("reload: %d %s", code, text)
	}
	if page := h.page(); !strings.Contains(page, "raytap_clusters 4\n") || strings.Contains(page, "raytap_shard") {
		t.Errorf("/metrics without shards:\n%s", page)
	}
}

// A shard that no generation reaches runs, watches nothing and says so.
func TestShards_Beyond(t *testing.T) {
	c, _ := twoShards(t, t.TempDir(), 2)
	h := open(t, c, nil)
	h.until("it is shown", func() bool {
		page := h.page()
		return strings.Contains(page, "raytap_clusters 0\n") && strings.Contains(page, `raytap_shard_info{shard="2",shards="2"} 1`)
	})
	if !strings.Contains(h.lines(), "No cluster belongs to this shard") {
		t.Errorf("the log does not say it:%s", h.lines())
	}
	if code, text := h.get("/-/ready"); code != 200 {
		t.Errorf("/-/ready: %d %s", code, text)
	}
}

// The positions of a RayCluster of another shard are not those of one that is gone.
func TestShards_Elsewhere(t *testing.T) {
	s := sharded(t, 0, 2)
	for i := range 8 {
		s.owns(config.Cluster{Name: strconv.Itoa(i)}, "uid-"+strconv.Itoa(i), time.Time{})
		s.owns(config.Cluster{Name: "static-" + strconv.Itoa(i)}, "", time.Time{})
	}
	if s.own+s.others != 16 || len(s.elsewhere) == 0 || len(s.elsewhere) >= s.others || slices.ContainsFunc(s.elsewhere, func(id string) bool { return !strings.HasPrefix(id, "uid-") }) {
		t.Errorf("%d own clusters, %d others, of which by uid %q", s.own, s.others, s.elsewhere)
	}
}
