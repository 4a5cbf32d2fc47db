package synapsetest

import "slices"

// The fake cluster's content, in addition to its jobs.
const (
	nodeID     = "8a80e9210b4d91e722d31755d4e53dc7b006e22ffb94a3edc0172659"
	deadNodeID = "f1e2d3c4b5a697887766554433221100ffeeddccbbaa99887766554f"
	taskID     = "c2668a65bda616c1ffffffffffffffffffffffff01000000"
)

func nodes() []any {
	return []any{
		map[string]any{"node_id": nodeID, "node_ip": "10.0.0.10", "is_head_node": true, "state": "ALIVE", "node_name": "10.0.0.10",
			"resources_total": map[string]float64{"CPU": 8, "GPU": 2, "memory": 32e9, "object_store_memory": 8e9},
			"labels":          map[string]string{"ray.io/node-id": nodeID}, "start_time_ms": 1795532000000, "end_time_ms": 0},
		map[string]any{"node_id": deadNodeID, "node_ip": "10.0.0.11", "is_head_node": false, "state": "DEAD", "node_name": "10.0.0.11",
			"resources_total": map[string]float64{}, "start_time_ms": 1795532000000, "end_time_ms": 1795532600000},
	}
}

func tasks() []any {
	task := func(id, name, state string, fault any) map[string]any {
		return map[string]any{"task_id": id, "attempt_number": 0, "name": name, "state": state, "job_id": "01000000",
			"type": "NORMAL_TASK", "func_or_class_name": name, "node_id": nodeID, "error_type": fault}
	}
	return []any{
		task(taskID, "train_step", "RUNNING", nil),
		task(taskID[:46]+"01", "load", "FAILED", "TASK_EXECUTION_EXCEPTION"),
		task(taskID[:46]+"02", "load", "FINISHED", nil),
	}
}

func (a *Agent) applications() []any {
	apps := []any{
		map[string]any{"name": "chat", "status": "RUNNING", "route_prefix": "/chat", "docs_path": nil, "message": "",
			"last_deployed_time_s": 1795532688.117, "deployments": []any{
				map[string]any{"name": "Model", "status": "HEALTHY", "message": "", "route_prefix": nil, "replica_count": 2, "target_replica_count": 3},
			}},
		map[string]any{"name": "search", "status": "DEPLOY_FAILED", "route_prefix": "/search", "docs_path": "/docs",
			"message": "no such module", "last_deployed_time_s": 1795532600.5, "deployments": []any{}},
	}
	deleted := a.DeletedApplications()
	return slices.DeleteFunc(apps, func(app any) bool {
		name, _ := app.(map[string]any)["name"].(string)
		return slices.Contains(deleted, name)
	})
}

func resources() map[string]any {
	amount := func(total, used float64) map[string]float64 {
		return map[string]float64{"total": total, "used": used, "available": total - used}
	}
	return map[string]any{
		"collected_at": "2026-11-24T15:02:08.458718+00:00", "stale": false,
		"cpu": amount(8, 3), "memory": amount(32e9, 12e9), "object_store": amount(8e9, 1e9),
		"gpu": map[string]any{"total_gpus": 2, "available_gpus": 1, "total_memory_bytes": 160e9, "available_memory_bytes": 100e9,
			"max_utilization": 90.0, "avg_utilization": 45.0},
		"running_jobs": 1, "total_serve_replicas": 2, "node_counts": map[string]int{"total": 2, "alive": 1, "dead": 1},
		"nodes": []any{map[string]any{"node_id": nodeID, "host_name": "head", "ip": "10.0.0.10", "is_head_node": true, "state": "ALIVE",
			"accelerator_type": "A100", "cpu": amount(8, 3), "memory": amount(32e9, 12e9), "gpus": []any{
				map[string]any{"index": 0, "name": "NVIDIA A100", "uuid": "GPU-0", "utilization_gpu": 90, "memory_used": 40960, "memory_total": 81920,
					"processes_pids": map[string]any{}, "memory_used_ratio": 0.5},
				map[string]any{"index": 1, "name": "NVIDIA A100", "uuid": "GPU-1", "utilization_gpu": 0, "memory_used": 0, "memory_total": 81920,
					"processes_pids": map[string]any{}, "memory_used_ratio": 0.0},
			}}},
	}
}
