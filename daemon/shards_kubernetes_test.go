package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"raytap/config"
	"raytap/discovery/kuberay/kubetest"
	"raytap/discovery/shard"
	"raytap/ray/raytest"
)

// Two raytaps become three while jobs print: RayClusters that exist stay where they are, later
// ones are divided among three, and each line is shipped by exactly one raytap, once. A raytap
// reads only the Secrets of its own clusters.
func TestShards_MoreWhileJobsPrint(t *testing.T) {
	const clusters, old = 8, 4
	change := time.Date(2026, 12, 1, 12, 30, 0, 0, time.UTC)
	generations := []config.Generation{{Shards: 2}, {Shards: 3, From: config.Time{Time: change}}}
	api := kubetest.New(t)
	jobs := make([]*raytest.Job, clusters)
	uid := func(i int) string { return fmt.Sprintf("uid-%d", i) }
	put := func(i int) {
		head := raytest.New(t, raytest.Token("token"))
		for range i { // no two heads share a session
			if err := head.Restart(raytest.RestartOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		jobs[i] = head.Submit("job", raytest.JobOptions{JobID: "01000000"})
		at, err := netip.ParseAddrPort(strings.TrimPrefix(head.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		name, created := fmt.Sprintf("c%d", i), change.Add(time.Duration(i-old)*time.Minute)
		api.PutSecret("ray", name, "auth_token", "token")
		api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: name, UID: uid(i), Created: created}.Object())
		api.Put(kubetest.Pods, kubetest.Pod{Namespace: "ray", Name: name + "-head", UID: "pod-" + uid(i), Cluster: uid(i), IP: at.Addr().String(), Port: int(at.Port()), Secret: name}.Object())
	}
	var raytaps []*harness
	var configs []config.Config
	start := func(number int, g []config.Generation) {
		c := kubernetes(t, api)
		c.Sharding = config.Sharding{Shard: config.ShardNumber(number), Generations: g}
		configs, raytaps = append(configs, c), append(raytaps, open(t, c, nil))
	}
	owner := func(i int) int {
		if i < old {
			return shard.Generations{{Shards: 2}}.Owner(uid(i), time.Time{})
		}
		return shard.Generations{{Shards: 3}}.Owner(uid(i), time.Time{})
	}
	printed := func(count int, text string) {
		t.Helper()
		for i := range count {
			jobs[i].Print(fmt.Sprintf("%s of c%d\n", text, i))
		}
		for i := range count {
			h := raytaps[owner(i)]
			h.until("the line is shipped by its shard", func() bool { return strings.Contains(h.out.String(), fmt.Sprintf(`"message":"%s of c%d"`, text, i)) })
		}
	}
	for i := range old {
		put(i)
	}
	start(0, generations[:1])
	start(1, generations[:1])
	printed(old, "first line")
	start(2, generations)
	for i, h := range raytaps[:2] {
		configs[i].Sharding.Generations = generations
		if code, text := h.reload(configs[i], nil); code != 200 {
			t.Fatalf("reload: %d %s", code, text)
		}
	}
	for i := old; i < clusters; i++ {
		put(i)
	}
	printed(clusters, "second line")

	all, used := "", map[int]bool{}
	for number, h := range raytaps {
		out := h.out.String()
		all += out
		for i := range clusters {
			used[owner(i)] = true
			if own := owner(i) == number; strings.Contains(out, fmt.Sprintf(`"ray_cluster":"ray/c%d"`, i)) != own {
				t.Errorf("cluster %d belongs to shard %d; shard %d ships it: %t", i, owner(i), number, !own)
			}
		}
		want := fmt.Sprintf("raytap_shard_info{shard=%q,shards=\"3\"} 1\n", fmt.Sprint(number))
		if page := h.page(); !strings.Contains(page, want) || !strings.Contains(page, "raytap_shard_misplaced_clusters 0\n") {
			t.Errorf("/metrics of shard %d:\n%s", number, page)
		}
	}
	for i := range clusters {
		for _, text := range []string{"first line", "second line"} {
			if n, want := strings.Count(all, fmt.Sprintf(`"message":"%s of c%d"`, text, i)), i < old || text == "second line"; want != (n == 1) {
				t.Errorf("the %s of cluster %d was shipped %d times", text, i, n)
			}
		}
		if n := len(api.Requests(fmt.Sprintf("/secrets/c%d", i))); n != 1 {
			t.Errorf("the Secret of cluster %d was read %d times", i, n)
		}
	}
	if len(used) != 3 {
		t.Errorf("clusters are on the shards %v only", used)
	}
}
