package collector_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/collector"
	"raytap/ray"
)

// The time in these tests is 2000-01-01 00:00:00 UTC, Unix time 946684800.

func TestStatus_Exposition(t *testing.T) {
	c := &cluster{
		version: ray.Version{Ray: "2.60.0", Session: "session_2026-11-24_15-02-08_458718_7011"},
		status: ray.ClusterStatus{
			Autoscaler: ray.AutoscalerV1, At: time.Unix(946684798, 500e6),
			Usage: map[string]ray.Usage{
				"CPU": {Used: 1.5, Total: 6}, "memory": {Total: 32067289498}, "node:10.0.0.10": {Total: 2},
			},
			Pending: []ray.Demand{
				{Resources: map[string]float64{"CPU": 1, "GPU": 2}, Count: 3},
				{Resources: map[string]float64{"CPU": 0.5}, Count: 2},
			},
			PGs:      []ray.Demand{{Resources: map[string]float64{"CPU": 4}, Count: 1}},
			Unmapped: 1,
		},
	}
	got := exposition(t, t.Context(), []string{"cluster", "pending", "autoscaler"}, newCollector(c, collector.Options{Status: collector.StatusOptions{Shapes: true}}))
	shows(t, got, `
		raytap_autoscaler_info{version="v1"} 1
		raytap_cluster_info{ray_version="2.60.0",session="session_2026-11-24_15-02-08_458718_7011"} 1
		raytap_cluster_resources{resource="CPU"} 6
		raytap_cluster_resources{resource="memory"} 3.2067289498e+10
		raytap_cluster_resources_overflow{ray_cluster="prod"} 0
		raytap_cluster_resources_unmapped{ray_cluster="prod"} 1
		raytap_cluster_resources_used{resource="CPU"} 1.5
		raytap_cluster_resources_used{resource="memory"} 0
		raytap_cluster_status_available{ray_cluster="prod"} 1
		raytap_cluster_status_timestamp_seconds{ray_cluster="prod"} 9.466847985e+08
		raytap_pending_demand{resource="CPU"} 4
		raytap_pending_demand{resource="GPU"} 6
		raytap_pending_demand{resource="memory"} 0
		raytap_pending_placement_group_demand{resource="CPU"} 4
		raytap_pending_placement_group_demand{resource="memory"} 0
		raytap_pending_shape_demand{shape="CPU=0.5"} 2
		raytap_pending_shape_demand{shape="CPU=1,GPU=2"} 3
		raytap_pending_shapes_overflow{ray_cluster="prod"} 0`)
}

func TestJobs_Exposition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		c := &cluster{jobs: []ray.Job{
			{
				Type: ray.JobSubmission, SubmissionID: "run", JobID: "02000000", Status: ray.JobRunning, DriverNodeID: "n1",
				Start: now.Add(-time.Minute), Metadata: map[string]string{"job_name": "train"},
				Entrypoint: "python secret.py", Message: "secret",
			},
			{Type: ray.JobSubmission, SubmissionID: "wait", Status: ray.JobPending, Start: now.Add(-90 * time.Second)},
			{
				Type: ray.JobSubmission, SubmissionID: "bad", Status: ray.JobFailed, DriverExitCode: ptr(3),
				ErrorType: "JOB_ENTRYPOINT_COMMAND_ERROR", Start: now.Add(-2 * time.Hour), End: now.Add(-time.Hour),
			},
			{Type: ray.JobSubmission, SubmissionID: "old", Status: ray.JobSucceeded, Start: now.Add(-2 * time.Hour), End: now.Add(-time.Hour - 1)},
			{Type: ray.JobDriver, JobID: "01000000", Status: ray.JobSucceeded, Start: now.Add(-time.Hour), End: now.Add(-time.Second)},
			{Type: ray.JobSubmission, SubmissionID: "new", Status: "PAUSED"},
		}}
		got := exposition(t, t.Context(), []string{"job"}, newCollector(c, collector.Options{}))
		if strings.Contains(got, "secret") {
			t.Error("an entrypoint or a message is shown")
		}
		shows(t, got, `
			raytap_job_driver_exit_code{submission_id="bad"} 3
			raytap_job_end_timestamp_seconds{submission_id="01000000"} 9.46684799e+08
			raytap_job_end_timestamp_seconds{submission_id="bad"} 9.466812e+08
			raytap_job_error_info{error_type="JOB_ENTRYPOINT_COMMAND_ERROR",submission_id="bad"} 1
			raytap_job_info{job_id="",job_name="",node_id="",submission_id="bad",type="SUBMISSION"} 1
			raytap_job_info{job_id="",job_name="",node_id="",submission_id="new",type="SUBMISSION"} 1
			raytap_job_info{job_id="",job_name="",node_id="",submission_id="wait",type="SUBMISSION"} 1
			raytap_job_info{job_id="01000000",job_name="",node_id="",submission_id="01000000",type="DRIVER"} 1
			raytap_job_info{job_id="02000000",job_name="train",node_id="n1",submission_id="run",type="SUBMISSION"} 1
			raytap_job_pending_seconds{submission_id="wait"} 90
			raytap_job_status{status="ENDED",submission_id="01000000"} 1
			raytap_job_status{status="FAILED",submission_id="bad"} 1
			raytap_job_status{status="FAILED",submission_id="new"} 0
			raytap_job_status{status="FAILED",submission_id="run"} 0
			raytap_job_status{status="FAILED",submission_id="wait"} 0
			raytap_job_status{status="PAUSED",submission_id="new"} 1
			raytap_job_status{status="PENDING",submission_id="bad"} 0
			raytap_job_status{status="PENDING",submission_id="new"} 0
			raytap_job_status{status="PENDING",submission_id="run"} 0
			raytap_job_status{status="PENDING",submission_id="wait"} 1
			raytap_job_status{status="RUNNING",submission_id="01000000"} 0
			raytap_job_status{status="RUNNING",submission_id="bad"} 0
			raytap_job_status{status="RUNNING",submission_id="new"} 0
			raytap_job_status{status="RUNNING",submission_id="run"} 1
			raytap_job_status{status="RUNNING",submission_id="wait"} 0
			raytap_job_status{status="STOPPED",submission_id="bad"} 0
			raytap_job_status{status="STOPPED",submission_id="new"} 0
			raytap_job_status{status="STOPPED",submission_id="run"} 0
			raytap_job_status{status="STOPPED",submission_id="wait"} 0
			raytap_job_status{status="SUCCEEDED",submission_id="bad"} 0
			raytap_job_status{status="SUCCEEDED",submission_id="new"} 0
			raytap_job_status{status="SUCCEEDED",submission_id="run"} 0
			raytap_job_status{status="SUCCEEDED",submission_id="wait"} 0
			raytap_job_submit_timestamp_seconds{submission_id="01000000"} 9.466812e+08
			raytap_job_submit_timestamp_seconds{submission_id="bad"} 9.466776e+08
			raytap_job_submit_timestamp_seconds{submission_id="run"} 9.4668474e+08
			raytap_job_submit_timestamp_seconds{submission_id="wait"} 9.4668471e+08
			raytap_jobs{status="ENDED",type="DRIVER"} 1
			raytap_jobs{status="FAILED",type="SUBMISSION"} 1
			raytap_jobs{status="PAUSED",type="SUBMISSION"} 1
			raytap_jobs{status="PENDING",type="SUBMISSION"} 1
			raytap_jobs{status="RUNNING",type="DRIVER"} 0
			raytap_jobs{status="RUNNING",type="SUBMISSION"} 1
			raytap_jobs{status="STOPPED",type="SUBMISSION"} 0
			raytap_jobs{status="SUCCEEDED",type="SUBMISSION"} 1
			raytap_jobs_finished_total{status="ENDED"} 0
			raytap_jobs_finished_total{status="FAILED"} 0
			raytap_jobs_finished_total{status="STOPPED"} 0
			raytap_jobs_finished_total{status="SUCCEEDED"} 0
			raytap_jobs_overflow{ray_cluster="prod"} 0`)
	})
}

func TestNodes_Exposition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		c := &cluster{
			nodes: []ray.Node{
				{
					ID: "n1", IP: "10.0.0.1", Name: "head", Host: "ray-head", Head: true, State: ray.NodeAlive, Start: now.Add(-time.Hour),
					Resources: map[string]float64{"CPU": 4, "my_custom_res": 3, "node:10.0.0.1": 1},
					Stats: &ray.NodeStats{
						At: now.Add(-time.Second), CPURatio: 0.024, CPUs: 2, MemTotal: 1000, MemUsed: 300, MemAvailable: 700,
						Disks:       []ray.Disk{{Mount: "/", Total: 100, Used: 40, Free: 60}},
						ObjectStore: &ray.ObjectStore{Used: 1, Available: 9}, Workers: 3,
						LoadAvg: [3]float64{1, 2, 3}, HasLoad: true, NetworkSent: 11, NetworkRecv: 12, HasNetwork: true,
						GPUs: []ray.GPU{
							{Index: 0, Name: "A100", UUID: "GPU-1", Utilization: ptr(0.5), MemUsed: 10, MemTotal: 80},
							{Index: 1, Name: "A100", UUID: "GPU-2", MemTotal: 80},
						},
					},
				},
				{ID: "n2", IP: "10.0.0.2", State: ray.NodeAlive, Resources: map[string]float64{"CPU": 2}},
				{
					ID: "n3", IP: "10.0.0.3", State: ray.NodeDead, End: now.Add(-time.Minute), DeathReason: "UNEXPECTED_TERMINATION",
					Resources: map[string]float64{"CPU": 2}, Stats: &ray.NodeStats{CPUs: 2, MemTotal: 1},
				},
				{ID: "n4", State: ray.NodeDead, End: now.Add(-time.Hour - 1)},
			},
			status: ray.ClusterStatus{ByNode: map[string]map[string]ray.Usage{
				"n1": {"CPU": {Used: 2, Total: 4}, "unknown": {Used: 1, Total: 1}},
				"n3": {"CPU": {Used: 1, Total: 2}},
			}},
			jobs: []ray.Job{
				{SubmissionID: "a", Status: ray.JobRunning, DriverNodeID: "n1"},
				{SubmissionID: "b", Status: ray.JobRunning, DriverNodeID: "n3"},
				{SubmissionID: "c", Status: ray.JobRunning, DriverNodeID: "gone"},
				{SubmissionID: "d", Status: ray.JobFailed, DriverNodeID: "n3"},
			},
		}
		got := exposition(t, t.Context(), []string{"node", "job_driver_node_dead"}, newCollector(c, collector.Options{}))
		shows(t, got, `
			raytap_job_driver_node_dead{submission_id="a"} 0
			raytap_job_driver_node_dead{submission_id="b"} 1
			raytap_node_cpu_usage_ratio{node_id="n1"} 0.024
			raytap_node_cpus{node_id="n1"} 2
			raytap_node_death_info{node_id="n3",reason="UNEXPECTED_TERMINATION"} 1
			raytap_node_disk_bytes{mount="/",node_id="n1"} 100
			raytap_node_disk_free_bytes{mount="/",node_id="n1"} 60
			raytap_node_disk_used_bytes{mount="/",node_id="n1"} 40
			raytap_node_end_timestamp_seconds{node_id="n3"} 9.4668474e+08
			raytap_node_gpu_info{gpu="0",gpu_name="A100",node_id="n1",uuid="GPU-1"} 1
			raytap_node_gpu_info{gpu="1",gpu_name="A100",node_id="n1",uuid="GPU-2"} 1
			raytap_node_gpu_memory_bytes{gpu="0",node_id="n1"} 80
			raytap_node_gpu_memory_bytes{gpu="1",node_id="n1"} 80
			raytap_node_gpu_memory_used_bytes{gpu="0",node_id="n1"} 10
			raytap_node_gpu_memory_used_bytes{gpu="1",node_id="n1"} 0
			raytap_node_gpu_usage_ratio{gpu="0",node_id="n1"} 0.5
			raytap_node_info{host="",is_head="false",node_id="n2",node_ip="10.0.0.2",node_name=""} 1
			raytap_node_info{host="",is_head="false",node_id="n3",node_ip="10.0.0.3",node_name=""} 1
			raytap_node_info{host="ray-head",is_head="true",node_id="n1",node_ip="10.0.0.1",node_name="head"} 1
			raytap_node_load1{node_id="n1"} 1
			raytap_node_load15{node_id="n1"} 3
			raytap_node_load5{node_id="n1"} 2
			raytap_node_memory_available_bytes{node_id="n1"} 700
			raytap_node_memory_bytes{node_id="n1"} 1000
			raytap_node_memory_used_bytes{node_id="n1"} 300
			raytap_node_network_receive_bytes_total{node_id="n1"} 12
			raytap_node_network_transmit_bytes_total{node_id="n1"} 11
			raytap_node_object_store_available_bytes{node_id="n1"} 9
			raytap_node_object_store_used_bytes{node_id="n1"} 1
			raytap_node_resources{node_id="n1",resource="CPU"} 4
			raytap_node_resources{node_id="n1",resource="my_custom_res"} 3
			raytap_node_resources{node_id="n2",resource="CPU"} 2
			raytap_node_resources_overflow{ray_cluster="prod"} 0
			raytap_node_resources_used{node_id="n1",resource="CPU"} 2
			raytap_node_start_timestamp_seconds{node_id="n1"} 9.466812e+08
			raytap_node_state{node_id="n1",state="ALIVE"} 1
			raytap_node_state{node_id="n1",state="DEAD"} 0
			raytap_node_state{node_id="n2",state="ALIVE"} 1
			raytap_node_state{node_id="n2",state="DEAD"} 0
			raytap_node_state{node_id="n3",state="ALIVE"} 0
			raytap_node_state{node_id="n3",state="DEAD"} 1
			raytap_node_stats_timestamp_seconds{node_id="n1"} 9.46684799e+08
			raytap_node_stats_unavailable{ray_cluster="prod"} 0
			raytap_node_workers{node_id="n1"} 3
			raytap_nodes{state="ALIVE"} 2
			raytap_nodes{state="DEAD"} 2
			raytap_nodes_dead{reason="AUTOSCALER_DRAIN_IDLE"} 0
			raytap_nodes_dead{reason="AUTOSCALER_DRAIN_PREEMPTED"} 0
			raytap_nodes_dead{reason="EXPECTED_TERMINATION"} 0
			raytap_nodes_dead{reason="UNEXPECTED_TERMINATION"} 1
			raytap_nodes_dead{reason="UNSPECIFIED"} 1
			raytap_nodes_overflow{ray_cluster="prod"} 0
			raytap_nodes_truncated{ray_cluster="prod"} 0`)
	})
}

func taskRows(job, name, state string, n int) []ray.Task {
	var rows []ray.Task
	for range n {
		rows = append(rows, ray.Task{JobID: job, Name: name, State: state})
	}
	return rows
}

func TestTasks_Exposition(t *testing.T) {
	for name, row := range map[string]struct {
		list ray.TaskList
		opts collector.TasksOptions
		want string
	}{
		"a complete list counts by job and by state": {
			list: ray.TaskList{Tasks: append(taskRows("01", "f", "RUNNING", 2), append(taskRows("02", "f", "FAILED", 1), taskRows("02", "f", "FINISHED", 5)...)...)},
			want: `
				raytap_tasks{job_id="01",state="RUNNING"} 2
				raytap_tasks{job_id="02",state="FAILED"} 1
				raytap_tasks_by_state{state="FAILED"} 1
				raytap_tasks_by_state{state="GETTING_AND_PINNING_ARGS"} 0
				raytap_tasks_by_state{state="NIL"} 0
				raytap_tasks_by_state{state="PENDING_ACTOR_TASK_ARGS_FETCH"} 0
				raytap_tasks_by_state{state="PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"} 0
				raytap_tasks_by_state{state="PENDING_ARGS_AVAIL"} 0
				raytap_tasks_by_state{state="PENDING_ARGS_FETCH"} 0
				raytap_tasks_by_state{state="PENDING_NODE_ASSIGNMENT"} 0
				raytap_tasks_by_state{state="PENDING_OBJ_STORE_MEM_AVAIL"} 0
				raytap_tasks_by_state{state="RUNNING"} 2
				raytap_tasks_by_state{state="RUNNING_IN_RAY_GET"} 0
				raytap_tasks_by_state{state="RUNNING_IN_RAY_WAIT"} 0
				raytap_tasks_by_state{state="SUBMITTED_TO_WORKER"} 0
				raytap_tasks_overflow{family="tasks"} 0
				raytap_tasks_queried_by_state{ray_cluster="prod"} 0
				raytap_tasks_truncated{ray_cluster="prod"} 0`,
		},
		"a truncated list without totals has no states": {
			list: ray.TaskList{Tasks: taskRows("01", "f", "RUNNING", 1), Truncation: ray.Truncation{Total: 20000, Truncated: true}},
			want: `
				raytap_tasks{job_id="01",state="RUNNING"} 1
				raytap_tasks_overflow{family="tasks"} 0
				raytap_tasks_queried_by_state{ray_cluster="prod"} 0
				raytap_tasks_truncated{ray_cluster="prod"} 1`,
		},
		"under the limit the newest jobs and the first names are kept": {
			list: ray.TaskList{
				Tasks:      append(taskRows("01", "a", "RUNNING", 3), append(taskRows("02", "b", "RUNNING", 1), taskRows("03", "c", "FAILED", 1)...)...),
				Truncation: ray.Truncation{Truncated: true},
			},
			opts: collector.TasksOptions{ByName: true, MaxSeries: 2},
			want: `
				raytap_tasks{job_id="02",state="RUNNING"} 1
				raytap_tasks{job_id="03",state="FAILED"} 1
				raytap_tasks_by_name{name="a",state="RUNNING"} 3
				raytap_tasks_by_name{name="b",state="RUNNING"} 1
				raytap_tasks_overflow{family="tasks"} 1
				raytap_tasks_overflow{family="tasks_by_name"} 1
				raytap_tasks_queried_by_state{ray_cluster="prod"} 0
				raytap_tasks_truncated{ray_cluster="prod"} 1`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{tasks: row.list}
			shows(t, exposition(t, t.Context(), []string{"tasks"}, newCollector(c, collector.Options{Tasks: row.opts})), row.want)
		})
	}
}

func TestTasks_TruncatedList(t *testing.T) {
	c := &cluster{tasks: ray.TaskList{
		Truncation: ray.Truncation{Total: 20019, Truncated: true},
		ByState:    map[string]int{"PENDING_NODE_ASSIGNMENT": 19000, "FINISHED": 4, "STRANGE": 2},
	}}
	got := exposition(t, t.Context(), []string{"tasks_by_state", "tasks_queried_by_state"}, newCollector(c, collector.Options{}))
	for _, want := range []string{
		`raytap_tasks_queried_by_state{ray_cluster="prod"} 1`,
		`raytap_tasks_by_state{state="PENDING_NODE_ASSIGNMENT"} 19000`, `raytap_tasks_by_state{state="STRANGE"} 2`,
		`raytap_tasks_by_state{state="FAILED"} 0`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "FINISHED") {
		t.Error("finished tasks are shown")
	}
}

func TestActors_Exposition(t *testing.T) {
	c := &cluster{
		actors: ray.StateCounts{ByState: map[string]int{"ALIVE": 3, "DEAD": 1}},
		groups: ray.StateCounts{ByState: map[string]int{"PENDING": 2}, Truncation: ray.Truncation{Total: 11000, Truncated: true}},
	}
	shows(t, exposition(t, t.Context(), []string{"actors", "placement_groups"}, newCollector(c, collector.Options{})), `
		raytap_actors{state="ALIVE"} 3
		raytap_actors{state="DEAD"} 1
		raytap_actors{state="DEPENDENCIES_UNREADY"} 0
		raytap_actors{state="PENDING_CREATION"} 0
		raytap_actors{state="RESTARTING"} 0
		raytap_actors_truncated{ray_cluster="prod"} 0
		raytap_placement_groups{state="CREATED"} 0
		raytap_placement_groups{state="PENDING"} 2
		raytap_placement_groups{state="PREPARED"} 0
		raytap_placement_groups{state="REMOVED"} 0
		raytap_placement_groups{state="RESCHEDULING"} 0
		raytap_placement_groups_truncated{ray_cluster="prod"} 1`)
}

func TestServe_Exposition(t *testing.T) {
	c := &cluster{serve: ray.ServeStatus{
		Running: true,
		Applications: []ray.ServeApplication{
			{
				Name: "chat", RoutePrefix: "/chat", Source: "imperative", Status: "RUNNING", Message: "secret", LastDeployed: time.Unix(946684800, 250e6),
				Deployments: []ray.ServeDeployment{
					{Name: "llm", Status: "HEALTHY", Message: "secret", TargetReplicas: ptr(2), Replicas: map[string]int{"RUNNING": 2}, DeadReplicas: ptr(0)},
					{Name: "old"},
				},
			},
			{Name: "broken", Status: "DEPLOY_FAILED"},
		},
		Proxies: []ray.ServeProxy{{NodeID: "n1", Status: "HEALTHY"}},
	}}
	got := exposition(t, t.Context(), []string{"serve"}, newCollector(c, collector.Options{}))
	if strings.Contains(got, "secret") {
		t.Error("a message is shown")
	}
	var states strings.Builder
	for _, line := range []string{"DELETING 0", "DEPLOYING 0", "DEPLOY_FAILED 1", "NOT_STARTED 0", "RUNNING 0", "UNHEALTHY 0"} {
		state, value, _ := strings.Cut(line, " ")
		fmt.Fprintf(&states, "raytap_serve_application_status{application=\"broken\",status=%q} %s\n", state, value)
	}
	for _, line := range []string{"DELETING 0", "DEPLOYING 0", "DEPLOY_FAILED 0", "NOT_STARTED 0", "RUNNING 1", "UNHEALTHY 0"} {
		state, value, _ := strings.Cut(line, " ")
		fmt.Fprintf(&states, "raytap_serve_application_status{application=\"chat\",status=%q} %s\n", state, value)
	}
	var replicas strings.Builder
	for _, deployment := range []string{"llm", "old"} {
		for _, state := range []string{"PENDING_MIGRATION", "RECOVERING", "RUNNING", "STARTING", "STOPPED", "STOPPING", "UPDATING"} {
			n := 0
			if deployment == "llm" && state == "RUNNING" {
				n = 2
			}
			fmt.Fprintf(&replicas, "raytap_serve_deployment_replicas{application=\"chat\",deployment=%q,state=%q} %d\n", deployment, state, n)
		}
	}
	shows(t, got, `
		raytap_serve_application_info{application="broken",route_prefix="",source=""} 1
		raytap_serve_application_info{application="chat",route_prefix="/chat",source="imperative"} 1
		raytap_serve_application_last_deployed_timestamp_seconds{application="chat"} 9.4668480025e+08
		`+states.String()+`
		raytap_serve_deployment_recent_dead_replicas{application="chat",deployment="llm"} 0
		`+replicas.String()+`
		raytap_serve_deployment_status{application="chat",deployment="llm",status="DEPLOY_FAILED"} 0
		raytap_serve_deployment_status{application="chat",deployment="llm",status="DOWNSCALING"} 0
		raytap_serve_deployment_status{application="chat",deployment="llm",status="HEALTHY"} 1
		raytap_serve_deployment_status{application="chat",deployment="llm",status="UNHEALTHY"} 0
		raytap_serve_deployment_status{application="chat",deployment="llm",status="UPDATING"} 0
		raytap_serve_deployment_status{application="chat",deployment="llm",status="UPSCALING"} 0
		raytap_serve_deployment_target_replicas{application="chat",deployment="llm"} 2
		raytap_serve_overflow{ray_cluster="prod"} 0
		raytap_serve_proxy_status{node_id="n1",status="DRAINED"} 0
		raytap_serve_proxy_status{node_id="n1",status="DRAINING"} 0
		raytap_serve_proxy_status{node_id="n1",status="HEALTHY"} 1
		raytap_serve_proxy_status{node_id="n1",status="STARTING"} 0
		raytap_serve_proxy_status{node_id="n1",status="UNHEALTHY"} 0
		raytap_serve_running{ray_cluster="prod"} 1`)
}

// What Kubernetes says of a cluster may change while it is watched.
func TestCluster_Kubernetes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values := map[string]string{"k8s_namespace": "ray", "owner_kind": "RayJob", "owner_name": "train", "uid": "1-2", "team": "vision", "other": "x"}
		c := newCollector(&cluster{version: ray.Version{Ray: "2.60.0", Session: "s"}}, collector.Options{Info: collector.InfoOptions{
			Labels: []string{"team", "stage"}, Values: func() map[string]string { return values },
		}})
		shows(t, exposition(t, t.Context(), []string{"cluster_info"}, c), `
		raytap_cluster_info{k8s_namespace="ray",owner_kind="RayJob",owner_name="train",ray_version="2.60.0",session="s",stage="",team="vision",uid="1-2"} 1`)
		values = map[string]string{"k8s_namespace": "ray", "uid": "1-2", "team": "speech"}
		shows(t, exposition(t, t.Context(), []string{"cluster_info"}, c), `
		raytap_cluster_info{k8s_namespace="ray",owner_kind="",owner_name="",ray_version="2.60.0",session="s",stage="",team="speech",uid="1-2"} 1`)
	})
}
