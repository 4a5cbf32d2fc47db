//go:build e2e && linux

package kuberay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/realkube"
)

// While the API server hangs, is killed or forgets, no cluster is removed and no line is
// lost.
func serverAway(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "server", "")
	n.start()
	n.ready()
	f := n.cluster("train", "a-token-of-train", "").up()
	job := f.head.Submit("server-1", raytest.JobOptions{})
	print(10, job)
	n.awaitLines("the start", job)
	starts := strings.Count(n.records(), `"event":"start"`)
	printFor := func(what string, d time.Duration) {
		for start := time.Now(); time.Since(start) < d; time.Sleep(100 * time.Millisecond) {
			print(2, job)
		}
		n.awaitLines(what, job)
		if up := n.metric(`raytap_up{ray_cluster="server/train"}`); up != "1" {
			t.Errorf("%s: raytap_up is %q", what, up)
		}
	}
	k.APIServer.Signal(syscall.SIGSTOP)
	printFor("the API server hangs", 8*time.Second)
	k.APIServer.Signal(syscall.SIGCONT)
	for range 2 {
		k.Restart()
		printFor("the API server was restarted", time.Second)
	}
	other := n.cluster("later", "", "").up()
	late := other.head.Submit("server-2", raytest.JobOptions{})
	print(10, late)
	n.Until(n.raytap, 90*time.Second, "a cluster that was created later is found", func() bool { return missingLine(n.records(), []*raytest.Job{late}) == "" })
	if got := strings.Count(n.records(), `"event":"start"`); got != starts+1 {
		t.Errorf("the file has %d start events, want %d: the cluster was watched from the start", got, starts+1)
	}
	if strings.Contains(n.records(), `"event":"end"`) {
		t.Error("a job has ended in the records")
	}
}

// Each of several raytaps ships the lines of its own clusters, also after the number of
// shards has changed and after one was killed.
func shards(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "shards", "")
	base, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*tenant, 3)
	for i := range all {
		dir := t.TempDir()
		all[i] = &tenant{Server: k, t: t, namespace: n.namespace, config: filepath.Join(dir, "raytap.yaml"), sink: filepath.Join(dir, "raytap.jsonl")}
	}
	configure := func(generations string) {
		for i, c := range all {
			text := strings.ReplaceAll(string(base), n.sink, c.sink) + fmt.Sprintf("\nsharding: {shard: %d, generations: %s}\n", i, generations)
			realkube.Write(t, c.config, text, 0o600)
		}
	}
	configure("[{shards: 2}]")
	for _, c := range all[:2] {
		c.start()
		c.ready()
	}
	var fakes []*fake
	var jobs []*raytest.Job
	add := func(count int) {
		for range count {
			f := n.cluster(fmt.Sprintf("c%d", len(fakes)), "", "").up()
			fakes, jobs = append(fakes, f), append(jobs, f.head.Submit(fmt.Sprintf("shards-%d", len(fakes)), raytest.JobOptions{}))
		}
		print(5, jobs...)
	}
	together := func() string {
		var b strings.Builder
		for _, c := range all {
			b.WriteString(c.records())
		}
		return b.String()
	}
	await := func(after string) {
		t.Helper()
		all[0].until("each line is in a file, after "+after, func() bool { return missingLine(together(), jobs) == "" })
		checkOnce(t, after, together(), jobs)
	}
	add(8)
	await("the start")
	all[1].raytap.Kill()
	print(5, jobs...)
	all[1].start()
	await("one was killed")
	// The third shard is for clusters of the future.
	from := time.Now().Add(3 * time.Second).UTC().Truncate(time.Second)
	configure(fmt.Sprintf("[{shards: 2}, {shards: 3, from: %s}]", from.Format(time.RFC3339)))
	for _, c := range all[:2] {
		c.raytap.Signal(syscall.SIGHUP)
	}
	all[2].start()
	time.Sleep(time.Until(from.Add(time.Second)))
	add(8)
	await("a third shard was added")
	for i, c := range all {
		lines := len(parse(c.records()))
		t.Logf("shard %d has %d records", i, lines)
		if lines == 0 {
			t.Errorf("shard %d has no records", i)
		}
	}
}
