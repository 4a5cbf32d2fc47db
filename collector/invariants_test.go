package collector_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"raytap/collector"
	"raytap/ray"
	"raytap/ray/cache"
)

var errDown = &ray.Error{Op: "ask", Code: 503, Detail: "connection refused"}

// full returns a cluster with a value for each family.
func full(now time.Time) *cluster {
	return &cluster{
		version: ray.Version{Ray: "2.60.0", Session: "s"},
		status: ray.ClusterStatus{
			Autoscaler: ray.AutoscalerV1, At: now, Usage: map[string]ray.Usage{"CPU": {Used: 1, Total: 2}},
			ByNode:  map[string]map[string]ray.Usage{"n1": {"CPU": {Used: 1, Total: 2}}},
			Pending: []ray.Demand{{Resources: map[string]float64{"CPU": 1}, Count: 1}},
		},
		jobs: []ray.Job{
			{Type: ray.JobSubmission, SubmissionID: "a", Status: ray.JobRunning, Start: now, DriverNodeID: "n1"},
			{Type: ray.JobSubmission, SubmissionID: "b", Status: ray.JobPending, Start: now},
			{Type: ray.JobSubmission, SubmissionID: "c", Status: ray.JobFailed, Start: now, End: now, DriverExitCode: ptr(1), ErrorType: "E"},
		},
		nodes: []ray.Node{
			{ID: "n1", State: ray.NodeAlive, Start: now, Resources: map[string]float64{"CPU": 2}, Stats: &ray.NodeStats{
				At: now, CPUs: 1, MemTotal: 1, Disks: []ray.Disk{{Mount: "/"}}, ObjectStore: &ray.ObjectStore{},
				HasLoad: true, HasNetwork: true, TPUs: []ray.TPU{{MemTotal: 1, TensorCore: ptr(1.0), Bandwidth: ptr(1.0), DutyCycle: ptr(1.0)}}, GPUs: []ray.GPU{{MemTotal: 1, Utilization: ptr(1.0)}},
			}},
			{ID: "n2", State: ray.NodeDead, End: now},
		},
		tasks: ray.TaskList{Tasks: taskRows("01", "f", "RUNNING", 1), Dropped: 7, Session: "s", RequestedAt: time.Now()},
		resources: ray.ClusterResources{
			At: now, CPU: &ray.Amount{}, Memory: &ray.Amount{}, ObjectStore: &ray.Amount{},
			GPU:         &ray.GPUTotals{Total: ptr(1.0), Available: ptr(1.0), MemoryTotal: ptr(1.0), MemoryAvailable: ptr(1.0), MaxUtilization: ptr(1.0), AvgUtilization: ptr(1.0)},
			RunningJobs: ptr(1), ServeReplicas: ptr(1), NodeCounts: &ray.NodeCounts{Total: 1, Alive: 1},
			Nodes: []ray.NodeHardware{{ID: "n1", State: ray.NodeAlive, CPU: &ray.Amount{}, Memory: &ray.Amount{}, GPUs: []ray.GPU{{MemTotal: 1, Utilization: ptr(1.0)}}}},
		},
		serve: ray.ServeStatus{
			Running: true, Proxies: []ray.ServeProxy{{NodeID: "n1", Status: "HEALTHY"}},
			Applications: []ray.ServeApplication{{Name: "a", Status: "RUNNING", LastDeployed: now, Deployments: []ray.ServeDeployment{
				{Name: "d", Status: "HEALTHY", TargetReplicas: ptr(1), DeadReplicas: ptr(0)},
			}}},
		},
	}
}

func everything() collector.Options {
	return collector.Options{
		Status: collector.StatusOptions{Shapes: true}, Tasks: collector.TasksOptions{ByName: true},
		Info:        collector.InfoOptions{Values: func() map[string]string { return nil }},
		SkippedRows: func() uint64 { return 3 }, SkippedFields: func() uint64 { return 2 },
	}
}

func TestFamilies_MatchExposition(t *testing.T) {
	requests := collector.NewRequests()
	requests.Observer("prod")("jobs", 200, time.Millisecond)
	families := gather(t, registered{newCollector(full(time.Now()), everything()).Collect(t.Context())}, requests)
	listed := collector.Families()
	if !slices.IsSortedFunc(listed, func(a, b collector.Family) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("not sorted")
	}
	for i := range max(len(families), len(listed)) {
		if i >= len(families) || i >= len(listed) || families[i].GetName() != listed[i].Name {
			t.Fatalf("family %d differs: %d shown, %d listed, near %v", i, len(families), len(listed), listed[min(i, len(listed)-1)].Name)
		}
		f, l := families[i], listed[i]
		if f.GetHelp() != l.Help || !strings.EqualFold(f.GetType().String(), l.Type) {
			t.Errorf("%s: help or type differs", l.Name)
		}
		var labels []string
		for _, p := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, p.GetName())
		}
		if want := slices.Sorted(slices.Values(l.Labels)); !slices.Equal(labels, want) || l.Labels[0] != "ray_cluster" {
			t.Errorf("%s: labels %v, listed %v", l.Name, labels, l.Labels)
		}
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
}

func TestCollector_ClusterDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := full(time.Now())
		c.last = time.Now()
		c.errs = map[string]error{"version": errDown, "status": errDown, "jobs": errDown, "nodes": errDown, "serve": errDown, "resources": errDown}
		time.Sleep(time.Nanosecond) // tasks, actors and placement groups still have cached answers
		shows(t, exposition(t, t.Context(), nil, newCollector(c, collector.Options{})), `
			raytap_collector_duplicate_series{collector="actors"} 0
			raytap_collector_duplicate_series{collector="cluster"} 0
			raytap_collector_duplicate_series{collector="driver_nodes"} 0
			raytap_collector_duplicate_series{collector="hardware"} 0
			raytap_collector_duplicate_series{collector="jobs"} 0
			raytap_collector_duplicate_series{collector="node_usage"} 0
			raytap_collector_duplicate_series{collector="nodes"} 0
			raytap_collector_duplicate_series{collector="placement_groups"} 0
			raytap_collector_duplicate_series{collector="serve"} 0
			raytap_collector_duplicate_series{collector="tasks"} 0
			raytap_collector_duplicate_series{collector="version"} 0
			raytap_collector_overflow_series{collector="actors"} 0
			raytap_collector_overflow_series{collector="cluster"} 0
			raytap_collector_overflow_series{collector="driver_nodes"} 0
			raytap_collector_overflow_series{collector="hardware"} 0
			raytap_collector_overflow_series{collector="jobs"} 0
			raytap_collector_overflow_series{collector="node_usage"} 0
			raytap_collector_overflow_series{collector="nodes"} 0
			raytap_collector_overflow_series{collector="placement_groups"} 0
			raytap_collector_overflow_series{collector="serve"} 0
			raytap_collector_overflow_series{collector="tasks"} 0
			raytap_collector_overflow_series{collector="version"} 0
			raytap_collector_success{collector="actors"} 0
			raytap_collector_success{collector="cluster"} 0
			raytap_collector_success{collector="driver_nodes"} 0
			raytap_collector_success{collector="hardware"} 0
			raytap_collector_success{collector="jobs"} 0
			raytap_collector_success{collector="node_usage"} 0
			raytap_collector_success{collector="nodes"} 0
			raytap_collector_success{collector="placement_groups"} 0
			raytap_collector_success{collector="serve"} 0
			raytap_collector_success{collector="tasks"} 0
			raytap_collector_success{collector="version"} 0
			raytap_jobs_finished_total{status="ENDED"} 0
			raytap_jobs_finished_total{status="FAILED"} 0
			raytap_jobs_finished_total{status="STOPPED"} 0
			raytap_jobs_finished_total{status="SUCCEEDED"} 0
			raytap_up{ray_cluster="prod"} 0`)
	})
}

func TestCollector_UpWhileAnythingAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := full(time.Now())
		h.errs = map[string]error{"version": errDown, "jobs": errDown}
		s := cache.New(h, cache.Options{})
		defer s.Close()
		c := newCollector(s, collector.Options{})
		got := exposition(t, t.Context(), []string{"up", "nodes{", "jobs{"}, c)
		shows(t, got, `
			raytap_nodes{state="ALIVE"} 1
			raytap_nodes{state="DEAD"} 1
			raytap_up{ray_cluster="prod"} 1`)
		for _, name := range []string{"status", "nodes", "tasks", "actors", "groups", "serve", "resources"} {
			h.errs[name] = errDown
		}
		time.Sleep(14 * time.Second)
		shows(t, exposition(t, t.Context(), []string{"up", "nodes{", "tasks{"}, c), `raytap_up{ray_cluster="prod"} 0`)
	})
}

func TestCollector_SlowResourceFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := full(time.Now())
		h.stuck = map[string]bool{"tasks": true}
		s := cache.New(h, cache.Options{Timeout: time.Minute})
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		began := time.Now()
		got := exposition(t, ctx, []string{"collector_success", "tasks", "up", "nodes{"}, newCollector(s, collector.Options{}))
		if took := time.Since(began); took != 9*time.Second {
			t.Errorf("the scrape took %s", took)
		}
		shows(t, got, `
			raytap_collector_success{collector="actors"} 1
			raytap_collector_success{collector="cluster"} 1
			raytap_collector_success{collector="driver_nodes"} 1
			raytap_collector_success{collector="hardware"} 1
			raytap_collector_success{collector="jobs"} 1
			raytap_collector_success{collector="node_usage"} 1
			raytap_collector_success{collector="nodes"} 1
			raytap_collector_success{collector="placement_groups"} 1
			raytap_collector_success{collector="serve"} 1
			raytap_collector_success{collector="tasks"} 0
			raytap_collector_success{collector="version"} 1
			raytap_nodes{state="ALIVE"} 1
			raytap_nodes{state="DEAD"} 1
			raytap_up{ray_cluster="prod"} 1`)
	})
}

func TestCollector_ConcurrentScrapesShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := full(time.Now())
		s := cache.New(h, cache.Options{})
		defer s.Close()
		c := newCollector(s, collector.Options{})
		all := make([]string, 20)
		var wg sync.WaitGroup
		for i := range all {
			wg.Go(func() { all[i] = exposition(t, t.Context(), nil, c) })
		}
		wg.Wait()
		if n := h.asked.Load(); n != 9 {
			t.Errorf("20 scrapes made %d requests, want one for each of 9 lists", n)
		}
		for _, p := range all {
			if p != all[0] {
				t.Error("two scrapes of the same answers differ")
			}
		}
	})
}

func TestGather_TwoClusters(t *testing.T) {
	a := collector.New(full(time.Now()), collector.Options{Cluster: "a"})
	b := collector.New(full(time.Now()), collector.Options{Cluster: "b"})
	got := exposition(t, t.Context(), []string{"up"}, a, b)
	shows(t, got, `
		raytap_up{ray_cluster="a"} 1
		raytap_up{ray_cluster="b"} 1`)
}

func TestDuplicates_Entities(t *testing.T) {
	long := strings.Repeat("x", 300)
	c := full(time.Now())
	c.jobs = []ray.Job{
		{Type: ray.JobSubmission, SubmissionID: "a", Status: ray.JobFailed, Start: time.Now().Add(-time.Minute), End: time.Now()},
		{Type: ray.JobSubmission, SubmissionID: "a", Status: ray.JobRunning, Start: time.Now()},
		{Type: ray.JobSubmission, SubmissionID: long + "1", Status: ray.JobRunning},
		{Type: ray.JobSubmission, SubmissionID: long + "2", Status: ray.JobRunning},
	}
	c.nodes = append(c.nodes, c.nodes...)
	c.serve.Applications = append(c.serve.Applications, c.serve.Applications...)
	got := exposition(t, t.Context(), nil, newCollector(c, collector.Options{}))
	if !strings.Contains(got, `raytap_job_status{status="RUNNING",submission_id="a"} 1`) {
		t.Error("the latest run is not the one shown")
	}
	for _, name := range []string{"jobs", "nodes", "serve"} {
		if strings.Contains(got, fmt.Sprintf("raytap_collector_duplicate_series{collector=%q} 0", name)) ||
			!strings.Contains(got, fmt.Sprintf("raytap_collector_success{collector=%q} 1", name)) {
			t.Errorf("%s: wrong count of omitted series", name)
		}
	}
}

func TestDuplicates_SeriesOfAnEntity(t *testing.T) {
	long := strings.Repeat("x", 300)
	c := &cluster{nodes: []ray.Node{{
		ID: "n", State: ray.NodeAlive, Resources: map[string]float64{long + "1": 1, long + "2": 1},
		Stats: &ray.NodeStats{
			Disks: []ray.Disk{{Mount: "/", Total: 1}, {Mount: "/", Total: 2}, {Mount: "/tmp", Total: 3}},
			GPUs:  []ray.GPU{{Index: 0, MemTotal: 1}, {Index: 0, MemTotal: 2}},
		},
	}}}
	got := exposition(t, t.Context(), []string{"node_disk_bytes", "node_gpu_memory_bytes", "collector_duplicate_series{collector=\"nodes\""}, newCollector(c, collector.Options{}))
	shows(t, got, `
		raytap_collector_duplicate_series{collector="nodes"} 7
		raytap_node_disk_bytes{mount="/",node_id="n"} 1
		raytap_node_disk_bytes{mount="/tmp",node_id="n"} 3
		raytap_node_gpu_memory_bytes{gpu="0",node_id="n"} 1`)
}

func TestLimits_JobsKeepRunningAndFailed(t *testing.T) {
	now := time.Now()
	var jobs []ray.Job
	for i := range 4 {
		for _, status := range ray.JobStatuses {
			j := ray.Job{
				Type: ray.JobSubmission, SubmissionID: fmt.Sprintf("%s-%d", status, i), Status: status,
				Start: now.Add(time.Duration(i-10) * time.Minute),
			}
			if status.Terminal() {
				j.End = j.Start.Add(time.Minute)
			}
			jobs = append(jobs, j)
		}
	}
	want := `
		raytap_job_info{job_id="",job_name="",node_id="",submission_id="FAILED-2",type="SUBMISSION"} 1
		raytap_job_info{job_id="",job_name="",node_id="",submission_id="FAILED-3",type="SUBMISSION"} 1
		raytap_job_info{job_id="",job_name="",node_id="",submission_id="RUNNING-0",type="SUBMISSION"} 1
		raytap_job_info{job_id="",job_name="",node_id="",submission_id="RUNNING-1",type="SUBMISSION"} 1
		raytap_job_info{job_id="",job_name="",node_id="",submission_id="RUNNING-2",type="SUBMISSION"} 1
		raytap_job_info{job_id="",job_name="",node_id="",submission_id="RUNNING-3",type="SUBMISSION"} 1
		raytap_jobs_overflow{ray_cluster="prod"} 14`
	c := &cluster{jobs: jobs}
	collect := newCollector(c, collector.Options{Jobs: collector.JobsOptions{Max: 6}})
	shows(t, exposition(t, t.Context(), []string{"job_info", "jobs_overflow"}, collect), want)
	c.jobs = slices.Clone(jobs)
	slices.Reverse(c.jobs) // Ray's order is arbitrary
	shows(t, exposition(t, t.Context(), []string{"job_info", "jobs_overflow"}, collect), want)
}

func TestLimits_ServeKeepsUnhealthy(t *testing.T) {
	var apps []ray.ServeApplication
	for i := range 5 {
		apps = append(apps, ray.ServeApplication{Name: fmt.Sprint("app", i), Status: "RUNNING", Deployments: []ray.ServeDeployment{{Name: "d", TargetReplicas: ptr(1)}}})
	}
	apps[4].Status = "UNHEALTHY"
	c := &cluster{serve: ray.ServeStatus{Running: true, Applications: apps}}
	shows(t, exposition(t, t.Context(), []string{"serve_application_info", "serve_deployment_target", "serve_overflow"},
		newCollector(c, collector.Options{Serve: collector.ServeOptions{Max: 3}})), `
		raytap_serve_application_info{application="app0",route_prefix="",source=""} 1
		raytap_serve_application_info{application="app4",route_prefix="",source=""} 1
		raytap_serve_deployment_target_replicas{application="app4",deployment="d"} 1
		raytap_serve_overflow{ray_cluster="prod"} 7`)
}

func TestLimits_Resources(t *testing.T) {
	usage := map[string]ray.Usage{"CPU": {Total: 1}}
	for i := range 120 {
		usage[fmt.Sprintf("A%03d", i)] = ray.Usage{Total: 1}
	}
	got := exposition(t, t.Context(), []string{"cluster_resources{", "cluster_resources_overflow"}, newCollector(&cluster{status: ray.ClusterStatus{Usage: usage}}, collector.Options{}))
	if n := strings.Count(got, "raytap_cluster_resources{"); n != 100 {
		t.Errorf("%d resources", n)
	}
	for _, want := range []string{`{resource="CPU"} 1`, "raytap_cluster_resources_overflow{ray_cluster=\"prod\"} 21"} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %s", want)
		}
	}
}

func TestCollector_Unsupported(t *testing.T) {
	c := full(time.Now())
	c.errs = map[string]error{"serve": &ray.Error{Op: "read Serve status", Code: 501, Detail: "no ray[serve]"}}
	got := exposition(t, t.Context(), []string{"serve", "collector_success{collector=\"serve\""}, newCollector(c, collector.Options{}))
	shows(t, got, `raytap_collector_success{collector="serve"} 1`)
}

func TestOptions_Disabled(t *testing.T) {
	c := full(time.Now())
	got := exposition(t, t.Context(), []string{"collector_success", "jobs"}, newCollector(c, collector.Options{
		Status: collector.StatusOptions{Disabled: true}, Jobs: collector.JobsOptions{Disabled: true}, Nodes: collector.NodesOptions{Disabled: true},
		Tasks: collector.TasksOptions{Disabled: true}, Actors: collector.ActorsOptions{Disabled: true}, Serve: collector.ServeOptions{Disabled: true},
	}))
	shows(t, got, `raytap_collector_success{collector="version"} 1`)
	if n := c.asked.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestLog_OneFailingList(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	c := full(time.Now())
	c.errs = map[string]error{"jobs": errDown} // read by two collectors
	collect := newCollector(c, collector.Options{Log: log})
	exposition(t, t.Context(), nil, collect)
	exposition(t, t.Context(), nil, collect)
	c.errs = nil
	exposition(t, t.Context(), nil, collect)
	exposition(t, t.Context(), nil, collect)
	var logged []string
	for _, e := range hook.AllEntries() {
		line := fmt.Sprintf("%s %s %s %s", e.Level, e.Data["ray_cluster"], e.Data["collector"], e.Message)
		if cause, ok := e.Data["error"]; ok {
			line += fmt.Sprintf(": %v", cause)
		}
		logged = append(logged, line)
	}
	want := []string{
		"warning prod jobs Collector failed, its metrics are missing: ask: 503 connection refused",
		"info prod jobs Collector recovered",
	}
	if !slices.Equal(logged, want) {
		t.Errorf("got\n%s", strings.Join(logged, "\n"))
	}
}

func TestLog_ClusterDown(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	c := full(time.Now())
	c.last = time.Now().Add(-time.Hour)
	c.errs = map[string]error{"version": errDown, "jobs": errDown}
	exposition(t, t.Context(), nil, newCollector(c, collector.Options{Log: log}))
	if n := len(hook.AllEntries()); n != 0 {
		t.Errorf("%d log entries", n)
	}
}

func TestLog_ScraperGone(t *testing.T) {
	log, hook := logtest.NewNullLogger()
	c := full(time.Now())
	c.errs = map[string]error{"jobs": &ray.Error{Op: "list jobs", Code: 408, Err: context.Canceled}, "nodes": errors.Join(context.Canceled)}
	exposition(t, t.Context(), nil, newCollector(c, collector.Options{Log: log}))
	if n := len(hook.AllEntries()); n != 0 {
		t.Errorf("%d log entries", n)
	}
}
