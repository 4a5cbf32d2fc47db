package cli

import (
	"time"

	"raytap/ray"
)

// The schema of --output json and yaml: the domain types of package ray with field
// names in snake case. Unknown fields are absent, times are RFC 3339 in UTC, memory
// is in bytes, ratios are from 0 to 1. docs/commands.md lists every field, checked by
// a test.

type jobView struct {
	Type           string            `json:"type,omitempty"`
	SubmissionID   string            `json:"submission_id,omitempty"`
	JobID          string            `json:"job_id,omitempty"`
	Name           string            `json:"name,omitempty"`
	Status         string            `json:"status"`
	Entrypoint     string            `json:"entrypoint,omitempty"`
	Message        string            `json:"message,omitempty"`
	ErrorType      string            `json:"error_type,omitempty"`
	Start          time.Time         `json:"start,omitzero"`
	End            time.Time         `json:"end,omitzero"`
	Metadata       map[string]string `json:"metadata,omitempty"`
	DriverNodeID   string            `json:"driver_node_id,omitempty"`
	DriverAgentURL string            `json:"driver_agent_url,omitempty"`
	DriverExitCode *int              `json:"driver_exit_code,omitempty"`
}

func viewJob(j ray.Job) jobView {
	return jobView{
		Type: string(j.Type), SubmissionID: j.SubmissionID, JobID: j.JobID, Name: j.Name(), Status: string(j.Status),
		Entrypoint: j.Entrypoint, Message: j.Message, ErrorType: j.ErrorType, Start: j.Start, End: j.End,
		Metadata: j.Metadata, DriverNodeID: j.DriverNodeID, DriverAgentURL: j.DriverAgentURL, DriverExitCode: j.DriverExitCode,
	}
}

type nodeView struct {
	ID               string             `json:"id"`
	IP               string             `json:"ip,omitempty"`
	Name             string             `json:"name,omitempty"`
	Host             string             `json:"host,omitempty"`
	Head             bool               `json:"head"`
	State            string             `json:"state"`
	Labels           map[string]string  `json:"labels,omitempty"`
	Start            time.Time          `json:"start,omitzero"`
	End              time.Time          `json:"end,omitzero"`
	DeathReason      string             `json:"death_reason,omitempty"`
	Resources        map[string]float64 `json:"resources,omitempty"`
	Stats            *statsView         `json:"stats,omitempty"`
	StatsUnavailable bool               `json:"stats_unavailable,omitempty"`
}

type statsView struct {
	At             time.Time        `json:"at,omitzero"`
	CPURatio       *float64         `json:"cpu_ratio,omitempty"`
	CPUs           int              `json:"cpus,omitempty"`
	MemTotal       *float64         `json:"mem_total,omitempty"`
	MemUsed        *float64         `json:"mem_used,omitempty"`
	MemAvailable   *float64         `json:"mem_available,omitempty"`
	Disks          []diskView       `json:"disks,omitempty"`
	ObjectStore    *objectStoreView `json:"object_store,omitempty"`
	Workers        *int             `json:"workers,omitempty"`
	LoadAvg        []float64        `json:"load_avg,omitempty"`
	GPUs           []gpuView        `json:"gpus,omitempty"`
	TPUs           []tpuView        `json:"tpus,omitempty"`
	NetworkSent    *float64         `json:"network_sent,omitempty"`
	NetworkRecv    *float64         `json:"network_recv,omitempty"`
	DashboardAgent int              `json:"dashboard_agent,omitempty"`
}

type diskView struct {
	Mount string  `json:"mount"`
	Total float64 `json:"total"`
	Used  float64 `json:"used"`
	Free  float64 `json:"free"`
}

type objectStoreView struct {
	Used      float64 `json:"used"`
	Available float64 `json:"available"`
}

type gpuView struct {
	Index       int      `json:"index"`
	Name        string   `json:"name,omitempty"`
	UUID        string   `json:"uuid,omitempty"`
	Utilization *float64 `json:"utilization,omitempty"`
	MemUsed     float64  `json:"mem_used"`
	MemTotal    float64  `json:"mem_total"`
}

func viewNode(n ray.Node) nodeView {
	v := nodeView{
		ID: n.ID, IP: n.IP, Name: n.Name, Host: n.Host, Head: n.Head, State: string(n.State), Labels: n.Labels,
		Start: n.Start, End: n.End, DeathReason: n.DeathReason, Resources: n.Resources, StatsUnavailable: n.StatsUnavailable,
	}
	s := n.Stats
	if s == nil {
		return v
	}
	v.Stats = &statsView{
		At: s.At, CPUs: s.CPUs, GPUs: viewGPUs(s.GPUs), DashboardAgent: s.DashboardAgent,
	}
	if !s.CPUUnknown {
		v.Stats.CPURatio = &s.CPURatio
	}
	if s.MemTotal > 0 {
		v.Stats.MemTotal, v.Stats.MemUsed, v.Stats.MemAvailable = &s.MemTotal, &s.MemUsed, &s.MemAvailable
	}
	if !s.WorkersUnknown {
		v.Stats.Workers = &s.Workers
	}
	for _, t := range s.TPUs {
		v.Stats.TPUs = append(v.Stats.TPUs, tpuView(t))
	}
	for _, d := range s.Disks {
		v.Stats.Disks = append(v.Stats.Disks, diskView(d))
	}
	if s.ObjectStore != nil {
		v.Stats.ObjectStore = (*objectStoreView)(s.ObjectStore)
	}
	if s.HasLoad {
		v.Stats.LoadAvg = s.LoadAvg[:]
	}
	if s.HasNetwork {
		v.Stats.NetworkSent, v.Stats.NetworkRecv = &s.NetworkSent, &s.NetworkRecv
	}
	return v
}

// tpuView is one TPU.
type tpuView struct {
	Index      int      `json:"index"`
	Name       string   `json:"name,omitempty"`
	Type       string   `json:"type,omitempty"`
	Topology   string   `json:"topology,omitempty"`
	TensorCore *float64 `json:"tensor_core,omitempty"`
	Bandwidth  *float64 `json:"bandwidth,omitempty"`
	DutyCycle  *float64 `json:"duty_cycle,omitempty"`
	MemUsed    float64  `json:"mem_used"`
	MemTotal   float64  `json:"mem_total"`
}

func viewGPUs(list []ray.GPU) []gpuView {
	var out []gpuView
	for _, g := range list {
		out = append(out, gpuView(g))
	}
	return out
}

type taskView struct {
	ID      string `json:"id"`
	Attempt int    `json:"attempt"`
	Name    string `json:"name,omitempty"`
	Func    string `json:"func,omitempty"`
	State   string `json:"state"`
	Type    string `json:"type,omitempty"`
	JobID   string `json:"job_id,omitempty"`
	NodeID  string `json:"node_id,omitempty"`
	ActorID string `json:"actor_id,omitempty"`
	Error   string `json:"error,omitempty"`
}

type applicationView struct {
	Name         string           `json:"name"`
	RoutePrefix  string           `json:"route_prefix,omitempty"`
	DocsPath     string           `json:"docs_path,omitempty"`
	Status       string           `json:"status"`
	Message      string           `json:"message,omitempty"`
	Source       string           `json:"source,omitempty"`
	LastDeployed time.Time        `json:"last_deployed,omitzero"`
	Deployments  []deploymentView `json:"deployments"`
}

type deploymentView struct {
	Name           string         `json:"name"`
	Status         string         `json:"status"`
	Message        string         `json:"message,omitempty"`
	TargetReplicas *int           `json:"target_replicas,omitempty"`
	Replicas       map[string]int `json:"replicas,omitempty"`
	ReplicaCount   *int           `json:"replica_count,omitempty"`
	DeadReplicas   *int           `json:"dead_replicas,omitempty"`
}

func viewApplication(a ray.ServeApplication) applicationView {
	v := applicationView{
		Name: a.Name, RoutePrefix: a.RoutePrefix, DocsPath: a.DocsPath, Status: a.Status, Message: a.Message,
		Source: a.Source, LastDeployed: a.LastDeployed, Deployments: []deploymentView{},
	}
	for _, d := range a.Deployments {
		v.Deployments = append(v.Deployments, deploymentView(d))
	}
	return v
}

type resourcesView struct {
	At            time.Time       `json:"at,omitzero"`
	Stale         bool            `json:"stale"`
	CPU           *amountView     `json:"cpu,omitempty"`
	Memory        *amountView     `json:"memory,omitempty"`
	ObjectStore   *amountView     `json:"object_store,omitempty"`
	GPU           *gpuTotalsView  `json:"gpu,omitempty"`
	RunningJobs   *int            `json:"running_jobs,omitempty"`
	ServeReplicas *int            `json:"serve_replicas,omitempty"`
	NodeCounts    *nodeCountsView `json:"node_counts,omitempty"`
	Nodes         []hardwareView  `json:"nodes"`
}

type amountView struct {
	Total     float64 `json:"total"`
	Used      float64 `json:"used"`
	Available float64 `json:"available"`
}

type gpuTotalsView struct {
	Total           *float64 `json:"total,omitempty"`
	Available       *float64 `json:"available,omitempty"`
	MemoryTotal     *float64 `json:"memory_total,omitempty"`
	MemoryAvailable *float64 `json:"memory_available,omitempty"`
	MaxUtilization  *float64 `json:"max_utilization,omitempty"`
	AvgUtilization  *float64 `json:"avg_utilization,omitempty"`
}

type nodeCountsView struct {
	Total int `json:"total"`
	Alive int `json:"alive"`
	Dead  int `json:"dead"`
}

type hardwareView struct {
	ID              string      `json:"id"`
	Host            string      `json:"host,omitempty"`
	IP              string      `json:"ip,omitempty"`
	Head            bool        `json:"head"`
	State           string      `json:"state,omitempty"`
	AcceleratorType string      `json:"accelerator_type,omitempty"`
	CPU             *amountView `json:"cpu,omitempty"`
	Memory          *amountView `json:"memory,omitempty"`
	GPUs            []gpuView   `json:"gpus,omitempty"`
}

func viewResources(r ray.ClusterResources) resourcesView {
	v := resourcesView{
		At: r.At, Stale: r.Stale, CPU: (*amountView)(r.CPU), Memory: (*amountView)(r.Memory),
		ObjectStore: (*amountView)(r.ObjectStore), GPU: (*gpuTotalsView)(r.GPU), RunningJobs: r.RunningJobs,
		ServeReplicas: r.ServeReplicas, NodeCounts: (*nodeCountsView)(r.NodeCounts), Nodes: []hardwareView{},
	}
	for _, n := range r.Nodes {
		v.Nodes = append(v.Nodes, hardwareView{
			ID: n.ID, Host: n.Host, IP: n.IP, Head: n.Head, State: string(n.State), AcceleratorType: n.AcceleratorType,
			CPU: (*amountView)(n.CPU), Memory: (*amountView)(n.Memory), GPUs: viewGPUs(n.GPUs),
		})
	}
	return v
}

type healthView struct {
	Ray     string `json:"ray,omitempty"`
	Commit  string `json:"commit,omitempty"`
	Session string `json:"session,omitempty"`
}

// views returns the views of a list; never nil, so that JSON has [] and not null.
func views[T, V any](list []T, view func(T) V) []V {
	out := make([]V, 0, len(list))
	for _, x := range list {
		out = append(out, view(x))
	}
	return out
}

type planView struct {
	Changes []plannedView `json:"changes"`
	Notes   []string      `json:"notes,omitempty"`
}

type plannedView struct {
	Name   string   `json:"name"`
	Action string   `json:"action"`
	Fields []string `json:"fields,omitempty"`
	Hidden bool     `json:"hidden,omitempty"`
}

func viewPlan(p ray.ServePlan) planView {
	v := planView{Changes: []plannedView{}, Notes: p.Notes}
	for _, c := range p.Changes {
		v.Changes = append(v.Changes, plannedView(c))
	}
	return v
}
