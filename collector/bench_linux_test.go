package collector_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"raytap/collector"
	"raytap/ray"
)

// size is the number of entities of a cluster.
type size struct{ jobs, nodes, tasks, apps int }

// big returns a cluster of a size, with as much data in its lists as real ones have.
func big(s size, now time.Time) *cluster {
	c := &cluster{version: ray.Version{Ray: "2.60.0", Session: "session_2026-11-24_15-02-08_458718_7011"}}
	c.status.ByNode = make(map[string]map[string]ray.Usage)
	for i := range s.jobs {
		j := ray.Job{
			Type: ray.JobSubmission, SubmissionID: fmt.Sprintf("raysubmit_%016d", i), JobID: fmt.Sprintf("%08x", i),
			Status: ray.JobStatuses[i%len(ray.JobStatuses)], Start: now.Add(-time.Hour),
			Metadata: map[string]string{"job_name": "train"}, DriverNodeID: fmt.Sprintf("%056d", i%s.nodes),
		}
		if j.Status.Terminal() {
			j.End, j.DriverExitCode = now, ptr(0)
		}
		c.jobs = append(c.jobs, j)
	}
	resources := map[string]float64{"CPU": 64, "GPU": 8, "memory": 1 << 38, "object_store_memory": 1 << 36, "accelerator_type:A100": 1}
	used := make(map[string]ray.Usage)
	for name, total := range resources {
		used[name] = ray.Usage{Used: total / 2, Total: total}
	}
	c.status.Usage = used
	for i := range s.nodes {
		id := fmt.Sprintf("%056d", i)
		stats := &ray.NodeStats{
			At: now, CPURatio: 0.5, CPUs: 64, MemTotal: 1 << 38, Disks: []ray.Disk{{Mount: "/"}, {Mount: "/tmp"}},
			ObjectStore: &ray.ObjectStore{}, HasLoad: true, HasNetwork: true,
		}
		for g := range 8 {
			stats.GPUs = append(stats.GPUs, ray.GPU{Index: g, Name: "A100", UUID: fmt.Sprintf("GPU-%d-%d", i, g), Utilization: ptr(0.5), MemTotal: 1 << 36})
		}
		c.nodes = append(c.nodes, ray.Node{ID: id, IP: "10.0.0.1", State: ray.NodeAlive, Start: now, Resources: resources, Stats: stats})
		c.status.ByNode[id] = used
	}
	for i := range s.tasks {
		c.tasks.Tasks = append(c.tasks.Tasks, ray.Task{JobID: fmt.Sprintf("%08x", i%100), Name: fmt.Sprintf("task_%d", i), State: "RUNNING"})
	}
	for i := range s.apps {
		c.serve.Applications = append(c.serve.Applications, ray.ServeApplication{
			Name: fmt.Sprintf("app%d", i), Status: "RUNNING", LastDeployed: now,
			Deployments: []ray.ServeDeployment{{Name: "a", Status: "HEALTHY", TargetReplicas: ptr(1)}, {Name: "b", Status: "HEALTHY"}},
		})
	}
	return c
}

// The two clusters of the benchmarks; no limit omits any of their series.
var sizes = []struct {
	name string
	size size
}{
	{"jobs=1000,nodes=500,names=5000,applications=100", size{1000, 500, 5000, 100}},
	{"series=100k", size{3000, 1000, 20000, 200}},
}

func uncapped() collector.Options {
	const most = 1 << 20
	return collector.Options{
		Cluster: "prod", Jobs: collector.JobsOptions{Max: most}, Nodes: collector.NodesOptions{Max: most},
		Tasks: collector.TasksOptions{ByName: true, MaxSeries: most}, Serve: collector.ServeOptions{Max: most},
	}
}

// ready is a set of prepared series.
type ready []prometheus.Metric

func (ready) Describe(chan<- *prometheus.Desc) {}

func (r ready) Collect(ch chan<- prometheus.Metric) {
	for _, m := range r {
		ch <- m
	}
}

// readyMade copies families into metrics of client_golang, in the order that is least work
// for a registry.
func readyMade(families []*dto.MetricFamily) ready {
	var all ready
	for _, f := range families {
		var desc *prometheus.Desc
		metrics := slices.SortedFunc(slices.Values(f.GetMetric()), func(a, b *dto.Metric) int {
			return slices.CompareFunc(a.GetLabel(), b.GetLabel(), func(a, b *dto.LabelPair) int {
				return strings.Compare(a.GetValue(), b.GetValue())
			})
		})
		kind := prometheus.GaugeValue
		if f.GetType() == dto.MetricType_COUNTER {
			kind = prometheus.CounterValue
		}
		for _, m := range metrics {
			var names, values []string
			for _, p := range m.GetLabel() {
				names, values = append(names, p.GetName()), append(values, p.GetValue())
			}
			if desc == nil {
				desc = prometheus.NewDesc(f.GetName(), f.GetHelp(), names, nil)
			}
			value := m.GetGauge().GetValue() + m.GetCounter().GetValue()
			all = append(all, prometheus.MustNewConstMetric(desc, kind, value, values...))
		}
	}
	return all
}

// body counts the bytes that a handler writes, and discards them.
type body struct {
	header http.Header
	bytes  int64
}

func (w *body) Header() http.Header         { return w.header }
func (w *body) WriteHeader(int)             {}
func (w *body) Write(p []byte) (int, error) { w.bytes += int64(len(p)); return len(p), nil }

// cpu returns the CPU time of this process in nanoseconds: other load on the machine affects
// it much less than wall time.
func cpu(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

// measured runs a benchmark's loop and reports its cost.
func measured(b *testing.B, once func()) {
	b.Helper()
	b.ReportAllocs()
	runtime.GC()
	before := cpu(b)
	for b.Loop() {
		once()
	}
	b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkScrape measures the time from the cluster's responses to the last byte of the
// exposition, and for comparison that of promhttp for the same series, prepared.
func BenchmarkScrape(b *testing.B) {
	for _, s := range sizes {
		for _, encoding := range []string{"identity", "gzip"} {
			serve := func(b *testing.B, g prometheus.Gatherer) {
				request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", nil)
				request.Header.Set("Accept-Encoding", encoding)
				var w *body
				measured(b, func() {
					w = &body{header: http.Header{}}
					promhttp.HandlerFor(g, promhttp.HandlerOpts{}).ServeHTTP(w, request)
				})
				b.ReportMetric(float64(w.bytes), "exposition-bytes")
			}
			b.Run(s.name+"/"+encoding+"/raytap", func(b *testing.B) {
				c := collector.New(big(s.size, time.Now()), uncapped())
				serve(b, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
					return collector.Gather(c.Collect(b.Context())), nil
				}))
			})
			b.Run(s.name+"/"+encoding+"/promhttp", func(b *testing.B) {
				registry := prometheus.NewRegistry()
				registry.MustRegister(readyMade(collector.Gather(collector.New(big(s.size, time.Now()), uncapped()).Collect(b.Context()))))
				serve(b, registry)
			})
		}
	}
}

// BenchmarkCollect measures raytap's own part of a scrape.
func BenchmarkCollect(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.name, func(b *testing.B) {
			collect := collector.New(big(s.size, time.Now()), uncapped())
			series := 0
			measured(b, func() {
				series = 0
				for _, f := range collector.Gather(collect.Collect(b.Context())) {
					series += len(f.GetMetric())
				}
			})
			b.ReportMetric(float64(series), "series")
		})
	}
}
