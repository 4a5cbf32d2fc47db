package agent

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"raytap/ray"
	"raytap/ray/transport"
)

// What an agent tells in: percent, and MB as Ray means them.
const (
	percent = 0.01
	mib     = 1 << 20
)

// lenient is a value that is left out where it is not what it should be, so that
// the others are kept.
type lenient[T any] struct{ v *T }

func (l *lenient[T]) UnmarshalJSON(b []byte) error {
	var v T
	if l.v = nil; string(b) != "null" && json.Unmarshal(b, &v) == nil {
		l.v = &v
	}
	return nil
}

type amountRow struct {
	Total     number `json:"total"`
	Used      number `json:"used"`
	Available number `json:"available"`
}

type resourcesRow struct {
	At            when                       `json:"collected_at"`
	Stale         lenient[bool]              `json:"stale"`
	CPU           lenient[amountRow]         `json:"cpu"`
	Memory        lenient[amountRow]         `json:"memory"`
	ObjectStore   lenient[amountRow]         `json:"object_store"`
	GPU           lenient[gpuTotals]         `json:"gpu"`
	RunningJobs   number                     `json:"running_jobs"`
	ServeReplicas number                     `json:"total_serve_replicas"`
	NodeCounts    lenient[nodeCounts]        `json:"node_counts"`
	Nodes         lenient[[]json.RawMessage] `json:"nodes"`
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
	AcceleratorType text               `json:"accelerator_type"`
	CPU             lenient[amountRow] `json:"cpu"`
	Memory          lenient[amountRow] `json:"memory"`
	GPUs            lenient[[]gpuRow]  `json:"gpus"`
}

type gpuRow struct {
	Index       number `json:"index"`
	Name        text   `json:"name"`
	UUID        text   `json:"uuid"`
	Utilization number `json:"utilization_gpu"` // percent
	MemUsed     number `json:"memory_used"`     // MB
	MemTotal    number `json:"memory_total"`
}

// Resources gives the cluster's hardware. Utilization is taken for percent, as
// accelerators' drivers tell it. Code 501: this agent is too old to tell it; it
// is then not asked again for ten minutes.
func (c *Client) Resources(ctx context.Context) (ray.ClusterResources, error) {
	const op = "get cluster resources"
	raw, err := c.getNewer(ctx, op, "resources/cluster/", "/resources/cluster/", url.Values{"use_cache": {"true"}})
	if err != nil {
		return ray.ClusterResources{}, err
	}
	var out ray.ClusterResources
	if !findOne(raw, func(row resourcesRow) bool {
		ok := !row.At.IsZero() || row.CPU.v != nil || row.Memory.v != nil || row.Nodes.v != nil
		if ok {
			out = c.resources(row)
		}
		return ok
	}, "resources") {
		return ray.ClusterResources{}, badAnswer(op, "the answer holds no resources")
	}
	return out, nil
}

func (c *Client) resources(row resourcesRow) ray.ClusterResources {
	out := ray.ClusterResources{
		At: row.At.Time, Stale: row.Stale.v != nil && *row.Stale.v, CPU: amountOf(row.CPU), Memory: amountOf(row.Memory), ObjectStore: amountOf(row.ObjectStore),
		RunningJobs: row.RunningJobs.count(), ServeReplicas: row.ServeReplicas.count(),
	}
	if g := row.GPU.v; g != nil {
		out.GPU = &ray.GPUTotals{Total: g.Total.amountOrNil(), Available: g.Available.amountOrNil(), MemoryTotal: g.MemoryTotal.amountOrNil(),
			MemoryAvailable: g.MemoryAvailable.amountOrNil(), MaxUtilization: g.MaxUtilization.ratio(), AvgUtilization: g.AvgUtilization.ratio()}
	}
	if n := row.NodeCounts.v; n != nil {
		out.NodeCounts = &ray.NodeCounts{Total: int(n.Total.value), Alive: int(n.Alive.value), Dead: int(n.Dead.value)}
	}
	if row.Nodes.v == nil {
		return out
	}
	c.left.Rows("nodes of the cluster's resources", eachRow(list{rows: *row.Nodes.v}, func(_ string, row hardwareRow) bool {
		n, ok := row.node()
		if !ok {
			return false
		}
		h := ray.NodeHardware{ID: n.ID, Host: n.Host, IP: n.IP, Head: n.Head, State: n.State,
			AcceleratorType: string(row.AcceleratorType), CPU: amountOf(row.CPU), Memory: amountOf(row.Memory)}
		if row.GPUs.v != nil {
			for i, g := range *row.GPUs.v {
				h.GPUs = append(h.GPUs, g.gpu(i))
			}
		}
		out.Nodes = append(out.Nodes, h)
		return true
	}))
	return out
}

func (g gpuRow) gpu(place int) ray.GPU {
	out := ray.GPU{Index: place, Name: string(g.Name), UUID: string(g.UUID), Utilization: g.Utilization.ratio()}
	out.MemUsed, out.MemTotal = g.memory()
	if g.Index.ok {
		out.Index = int(g.Index.value)
	}
	return out
}

// GPUStatus gives the agent's summary of its accelerators as it sends it: its
// fields are not published. Code 501: this agent is too old to tell it. An
// agent whose driver does not answer says so by code 503.
func (c *Client) GPUStatus(ctx context.Context) (json.RawMessage, error) {
	return c.getNewer(ctx, "get gpu status", "gpu_status/", "/gpu_status/", nil)
}

// Health asks whether the agent is well.
func (c *Client) Health(ctx context.Context) error { return c.health(ctx, "check health") }

// health takes any answer that is no error and no page for one.
func (c *Client) health(ctx context.Context, op string) error {
	res, err := c.t.Do(ctx, transport.Request{Op: op, Endpoint: "health/", Path: "/health/"})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		return badAnswer(op, "the answer is an HTML page: is this a Synapse agent?")
	}
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	return nil
}

// UnknownSession is the session of every cluster behind an agent, which tells none.
const UnknownSession = ray.UnknownSession

// Version asks whether the agent is well. It tells neither Ray's version nor a
// session: the session is UnknownSession, and the rest is empty.
func (c *Client) Version(ctx context.Context) (ray.Version, error) {
	if err := c.health(ctx, "get version"); err != nil {
		return ray.Version{}, err
	}
	return ray.Version{Session: UnknownSession}, nil
}

// ClusterStatus is what agents do not tell: always an error of code 501.
func (c *Client) ClusterStatus(context.Context) (ray.ClusterStatus, error) {
	return ray.ClusterStatus{}, notTold("get cluster status")
}

// Actors is what agents do not tell: always an error of code 501.
func (c *Client) Actors(context.Context) (ray.StateCounts, error) {
	return ray.StateCounts{}, notTold("count actors")
}

// PlacementGroups is what agents do not tell: always an error of code 501.
func (c *Client) PlacementGroups(context.Context) (ray.StateCounts, error) {
	return ray.StateCounts{}, notTold("count placement groups")
}

func notTold(op string) error {
	return &ray.Error{Op: op, Code: http.StatusNotImplemented, Detail: "a Synapse agent does not tell it"}
}
