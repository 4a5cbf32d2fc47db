package collector

import (
	"cmp"

	"raytap/ray"
)

// This file: jobs whose driver's node is dead. Ray can leave such a job RUNNING: seen
// on 2.60.0 for the head node, 90 s after its death, with no process left that would
// change the status.

type driverNodesSource interface {
	jobsSource
	nodesSource
}

var driverNodeTable = table[bool]{
	source: "job list and node list" + fresh,
	labels: []string{"submission_id"},
	rows: []row[bool]{
		{
			name:  "job_driver_node_dead",
			help:  "1 for a RUNNING job whose driver's node is dead, 0 for one whose node is alive. Absent if Ray does not list the node. The job may stay RUNNING indefinitely.",
			value: func(dead bool) (float64, bool) { return number(dead), true },
		},
	},
}

func collectDriverNodes(source driverNodesSource, s settings, o JobsOptions) collectFunc {
	limit, t := cmp.Or(o.Max, defaultMaxJobs), driverNodeTable.bind(s)
	return collectTwo(source, driverNodesSource.Jobs, driverNodesSource.Nodes, func(out *seriesBuffer, jobs []ray.Job, nodes []ray.Node) {
		states := make(map[string]ray.NodeState, len(nodes))
		for _, n := range nodes {
			states[n.ID] = n.State
		}
		// The same selection as for job_status, which keeps running jobs first.
		for _, j := range importantJobs(newestRuns(jobs), limit) {
			if state, listed := states[j.DriverNodeID]; listed && j.Status == ray.JobRunning {
				t.emit(out, state == ray.NodeDead, j.Key())
			}
		}
	})
}
