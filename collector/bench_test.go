package collector_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"raytap/collector"
	"raytap/ray"
)

// BenchmarkScrape turns the answers of a big cluster into metrics: 1,000 jobs,
// 500 nodes, 5,000 task names and 100 Serve applications, none of them cut by
// a cap.
func BenchmarkScrape(b *testing.B) {
	now := time.Now()
	c := &cluster{version: ray.Version{Ray: "2.60.0", Session: "s"}}
	c.status.ByNode = make(map[string]map[string]ray.Usage)
	for i := range 1000 {
		c.jobs = append(c.jobs, ray.Job{
			Type: ray.JobSubmission, SubmissionID: fmt.Sprintf("raysubmit_%016d", i), JobID: fmt.Sprintf("%08x", i),
			Status: ray.JobStatuses[i%len(ray.JobStatuses)], Start: now.Add(-time.Hour), End: now,
			Metadata: map[string]string{"job_name": "train"}, DriverNodeID: fmt.Sprintf("%056d", i%500),
		})
	}
	resources := map[string]float64{"CPU": 64, "GPU": 8, "memory": 1 << 38, "object_store_memory": 1 << 36, "accelerator_type:A100": 1}
	used := make(map[string]ray.Usage)
	for name, total := range resources {
		used[name] = ray.Usage{Used: total / 2, Total: total}
	}
	c.status.Usage = used
	for i := range 500 {
		id := fmt.Sprintf("%056d", i)
		stats := &ray.NodeStats{
			At: now, CPURatio: 0.5, CPUs: 64, MemTotal: 1 << 38, Disks: []ray.Disk{{Mount: "/"}, {Mount: "/tmp"}},
			ObjectStore: &ray.ObjectStore{}, HasLoad: true, HasNetwork: true,
		}
		for g := range 8 {
			stats.GPUs = append(stats.GPUs, ray.GPU{Index: g, Name: "A100", UUID: "GPU", Utilization: ptr(0.5), MemTotal: 1 << 36})
		}
		c.nodes = append(c.nodes, ray.Node{ID: id, IP: "10.0.0.1", State: ray.NodeAlive, Start: now, Resources: resources, Stats: stats})
		c.status.ByNode[id] = used
	}
	for i := range 5000 {
		c.tasks.Tasks = append(c.tasks.Tasks, ray.Task{JobID: fmt.Sprintf("%08x", i%100), Name: fmt.Sprintf("task_%d", i), State: "RUNNING"})
	}
	for i := range 100 {
		c.serve.Applications = append(c.serve.Applications, ray.ServeApplication{
			Name: fmt.Sprintf("app%d", i), Status: "RUNNING", LastDeployed: now,
			Deployments: []ray.ServeDeployment{{Name: "a", Status: "HEALTHY", TargetReplicas: ptr(1)}, {Name: "b", Status: "HEALTHY"}},
		})
	}
	collect := newCollector(c, collector.Options{Tasks: collector.TasksOptions{ByName: true, MaxSeries: 10000}})
	b.ReportAllocs()
	series := 0
	for b.Loop() {
		ch := make(chan prometheus.Metric, 1024)
		go func() {
			defer close(ch)
			collect.Collect(b.Context(), ch)
		}()
		series = 0
		for range ch {
			series++
		}
	}
	b.ReportMetric(float64(series), "series/op")
}
