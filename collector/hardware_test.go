package collector_test

import (
	"testing"
	"time"

	"raytap/collector"
	"raytap/ray"
)

func TestHardware_Exposition(t *testing.T) {
	c := &cluster{resources: ray.ClusterResources{
		At: time.Unix(946684800, 0), Stale: true, CPU: &ray.Amount{Total: 8, Used: 2, Available: 6}, Memory: &ray.Amount{Total: 100, Used: 40, Available: 60},
		GPU:         &ray.GPUTotals{Total: ptr(2.0), MaxUtilization: ptr(0.9)},
		RunningJobs: ptr(3), NodeCounts: &ray.NodeCounts{Total: 4, Alive: 2, Dead: 1},
		Nodes: []ray.NodeHardware{
			{
				ID: "n1", Host: "ray-head", IP: "10.0.0.1", Head: true, State: ray.NodeAlive, AcceleratorType: "A100", CPU: &ray.Amount{Total: 8, Used: 2, Available: 6},
				GPUs: []ray.GPU{{Index: 0, Name: "A100", UUID: "GPU-1", Utilization: ptr(0.9), MemUsed: 10, MemTotal: 80}, {Index: 1, UUID: "GPU-2"}},
			},
			{ID: "n2", State: ray.NodeDead, CPU: &ray.Amount{Total: 8}, GPUs: []ray.GPU{{MemTotal: 80}}},
		},
	}}
	shows(t, exposition(t, t.Context(), []string{"hardware"}, newCollector(c, collector.Options{})), `
		raytap_hardware_cpus{ray_cluster="prod"} 8
		raytap_hardware_cpus_available{ray_cluster="prod"} 6
		raytap_hardware_cpus_used{ray_cluster="prod"} 2
		raytap_hardware_gpu_max_usage_ratio{ray_cluster="prod"} 0.9
		raytap_hardware_gpus{ray_cluster="prod"} 2
		raytap_hardware_memory_available_bytes{ray_cluster="prod"} 60
		raytap_hardware_memory_bytes{ray_cluster="prod"} 100
		raytap_hardware_memory_used_bytes{ray_cluster="prod"} 40
		raytap_hardware_node_cpus{node_id="n1"} 8
		raytap_hardware_node_cpus_available{node_id="n1"} 6
		raytap_hardware_node_cpus_used{node_id="n1"} 2
		raytap_hardware_node_gpu_info{gpu="0",gpu_name="A100",node_id="n1",uuid="GPU-1"} 1
		raytap_hardware_node_gpu_info{gpu="1",gpu_name="",node_id="n1",uuid="GPU-2"} 1
		raytap_hardware_node_gpu_memory_bytes{gpu="0",node_id="n1"} 80
		raytap_hardware_node_gpu_memory_used_bytes{gpu="0",node_id="n1"} 10
		raytap_hardware_node_gpu_usage_ratio{gpu="0",node_id="n1"} 0.9
		raytap_hardware_node_info{accelerator_type="",host="",is_head="false",node_id="n2",node_ip="",state="DEAD"} 1
		raytap_hardware_node_info{accelerator_type="A100",host="ray-head",is_head="true",node_id="n1",node_ip="10.0.0.1",state="ALIVE"} 1
		raytap_hardware_nodes{state="ALIVE"} 2
		raytap_hardware_nodes{state="DEAD"} 1
		raytap_hardware_nodes{state="OTHER"} 1
		raytap_hardware_nodes_overflow{ray_cluster="prod"} 0
		raytap_hardware_running_jobs{ray_cluster="prod"} 3
		raytap_hardware_stale{ray_cluster="prod"} 1
		raytap_hardware_timestamp_seconds{ray_cluster="prod"} 9.466848e+08`)
}
