package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"raytap/ray"
)

type resourceReader interface {
	Resources(ctx context.Context) (ray.ClusterResources, error)
}

type gpuReader interface {
	resourceReader
	nodeLister
	GPUStatus(ctx context.Context) (json.RawMessage, error)
}

// showResources shows a cluster's hardware as an agent tells it.
func showResources(ctx context.Context, from resourceReader, p printer) error {
	r, err := from.Resources(ctx)
	if ray.Code(err) == http.StatusNotImplemented {
		return fmt.Errorf("%w (raytap nodes list shows readings)", err)
	}
	if err != nil {
		return err
	}
	if r.Stale {
		p.notef("the agent could not collect these anew: they are old")
	}
	return p.print(viewResources(r), func() string {
		list := []fact{
			{"Collected", text(stamp(p.now(), r.At))},
			{"CPU", text(amounts(r.CPU, rounded, " cores"))}, {"Memory", text(amounts(r.Memory, bytesText, ""))},
			{"Object store", text(amounts(r.ObjectStore, bytesText, ""))}, {"GPU", text(gpuTotals(r.GPU))},
			{"Running jobs", text(count(r.RunningJobs))}, {"Serve replicas", text(count(r.ServeReplicas))},
		}
		if n := r.NodeCounts; n != nil {
			list = append(list, fact{"Nodes", text(fmt.Sprintf("%d, of which %d alive and %d dead", n.Total, n.Alive, n.Dead))})
		}
		out := facts(list, p.Colors)
		t := &table{columns: []column{
			{title: "NODE", least: 12, id: true}, {title: "HOST", least: 12}, {title: "IP", spare: 1}, {title: "ROLE", spare: 3}, {title: "STATE"}, {title: "CPU", right: true},
			{title: "MEMORY", right: true}, {title: "GPU", right: true}, {title: "ACCELERATOR", least: 8, spare: 2},
		}}
		for _, n := range r.Nodes {
			gpus := ""
			if len(n.GPUs) > 0 {
				gpus = strconv.Itoa(len(n.GPUs))
			}
			t.add(text(n.ID), text(n.Host), text(n.IP), text(role(n.Head)), state(string(n.State)), text(usedOf(n.CPU, rounded)),
				text(usedOf(n.Memory, bytesText)), text(gpus), text(n.AcceleratorType))
		}
		if len(t.rows) > 0 {
			out += "\n" + t.render(p.Width, p.Colors)
		}
		return out
	})
}

func usedOf(a *ray.Amount, say func(float64) string) string {
	if a == nil {
		return ""
	}
	return say(a.Used) + " of " + say(a.Total)
}

func amounts(a *ray.Amount, say func(float64) string, unit string) string {
	if a == nil {
		return ""
	}
	s := usedOf(a, say) + unit
	if a.Total > 0 {
		s += " (" + percent(a.Used/a.Total) + ")"
	}
	return s
}

func count(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func gpuTotals(g *ray.GPUTotals) string {
	if g == nil || g.Total == nil {
		return ""
	}
	s := amount(*g.Total)
	if g.Available != nil {
		s += ", of which " + amount(*g.Available) + " available"
	}
	if g.MemoryTotal != nil && g.MemoryAvailable != nil {
		s += "; memory " + bytesText(*g.MemoryTotal-*g.MemoryAvailable) + " of " + bytesText(*g.MemoryTotal)
	}
	if g.AvgUtilization != nil {
		s += "; " + percent(*g.AvgUtilization) + " busy on average"
	}
	return s
}

// gpusView is what gpus gives.
type gpusView struct {
	GPUs   []nodeGPUView   `json:"gpus"`
	TPUs   []nodeTPUView   `json:"tpus,omitempty"`
	Status json.RawMessage `json:"status,omitempty"`
}

// nodeGPUView is one accelerator and where it is.
type nodeGPUView struct {
	NodeID string `json:"node_id"`
	Host   string `json:"host,omitempty"`
	gpuView
}

// nodeTPUView is one TPU and where it is.
type nodeTPUView struct {
	NodeID string `json:"node_id"`
	Host   string `json:"host,omitempty"`
	tpuView
}

// allTPUs lists the TPUs of the nodes' readings; agents tell none.
func allTPUs(ctx context.Context, from nodeLister) ([]nodeTPUView, error) {
	nodes, err := from.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	var out []nodeTPUView
	for _, n := range nodes {
		if n.Stats == nil {
			continue
		}
		for _, t := range n.Stats.TPUs {
			out = append(out, nodeTPUView{n.ID, cmp.Or(n.Host, n.IP), tpuView(t)})
		}
	}
	return out, nil
}

// showGPUs shows the accelerators of all nodes, and what an agent says of them
// in a form of its own.
func showGPUs(ctx context.Context, from gpuReader, p printer) error {
	status, err := from.GPUStatus(ctx)
	if err != nil && ray.Code(err) != http.StatusNotImplemented {
		return err
	}
	list, err := allGPUs(ctx, from)
	if err != nil {
		return err
	}
	t := &table{columns: []column{
		{title: "NODE", least: 12, id: true}, {title: "HOST", least: 12}, {title: "UNIT"}, {title: "NAME", least: 8}, {title: "BUSY", right: true},
		{title: "MEMORY", right: true}, {title: "UUID", least: 8, spare: 1},
	}}
	for _, g := range list {
		busy := ""
		if g.Utilization != nil {
			busy = percent(*g.Utilization)
		}
		t.add(text(g.NodeID), text(g.Host), text("GPU "+strconv.Itoa(g.Index)), text(g.Name), text(busy),
			text(gpuMemory(g.MemUsed, g.MemTotal)), text(g.UUID))
	}
	tpus, err := allTPUs(ctx, from)
	if err != nil {
		return err
	}
	for _, u := range tpus {
		busy := ""
		if share := cmp.Or(u.DutyCycle, u.TensorCore); share != nil {
			busy = percent(*share)
		}
		t.add(text(u.NodeID), text(u.Host), text("TPU "+strconv.Itoa(u.Index)), text(u.Type+" "+u.Topology), text(busy), text(gpuMemory(u.MemUsed, u.MemTotal)), text(u.Name))
	}
	said := statusFacts(status)
	if p.form == formTable && len(t.rows) == 0 && len(said) == 0 {
		p.notef("no accelerators are known of this cluster")
		return nil
	}
	return p.print(gpusView{GPUs: list, TPUs: tpus, Status: status}, func() string {
		if len(t.rows) == 0 {
			return facts(said, p.Colors)
		}
		return t.render(p.Width, p.Colors)
	})
}

// allGPUs lists the accelerators of the hardware that an agent tells, else of
// the nodes' readings.
func allGPUs(ctx context.Context, from gpuReader) ([]nodeGPUView, error) {
	out := []nodeGPUView{}
	r, err := from.Resources(ctx)
	switch {
	case err == nil:
		for _, n := range r.Nodes {
			for _, g := range n.GPUs {
				out = append(out, nodeGPUView{n.ID, cmp.Or(n.Host, n.IP), gpuView(g)})
			}
		}
		return out, nil
	case ray.Code(err) != http.StatusNotImplemented:
		return nil, err
	}
	nodes, err := from.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.Stats == nil {
			continue
		}
		for _, g := range n.Stats.GPUs {
			out = append(out, nodeGPUView{n.ID, cmp.Or(n.Host, n.IP), gpuView(g)})
		}
	}
	return out, nil
}

// statusFacts makes facts of an object whose fields nobody has written down.
func statusFacts(status json.RawMessage) []fact {
	var fields map[string]json.RawMessage
	if len(status) == 0 || json.Unmarshal(status, &fields) != nil {
		return nil
	}
	var out []fact
	for _, name := range sortedKeys(fields) {
		value := string(fields[name])
		var s string
		if json.Unmarshal(fields[name], &s) == nil {
			value = s
		}
		out = append(out, fact{name, text(value)})
	}
	return out
}
