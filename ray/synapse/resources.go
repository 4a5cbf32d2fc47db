package synapse

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"raytap/ray"
)

// Units of an agent: percent, and MB, which in Ray are MiB.
const (
	percent = 0.01
	mib     = 1 << 20
)

type amountRow struct {
	Total     number `json:"total"`
	Used      number `json:"used"`
	Available number `json:"available"`
}

type resourcesRow struct {
	At            flexTime      `json:"collected_at"`
	Stale         *bool         `json:"stale"`
	CPU           *amountRow    `json:"cpu"`
	Memory        *amountRow    `json:"memory"`
	ObjectStore   *amountRow    `json:"object_store"`
	GPU           *gpuTotals    `json:"gpu"`
	RunningJobs   number        `json:"running_jobs"`
	ServeReplicas number        `json:"total_serve_replicas"`
	NodeCounts    *nodeCounts   `json:"node_counts"`
	Nodes         []hardwareRow `json:"nodes"`
}

type gpuTotals struct {
	Total           number `json:"total_gpus"`
	Available       number `json:"available_gpus"`
	MemoryTotal     number `json:"total_memory_bytes"`
	MemoryAvailable number `json:"available_memory_bytes"`
	MaxUtilization  number `json:"max_utilization"`
	AvgUtilization  number `json:"avg_utilization"`
}

type nodeCounts struct {
	Total number `json:"total"`
	Alive number `json:"alive"`
	Dead  number `json:"dead"`
}

type hardwareRow struct {
	nodeRow
	AcceleratorType flexString `json:"accelerator_type"`
	CPU             *amountRow `json:"cpu"`
	Memory          *amountRow `json:"memory"`
	GPUs            []gpuRow   `json:"gpus"`
}

type gpuRow struct {
	Index       number     `json:"index"`
	Name        flexString `json:"name"`
	UUID        flexString `json:"uuid"`
	Utilization number     `json:"utilization_gpu"` // percent
	MemUsed     number     `json:"memory_used"`     // MB
	MemTotal    number     `json:"memory_total"`
}

// whole returns a count; 0 if absent.
func whole(n number) int {
	if i := n.count(); i != nil {
		return *i
	}
	return 0
}

// Resources returns the cluster's hardware. Utilization is read as percent, which is
// what accelerator drivers report. Code 501: this agent is too old to report it; it is
// then not queried again for ten minutes.
func (c *Client) Resources(ctx context.Context) (ray.ClusterResources, error) {
	const op = "get cluster resources"
	raw, err := c.getOptional(ctx, op, "resources/cluster/", "/resources/cluster/", url.Values{"use_cache": {"true"}})
	if err != nil {
		return ray.ClusterResources{}, err
	}
	var out ray.ClusterResources
	skipped := 0
	lost, ok := findOne(raw, func(row resourcesRow) bool {
		ok := !row.At.IsZero() || row.CPU != nil || row.Memory != nil || row.Nodes != nil
		if ok {
			out, skipped = row.resources()
		}
		return ok
	}, "resources")
	if !ok {
		return ray.ClusterResources{}, badResponse(op, "the response has no resources")
	}
	lost.Rows += skipped
	c.count("the cluster's resources", lost)
	return out, nil
}

// resources returns the domain type, and how many nodes were skipped.
func (row resourcesRow) resources() (out ray.ClusterResources, skipped int) {
	out = ray.ClusterResources{
		At: row.At.Time, Stale: row.Stale != nil && *row.Stale, CPU: amountOf(row.CPU), Memory: amountOf(row.Memory), ObjectStore: amountOf(row.ObjectStore),
		RunningJobs: row.RunningJobs.count(), ServeReplicas: row.ServeReplicas.count(),
	}
	if g := row.GPU; g != nil {
		out.GPU = &ray.GPUTotals{Total: g.Total.amountOrNil(), Available: g.Available.amountOrNil(), MemoryTotal: g.MemoryTotal.amountOrNil(),
			MemoryAvailable: g.MemoryAvailable.amountOrNil(), MaxUtilization: g.MaxUtilization.ratio(), AvgUtilization: g.AvgUtilization.ratio()}
	}
	if n := row.NodeCounts; n != nil {
		out.NodeCounts = &ray.NodeCounts{Total: whole(n.Total), Alive: whole(n.Alive), Dead: whole(n.Dead)}
	}
	seen := map[string]bool{}
	for _, row := range row.Nodes {
		n, ok := row.node()
		if !ok || seen[n.ID] {
			skipped++
			continue
		}
		seen[n.ID] = true
		h := ray.NodeHardware{ID: n.ID, Host: n.Host, IP: n.IP, Head: n.Head, State: n.State,
			AcceleratorType: string(row.AcceleratorType), CPU: amountOf(row.CPU), Memory: amountOf(row.Memory)}
		for i, g := range row.GPUs {
			h.GPUs = append(h.GPUs, g.gpu(i))
		}
		out.Nodes = append(out.Nodes, h)
	}
	return out, skipped
}

func (g gpuRow) gpu(place int) ray.GPU {
	out := ray.GPU{Index: place, Name: string(g.Name), UUID: string(g.UUID), Utilization: g.Utilization.ratio()}
	out.MemUsed, out.MemTotal = g.memory()
	if n := g.Index.count(); n != nil {
		out.Index = *n
	}
	return out
}

// GPUStatus returns the agent's summary of its accelerators unchanged: its fields are
// not published. Code 501: this agent is too old to report it. Code 503: the driver
// does not respond.
func (c *Client) GPUStatus(ctx context.Context) (json.RawMessage, error) {
	return c.getOptional(ctx, "get gpu status", "gpu_status/", "/gpu_status/", nil)
}

// Health checks that the agent is healthy.
func (c *Client) Health(ctx context.Context) error { return c.health(ctx, "check health") }

// health accepts any JSON object that is not empty: its fields are not published.
func (c *Client) health(ctx context.Context, op string) error {
	raw, err := c.get(ctx, op, "health/", "/health/", nil)
	if err == nil && (firstByte(raw) != '{' || string(raw) == "{}") {
		return badResponse(op, "the response is not an agent's health: check that the URL is a Synapse agent")
	}
	return err
}

// UnknownSession is the session of every cluster behind an agent: agents report none.
const UnknownSession = ray.UnknownSession

// Version checks that the agent is healthy. An agent reports neither Ray's version nor
// a session: the session is UnknownSession, and the rest is empty.
func (c *Client) Version(ctx context.Context) (ray.Version, error) {
	if err := c.health(ctx, "get version"); err != nil {
		return ray.Version{}, err
	}
	return ray.Version{Session: UnknownSession}, nil
}

// ClusterStatus always returns an error of code 501: agents do not report it.
func (c *Client) ClusterStatus(context.Context) (ray.ClusterStatus, error) {
	return ray.ClusterStatus{}, notReported("get cluster status")
}

// Actors always returns an error of code 501: agents do not report them.
func (c *Client) Actors(context.Context) (ray.StateCounts, error) {
	return ray.StateCounts{}, notReported("count actors")
}

// PlacementGroups always returns an error of code 501: agents do not report them.
func (c *Client) PlacementGroups(context.Context) (ray.StateCounts, error) {
	return ray.StateCounts{}, notReported("count placement groups")
}

func notReported(op string) error {
	return &ray.Error{Op: op, Code: http.StatusNotImplemented, Detail: "Synapse agents do not report it"}
}
