package ray

import "time"

// ClusterResources is a cluster's hardware as a Synapse agent reports it, independent
// of Ray's own accounting. A nil field is unknown.
//
// Ray's dashboard API does not report it: its client returns code 501.
type ClusterResources struct {
	At            time.Time // when it was collected; zero if unknown
	Stale         bool      // the agent had no current data and returned older data
	CPU           *Amount   // cores
	Memory        *Amount   // bytes
	ObjectStore   *Amount   // bytes
	GPU           *GPUTotals
	RunningJobs   *int
	ServeReplicas *int
	NodeCounts    *NodeCounts
	Nodes         []NodeHardware
}

// Amount is the total, used and available amount of something.
type Amount struct{ Total, Used, Available float64 }

// GPUTotals are sums over all accelerators. Memory is in bytes, utilization a ratio
// from 0 to 1. A nil field is unknown.
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
	AcceleratorType string  // "" if it has none
	CPU             *Amount // cores
	Memory          *Amount // bytes
	GPUs            []GPU
}
