//go:build e2e && linux

package kuberay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
	"raytap/test/realkube"
)

// All lines are shipped of a job that ended before raytap could reach its cluster.
func endedBefore(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "before", "")
	n.start()
	n.ready()
	f := n.cluster("short", "", "")
	f.startHead()
	f.pod = "short-head"
	f.createPod(f.pod, "head", f.front.ip, f.front.port, f.uid)
	job := f.head.Submit("before-1", raytest.JobOptions{})
	print(40, job)
	job.End("SUCCEEDED", 0)
	time.Sleep(2 * time.Second) // raytap sees a cluster that it cannot reach
	if n.metric(`raytap_up{ray_cluster="before/short"}`) != "" {
		t.Error("raytap_up exists for a cluster whose head has never been ready")
	}
	f.status(f.pod, f.front.ip, true, 0)
	n.awaitLines("the head is ready", job)
}

// What a deleted cluster prints until its head ends is read, without its Secret and
// RayCluster, and what cannot be read is reported.
func deletedCluster(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "deleted", "ended_clusters: {keep: 1h}")
	n.start()
	n.ready()
	f := n.cluster("gone", "a-token-of-gone", "").up()
	running, failed := f.head.Submit("deleted-1", raytest.JobOptions{}), f.head.Submit("deleted-2", raytest.JobOptions{})
	print(10, running, failed)
	n.awaitLines("the start", running, failed)
	f.delete()
	for range 30 {
		print(5, running, failed)
		time.Sleep(100 * time.Millisecond)
	}
	failed.End("FAILED", 1)
	n.awaitLines("the deletion", running, failed)
	n.until("the end of the job that ended is there", func() bool { r, ok := n.end(failed.ID); return ok && r.Complete != nil && *r.Complete })
	f.gone()
	n.until("the end of the job that was cut off is there", func() bool { _, ok := n.end(running.ID); return ok })
	if r, _ := n.end(running.ID); r.Complete == nil || *r.Complete || !strings.Contains(r.Message, "the cluster was deleted") {
		t.Errorf("the end of a job of a deleted cluster is %+v", r)
	}
	n.until("raytap_up is gone", func() bool { return n.metric(`raytap_up{ray_cluster="deleted/gone"}`) == "" })
	if got := metricLine(n, `raytap_job_status{ray_cluster="deleted/gone",status="FAILED"`); !strings.HasSuffix(got, " 1\n") {
		t.Errorf("raytap_job_status of a failed job of a deleted cluster is %q", got)
	}
}

// A RayCluster with the name of one that is ending is another one. It is read once the head
// of the first is gone, from its start; a scrape never fails.
func sameName(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "same", "")
	n.start()
	n.ready()
	old := n.cluster("dev", "", "").up()
	first := old.head.Submit("same-1", raytest.JobOptions{})
	print(10, first)
	n.awaitLines("the start", first)
	old.delete()
	fresh := n.cluster("dev", "", "").up()
	second := fresh.head.Submit("same-2", raytest.JobOptions{})
	for range 25 {
		print(3, first, second)
		if program.Get(n.url+"/metrics") == "" {
			t.Fatal("a scrape fails")
		}
		time.Sleep(100 * time.Millisecond)
	}
	n.awaitLines("the second cluster was made", first)
	old.gone()
	print(10, second)
	n.awaitLines("the end of the first cluster", first, second)
	n.watched(fresh)
}

// Of a cluster that was deleted while raytap was away, each job that was read in part has
// an end that says so.
func deletedWhileAway(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "away", "")
	n.start()
	n.ready()
	f := n.cluster("train", "", "").up()
	var jobs []*raytest.Job
	for i := range 3 {
		jobs = append(jobs, f.head.Submit(fmt.Sprintf("away-%d", i), raytest.JobOptions{}))
	}
	print(10, jobs...)
	n.awaitLines("the start", jobs...)
	time.Sleep(500 * time.Millisecond) // positions are saved
	n.raytap.Kill()
	print(10, jobs...)
	f.delete()
	f.gone()
	n.start()
	for _, j := range jobs {
		n.until("the end of "+j.ID+" is there", func() bool { _, ok := n.end(j.ID); return ok })
		if r, _ := n.end(j.ID); r.Complete == nil || *r.Complete || !strings.Contains(r.Message, "the cluster was deleted") {
			t.Errorf("the end of %s is %+v", j.ID, r)
		}
	}
	n.until("the gaps are counted", func() bool {
		line := metricLine(n, "raytap_shipper_gaps_total{")
		return line != "" && !strings.HasSuffix(line, " 0\n")
	})
}

// Series and memory do not grow with the clusters that were.
func churn(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "churn", "ended_clusters: {keep: 1s}")
	n.start()
	n.ready()
	const clusters = 30
	for round := range 2 {
		for i := range clusters / 2 {
			f := n.cluster(fmt.Sprintf("c%d-%d", round, i), "", "").up()
			job := f.head.Submit(fmt.Sprintf("churn-%d-%d", round, i), raytest.JobOptions{})
			print(5, job)
			job.End("SUCCEEDED", 0)
			n.until("the job's end is there", func() bool { _, ok := n.end(job.ID); return ok })
			checkOnce(t, "its end", n.records(), []*raytest.Job{job})
			f.delete()
			f.gone()
		}
	}
	n.until("no series is of a cluster", func() bool {
		metrics := program.Get(n.url + "/metrics")
		return metrics != "" && !strings.Contains(metrics, `ray_cluster="churn/`)
	})
}
