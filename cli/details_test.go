package cli

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"raytap/ray"
)

func TestGet_Table(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	ctx := context.Background()
	for name, tt := range map[string]struct {
		run func(f *fake, p printer) error
		out string
	}{
		"a job": {
			func(f *fake, p printer) error { return getJob(ctx, f, "raysubmit_old", p) }, `
Submission:         raysubmit_old
Job:                01000000
Name:               train-7
Type:               SUBMISSION
Status:             FAILED
Submitted:          2026-11-23 10:00:00 UTC (1d2h ago)
Ended:              2026-11-23 11:00:00 UTC (1d1h ago)
Duration:           1h
Exit code:          3
Error:              JOB_ENTRYPOINT_COMMAND_ERROR
Entrypoint:         python3 train.py
Driver node:        11111111111111111111111111111111111111111111111111111111
Node agent:         http://10.0.0.1:52365
Metadata job_name:  train-7
Metadata team:      ml
Message:            it
                    failed
`},
		"a node": {
			func(f *fake, p printer) error { return getNode(ctx, f, "1", p) }, `
Node:                  11111111111111111111111111111111111111111111111111111111
Host:                  ray-head
Name:                  10.0.0.1
IP:                    10.0.0.1
Role:                  head
State:                 ALIVE
Started:               2026-11-22 10:00:00 UTC (2d2h ago)
CPU:                   25% of 16
Memory:                12.5GiB of 64GiB
Object store:          1MiB of 4MiB
Workers:               3
Load:                  1.2, 0.5, 0.2 (1, 5, 15 min)
Disk /:                40GiB of 100GiB
GPU 0:                 A100 1GiB of 40GiB, 50% busy
Resource CPU:          16
Resource accelerator:  0.5
Resource memory:       1GiB
Label zone:            a
`},
		"a task": {
			func(f *fake, p printer) error { return getTask(ctx, f, "a", p) }, `
Task:      aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
Name:      load
Function:  f
State:     FAILED
Type:      ACTOR_TASK
Attempt:   2
Job:       01000000
Node:      22222222222222222222222222222222222222222222222222222222
Actor:     c0
Error:     TASK_EXECUTION_EXCEPTION
`},
		"an application": {
			func(f *fake, p printer) error { return getApplication(ctx, f, "greeter", p) }, `
Application:  greeter
Status:       RUNNING
Route:        /
Docs:         /docs
Source:       declarative
Deployed:     2026-11-24 10:00:00 UTC (2h ago)

DEPLOYMENT  STATUS   REPLICAS  BY STATE               DIED
Greeter     HEALTHY       2/3  2 RUNNING, 1 STARTING     1
`},
		"a cluster's hardware": {
			func(f *fake, p printer) error {
				f.resources = hardware()
				return showResources(ctx, f, p)
			}, `
Collected:       2026-11-24 12:00:00 UTC (0s ago)
CPU:             12.5 of 32 cores (39%)
Memory:          1GiB of 4GiB (25%)
GPU:             8, 3 available; memory 10GiB of 40GiB; 60% busy on average
Running jobs:    2
Serve replicas:  0
Nodes:           3 (2 alive, 1 dead)

NODE  HOST    IP        ROLE  STATE       CPU  GPU  ACCELERATOR
n1    host-1  10.0.0.1  head  ALIVE  12 of 32    1  A100
`},
		"the GPU status of a Synapse agent, without a schema": {
			func(f *fake, p printer) error {
				f.status, f.resources = json.RawMessage(`{"total":8,"driver":"550.1","by_node":{"n1":8}}`), &ray.ClusterResources{}
				return showAccelerators(ctx, f, p)
			}, `
by_node:  {"n1":8}
driver:   550.1
total:    8
`},
		"health": {
			func(f *fake, p printer) error { return showHealth(ctx, f, p) }, `
Status:   reachable
Ray:      2.60.0
Session:  session_1
`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen("")
			if err := tt.run(cluster(), s.printer(formatTable)); err != nil {
				t.Fatal(err)
			}
			s.want(t, tt.out[1:], "")
		})
	}
}

func hardware() *ray.ClusterResources {
	return &ray.ClusterResources{
		At: now, CPU: &ray.Amount{Total: 32, Used: 12.5, Available: 19.5}, Memory: &ray.Amount{Total: 4 << 30, Used: 1 << 30, Available: 3 << 30},
		GPU:         &ray.GPUTotals{Total: ptr(8.0), Available: ptr(3.0), MemoryTotal: ptr(40.0 * (1 << 30)), MemoryAvailable: ptr(30.0 * (1 << 30)), AvgUtilization: ptr(0.6)},
		RunningJobs: ptr(2), ServeReplicas: ptr(0), NodeCounts: &ray.NodeCounts{Total: 3, Alive: 2, Dead: 1},
		Nodes: []ray.NodeHardware{{ID: "n1", Host: "host-1", IP: "10.0.0.1", Head: true, State: ray.NodeAlive, AcceleratorType: "A100",
			CPU: &ray.Amount{Total: 32, Used: 12}, GPUs: []ray.GPU{{Index: 0, Name: "A100", MemTotal: 40 << 30}}}},
	}
}

func TestResources_Stale(t *testing.T) {
	s, f := newScreen(""), cluster()
	f.resources = &ray.ClusterResources{Stale: true, CPU: &ray.Amount{Total: 1}}
	if err := showResources(context.Background(), f, s.printer(formatTable)); err != nil {
		t.Fatal(err)
	}
	s.want(t, "CPU:  0 of 1 cores (0%)\n", "raytap: the data is stale: the Synapse agent could not refresh it\n")
}
