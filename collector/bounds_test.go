package collector_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"raytap/collector"
	"raytap/ray"
)

const many = 100_000

// swamped returns a cluster with 100,000 different names of everything that users can name.
func swamped(now time.Time) *cluster {
	c := &cluster{version: ray.Version{Ray: "2.60.0"}}
	c.status.Usage = make(map[string]ray.Usage, many)
	demand := make([]ray.Demand, many)
	resources := make(map[string]float64, many)
	node := ray.Node{ID: "n0", State: ray.NodeAlive, Start: now, Resources: resources, Stats: &ray.NodeStats{At: now}}
	hardware := ray.NodeHardware{ID: "n0", State: ray.NodeAlive}
	for i := range many {
		name := fmt.Sprintf("name-%06d", i)
		c.jobs = append(c.jobs, ray.Job{
			Type: ray.JobSubmission, SubmissionID: name, JobID: name, Status: ray.JobStatuses[i%len(ray.JobStatuses)],
			Start: now, End: now, Metadata: map[string]string{"job_name": name, "team": name}, ErrorType: name,
		})
		c.tasks.Tasks = append(c.tasks.Tasks, ray.Task{Name: name, JobID: name, State: "RUNNING"})
		c.serve.Applications = append(c.serve.Applications, ray.ServeApplication{Name: name, Status: "RUNNING", Deployments: []ray.ServeDeployment{{Name: name}}})
		c.serve.Proxies = append(c.serve.Proxies, ray.ServeProxy{NodeID: name, Status: "HEALTHY"})
		c.nodes = append(c.nodes, ray.Node{ID: name, State: ray.NodeDead, End: now, DeathReason: name})
		c.status.Usage[name] = ray.Usage{Total: 1}
		demand[i] = ray.Demand{Resources: map[string]float64{name: 1}, Count: 1}
		resources[name] = 1
		node.Stats.Disks = append(node.Stats.Disks, ray.Disk{Mount: name})
		node.Stats.GPUs = append(node.Stats.GPUs, ray.GPU{Index: i, UUID: name})
		hardware.GPUs = append(hardware.GPUs, ray.GPU{Index: i, UUID: name})
		c.resources.Nodes = append(c.resources.Nodes, ray.NodeHardware{ID: name, State: ray.NodeDead})
	}
	c.status.Pending, c.status.ByNode = demand, map[string]map[string]ray.Usage{"n0": c.status.Usage}
	c.nodes = append(c.nodes, node)
	c.resources.At, c.resources.Nodes = now, append(c.resources.Nodes, hardware)
	c.actors.ByState = map[string]int{"ALIVE": many}
	return c
}

func TestLimits_Families(t *testing.T) {
	o := everything()
	o.Jobs = collector.JobsOptions{Max: 100, Metadata: []string{"team"}}
	o.Nodes = collector.NodesOptions{Max: 50}
	o.Tasks.MaxSeries, o.Serve.Max = 200, 30
	c := newCollector(swamped(time.Now()), o)
	families := gather(t, registered{c.Collect(t.Context())})
	total := 0
	for _, f := range families {
		n := len(f.GetMetric())
		total += n
		most := map[string]int{"raytap_job_status": 500, "raytap_tasks": 200, "raytap_tasks_by_name": 200}[f.GetName()]
		if n > max(most, 256) {
			t.Errorf("%s has %d series", f.GetName(), n)
		}
	}
	t.Logf("%d series", total)
	for name, want := range map[string]float64{
		"raytap_jobs_overflow": many - 100, "raytap_nodes_overflow": many + 1 - 50, "raytap_node_resources_overflow": many - 100,
		"raytap_cluster_resources_overflow": many - 100, "raytap_pending_shapes_overflow": many - 20,
		"raytap_serve_overflow": 3*many - 60, "raytap_hardware_nodes_overflow": many + 1 - 50,
	} {
		if got := single(t, families, name); got != want {
			t.Errorf("%s is %g, want %g", name, got, want)
		}
	}
	if got := single(t, families, "raytap_collector_overflow_series", "nodes"); got != 3*(many-64)+1*(many-64) {
		t.Errorf("%g mounts and GPUs are omitted", got)
	}
	if got := single(t, families, "raytap_tasks_overflow", "tasks_by_name"); got != many-200 {
		t.Errorf("%g task names are omitted", got)
	}
}

// single returns the only value of one of the families, or that of the series with this label.
func single(t *testing.T, families []*dto.MetricFamily, family string, label ...string) float64 {
	t.Helper()
	for _, f := range families {
		if f.GetName() != family {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, p := range m.GetLabel() {
				if len(label) == 0 || p.GetValue() == label[0] {
					return m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
	}
	t.Fatalf("no %s %v", family, label)
	return 0
}

func TestLimits_NodesKeepLiveOnes(t *testing.T) {
	now := time.Now()
	var nodes []ray.Node
	for i := range 3 {
		at := now.Add(time.Duration(i) * time.Second)
		nodes = append(nodes,
			ray.Node{ID: fmt.Sprint("dead", i), State: ray.NodeDead, End: at},
			ray.Node{ID: fmt.Sprint("live", i), State: ray.NodeAlive, Start: at, Resources: map[string]float64{"CPU": 1}})
	}
	want := `
		raytap_node_resources{node_id="live0",resource="CPU"} 1
		raytap_node_resources{node_id="live1",resource="CPU"} 1
		raytap_node_resources{node_id="live2",resource="CPU"} 1
		raytap_node_resources_overflow{ray_cluster="prod"} 0
		raytap_node_state{node_id="dead2",state="ALIVE"} 0
		raytap_node_state{node_id="dead2",state="DEAD"} 1
		raytap_node_state{node_id="live0",state="ALIVE"} 1
		raytap_node_state{node_id="live0",state="DEAD"} 0
		raytap_node_state{node_id="live1",state="ALIVE"} 1
		raytap_node_state{node_id="live1",state="DEAD"} 0
		raytap_node_state{node_id="live2",state="ALIVE"} 1
		raytap_node_state{node_id="live2",state="DEAD"} 0
		raytap_nodes_overflow{ray_cluster="prod"} 2`
	for range 2 {
		c := &cluster{nodes: slices.Clone(nodes)}
		shows(t, exposition(t, t.Context(), []string{"node_state", "node_resources", "nodes_overflow"},
			newCollector(c, collector.Options{Nodes: collector.NodesOptions{Max: 4}})), want)
		slices.Reverse(nodes) // Ray's order is arbitrary
	}
}

func TestLimits_TasksKeepRunningAndFailed(t *testing.T) {
	c := &cluster{tasks: ray.TaskList{Tasks: slices.Concat(
		taskRows("01", "a", "PENDING_NODE_ASSIGNMENT", 9), taskRows("02", "b", "PENDING_ARGS_AVAIL", 9),
		taskRows("01", "y", "RUNNING_IN_RAY_GET", 1), taskRows("01", "z", "FAILED", 1),
	)}}
	shows(t, exposition(t, t.Context(), []string{"tasks{", "tasks_by_name{"},
		newCollector(c, collector.Options{Tasks: collector.TasksOptions{ByName: true, MaxSeries: 2}})), `
		raytap_tasks{job_id="01",state="FAILED"} 1
		raytap_tasks{job_id="01",state="RUNNING_IN_RAY_GET"} 1
		raytap_tasks_by_name{name="y",state="RUNNING_IN_RAY_GET"} 1
		raytap_tasks_by_name{name="z",state="FAILED"} 1`)
}

func TestOptions_ExcludeMetrics(t *testing.T) {
	c := newCollector(full(time.Now()), collector.Options{ExcludeMetrics: []*regexp.Regexp{regexp.MustCompile("^raytap_(node_.*|up)$")}})
	for _, f := range gather(t, registered{c.Collect(t.Context())}) {
		if name := f.GetName(); strings.HasPrefix(name, "raytap_node_") || name == "raytap_up" {
			t.Errorf("%s is shown", name)
		}
	}
	if got := exposition(t, t.Context(), []string{"nodes{"}, c); got == "" {
		t.Error("families that are not excluded are missing")
	}
}

func TestOptions_MetadataAndNodeLabels(t *testing.T) {
	c := &cluster{
		jobs: []ray.Job{
			{Type: ray.JobSubmission, SubmissionID: "a", Status: ray.JobRunning, Metadata: map[string]string{"team": "ml", "cost-centre": "7", "secret": "x"}},
			{Type: ray.JobSubmission, SubmissionID: "b", Status: ray.JobRunning},
		},
		nodes: []ray.Node{{ID: "n", State: ray.NodeAlive, Labels: map[string]string{"ray.io/market-type": "spot", "other": "x"}}},
	}
	shows(t, exposition(t, t.Context(), []string{"job_info", "node_info"}, newCollector(c, collector.Options{
		// Two keys with the same label must not break the exposition.
		Jobs:  collector.JobsOptions{Metadata: []string{"team", "cost-centre", "cost.centre"}},
		Nodes: collector.NodesOptions{Labels: []string{"ray.io/market-type"}},
	})), `
		raytap_job_info{job_id="",job_name="",metadata_cost_centre="",metadata_team="",node_id="",submission_id="b",type="SUBMISSION"} 1
		raytap_job_info{job_id="",job_name="",metadata_cost_centre="7",metadata_team="ml",node_id="",submission_id="a",type="SUBMISSION"} 1
		raytap_node_info{host="",is_head="false",label_ray_io_market_type="spot",node_id="n",node_ip="",node_name=""} 1`)
}

func TestCollector_SelectedCollectors(t *testing.T) {
	c := full(time.Now())
	collect := newCollector(c, collector.Options{})
	got := map[string]bool{}
	for _, f := range gather(t, registered{collect.Collect(t.Context(), "jobs", "nonsense")}) {
		got[f.GetName()] = true
	}
	for name, want := range map[string]bool{
		"raytap_up": true, "raytap_cluster_info": true, "raytap_job_status": true, "raytap_jobs_finished_total": true,
		"raytap_nodes": false, "raytap_tasks": false, "raytap_serve_running": false, "raytap_hardware_stale": false,
	} {
		if got[name] != want {
			t.Errorf("%s is shown: %t", name, got[name])
		}
	}
	if n := c.asked.Load(); n != 2 {
		t.Errorf("%d requests", n)
	}
	if names := collect.Names(); !slices.Contains(names, "jobs") || !slices.Contains(names, "placement_groups") {
		t.Errorf("names: %v", names)
	}
}

func TestNodes_DeathReasonsWithoutStats(t *testing.T) {
	c := &cluster{nodes: []ray.Node{{ID: "n", State: ray.NodeDead, End: time.Now(), StatsUnavailable: true}}}
	shows(t, exposition(t, t.Context(), []string{"nodes_dead", "node_death", "node_stats"}, newCollector(c, collector.Options{})), `
		raytap_node_stats_unavailable{ray_cluster="prod"} 1`)
}

func TestNodes_Truncated(t *testing.T) {
	c := &cluster{nodes: make([]ray.Node, 10000)}
	for i := range c.nodes {
		c.nodes[i].ID = fmt.Sprint(i)
	}
	collect := newCollector(c, collector.Options{})
	if got := single(t, gather(t, registered{collect.Collect(t.Context())}), "raytap_nodes_truncated"); got != 1 {
		t.Error("a list of 10,000 nodes is shown as complete")
	}
}
