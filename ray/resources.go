package ray

import "time"

// ClusterResources is a cluster's hardware as an agent that watches it tells
// it, apart from Ray's own bookkeeping. What is nil was not told.
//
// Ray's dashboard has no such answer: its client gives code 501.
type ClusterResources struct {
	At            time.Time // when it was collected; zero where not told
	Stale         bool      // the agent gave an old answer because it got no new one
	CPU           *Amount   // cores
	Memory        *Amount   // bytes
	ObjectStore   *Amount   // bytes
	GPU           *GPUTotals
	RunningJobs   *int
	ServeReplicas *int
	NodeCounts    *NodeCounts
	Nodes         []NodeHardware
}

// Amount is how much there is of something, and how much of it is in use.
type Amount struct{ Total, Used, Available float64 }

// GPUTotals are the sums over all accelerators; memory is in bytes,
// utilization a ratio from 0 to 1. What is nil was not told.
type GPUTotals struct {
	Total, Available             *float64 // accelerators
	MemoryTotal, MemoryAvailable *float64
	MaxUtilization               *float64
	AvgUtilization               *float64
}

// NodeCounts counts nodes.
type NodeCounts struct{ Total, Alive, Dead int }

// NodeHardware is one node of a ClusterResources.
type NodeHardware struct {
	ID              string
	Host            string
	IP              string
	Head            bool
	State           NodeState
	AcceleratorType string  // "" where there is none
	CPU             *Amount // cores
	Memory          *Amount // bytes
	GPUs            []GPU
}
