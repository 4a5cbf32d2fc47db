package collector

import (
	"context"

	"raytap/ray"
)

// This file: jobs whose driver's node is dead. Ray can leave such a job
// RUNNING (seen on 2.60.0 for the head's node, 90 s after its death, where
// nothing was left that would change it).

type driversSource interface {
	jobsSource
	nodesSource
}

var driverTable = table[bool]{
	source: "job list and node list" + fresh,
	labels: []string{"submission_id"},
	rows: []row[bool]{
		{
			name:  "job_driver_node_dead",
			help:  "1 for a RUNNING job whose driver's node is dead, 0 for one whose node is not; absent where Ray does not list the node. The job may stay RUNNING for ever.",
			value: func(dead bool) (float64, bool) { return number(dead), true },
		},
	},
}

type driversCollector struct {
	source driversSource
	max    int
	table  bound[bool]
}

func newDrivers(source driversSource, s settings, o JobsOptions) *driversCollector {
	return &driversCollector{source: source, max: orDefault(o.Max, defaultMaxJobs), table: driverTable.bind(s)}
}

func (c *driversCollector) collect(ctx context.Context, out *sink) error {
	jobs, err := c.source.Jobs(ctx)
	if err != nil {
		return err
	}
	nodes, err := c.source.Nodes(ctx)
	if err != nil {
		return err
	}
	states := make(map[string]ray.NodeState, len(nodes))
	for _, n := range nodes {
		states[n.ID] = n.State
	}
	// The same choice as for job_status, where running jobs come first.
	for _, j := range importantJobs(newestRuns(jobs), c.max) {
		if state, listed := states[j.DriverNodeID]; listed && j.Status == ray.JobRunning {
			c.table.emit(out, state == ray.NodeDead, j.Key())
		}
	}
	return nil
}
