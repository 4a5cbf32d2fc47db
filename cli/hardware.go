package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"raytap/ray"
)

type resourceReader interface {
	Resources(ctx context.Context) (ray.ClusterResources, error)
}

type acceleratorReader interface {
	resourceReader
	nodeLister
	GPUStatus(ctx context.Context) (json.RawMessage, error)
}

// showResources shows a cluster's hardware as a Synapse agent reports it.
func showResources(ctx context.Context, from resourceReader, p printer) error {
	r, err := from.Resources(ctx)
	if ray.Code(err) == http.StatusNotImplemented {
		return fmt.Errorf("%w (use raytap nodes list for node stats)", err)
	}
	if err != nil {
		return err
	}
	if r.Stale {
		p.infof("the data is stale: the Synapse agent could not refresh it")
	}
	return p.print(viewResources(r), func() string {
		list := []field{
			{"Collected", text(formatTime(p.now(), r.At))},
			{"CPU", text(formatAmount(r.CPU, formatRounded, " cores"))}, {"Memory", text(formatAmount(r.Memory, formatBytes, ""))},
			{"Object store", text(formatAmount(r.ObjectStore, formatBytes, ""))}, {"GPU", text(gpuTotals(r.GPU))},
			{"Running jobs", text(formatCount(r.RunningJobs))}, {"Serve replicas", text(formatCount(r.ServeReplicas))},
		}
		if n := r.NodeCounts; n != nil {
			list = append(list, field{"Nodes", text(fmt.Sprintf("%d (%d alive, %d dead)", n.Total, n.Alive, n.Dead))})
		}
		out := renderFields(list, p.Colors)
		t := &table{columns: []column{
			{title: "NODE", minWidth: 12, noEllipsis: true}, {title: "HOST", minWidth: 12}, {title: "IP", dropOrder: 1}, {title: "ROLE", dropOrder: 3}, {title: "STATE"}, {title: "CPU", alignRight: true},
			{title: "MEMORY", alignRight: true}, {title: "GPU", alignRight: true}, {title: "ACCELERATOR", minWidth: 8, dropOrder: 2},
		}}
		for _, n := range r.Nodes {
			gpus := ""
			if len(n.GPUs) > 0 {
				gpus = strconv.Itoa(len(n.GPUs))
			}
			t.add(text(n.ID), text(n.Host), text(n.IP), text(role(n.Head)), state(string(n.State)), text(usedOf(n.CPU, formatRounded)),
				text(usedOf(n.Memory, formatBytes)), text(gpus), text(n.AcceleratorType))
		}
		if len(t.rows) > 0 {
			out += "\n" + t.render(p.Width, p.Colors)
		}
		return out
	})
}

func usedOf(a *ray.Amount, format func(float64) string) string {
	if a == nil {
		return ""
	}
	return format(a.Used) + " of " + format(a.Total)
}

func formatAmount(a *ray.Amount, format func(float64) string, unit string) string {
	if a == nil {
		return ""
	}
	s := usedOf(a, format) + unit
	if a.Total > 0 {
		s += " (" + formatPercent(a.Used/a.Total) + ")"
	}
	return s
}

func formatCount(n *int) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n)
}

func gpuTotals(g *ray.GPUTotals) string {
	if g == nil || g.Total == nil {
		return ""
	}
	s := formatNumber(*g.Total)
	if g.Available != nil {
		s += ", " + formatNumber(*g.Available) + " available"
	}
	if g.MemoryTotal != nil && g.MemoryAvailable != nil {
		s += "; memory " + formatBytes(*g.MemoryTotal-*g.MemoryAvailable) + " of " + formatBytes(*g.MemoryTotal)
	}
	if g.AvgUtilization != nil {
		s += "; " + formatPercent(*g.AvgUtilization) + " busy on average"
	}
	return s
}

// acceleratorsView is the output of accelerators.
type acceleratorsView struct {
	GPUs   []nodeGPUView   `json:"gpus"`
	TPUs   []nodeTPUView   `json:"tpus,omitempty"`
	Status json.RawMessage `json:"status,omitempty"`
}

// nodeGPUView is one GPU and its node.
type nodeGPUView struct {
	NodeID string `json:"node_id"`
	Host   string `json:"host,omitempty"`
	gpuView
}

// nodeTPUView is one TPU and its node.
type nodeTPUView struct {
	NodeID string `json:"node_id"`
	Host   string `json:"host,omitempty"`
	tpuView
}

// showAccelerators shows the accelerators of all nodes, and the status of a Synapse
// agent, which has no fixed schema.
func showAccelerators(ctx context.Context, from acceleratorReader, p printer) error {
	status, err := from.GPUStatus(ctx)
	if err != nil && ray.Code(err) != http.StatusNotImplemented {
		return err
	}
	gpus, tpus, err := listAccelerators(ctx, from)
	if err != nil {
		return err
	}
	t := &table{columns: []column{
		{title: "NODE", minWidth: 12, noEllipsis: true}, {title: "HOST", minWidth: 12}, {title: "UNIT"}, {title: "NAME", minWidth: 8}, {title: "BUSY", alignRight: true},
		{title: "MEMORY", alignRight: true}, {title: "UUID", minWidth: 8, dropOrder: 1},
	}}
	for _, g := range gpus {
		busy := ""
		if g.Utilization != nil {
			busy = formatPercent(*g.Utilization)
		}
		t.add(text(g.NodeID), text(g.Host), text("GPU "+strconv.Itoa(g.Index)), text(g.Name), text(busy),
			text(gpuMemory(g.MemUsed, g.MemTotal)), text(g.UUID))
	}
	for _, u := range tpus {
		busy := ""
		if share := cmp.Or(u.DutyCycle, u.TensorCore); share != nil {
			busy = formatPercent(*share)
		}
		t.add(text(u.NodeID), text(u.Host), text("TPU "+strconv.Itoa(u.Index)), text(u.Type+" "+u.Topology), text(busy), text(gpuMemory(u.MemUsed, u.MemTotal)), text(u.Name))
	}
	statusOnly := statusFields(status)
	if p.format == formatTable && len(t.rows) == 0 && len(statusOnly) == 0 {
		p.infof("no accelerators found")
		return nil
	}
	return p.print(acceleratorsView{GPUs: gpus, TPUs: tpus, Status: status}, func() string {
		if len(t.rows) == 0 {
			return renderFields(statusOnly, p.Colors)
		}
		return t.render(p.Width, p.Colors)
	})
}

// listAccelerators returns the GPUs of the hardware that a Synapse agent reports, or
// else of the nodes' stats, and the TPUs of the nodes' stats, which a Synapse agent
// does not report.
func listAccelerators(ctx context.Context, from acceleratorReader) (gpus []nodeGPUView, tpus []nodeTPUView, err error) {
	r, err := from.Resources(ctx)
	supported := err == nil
	if !supported && ray.Code(err) != http.StatusNotImplemented {
		return nil, nil, err
	}
	nodes, err := from.Nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	gpus = []nodeGPUView{}
	for _, n := range r.Nodes {
		for _, g := range n.GPUs {
			gpus = append(gpus, nodeGPUView{n.ID, cmp.Or(n.Host, n.IP), gpuView(g)})
		}
	}
	for _, n := range nodes {
		if n.Stats == nil {
			continue
		}
		host := cmp.Or(n.Host, n.IP)
		if !supported {
			for _, g := range n.Stats.GPUs {
				gpus = append(gpus, nodeGPUView{n.ID, host, gpuView(g)})
			}
		}
		for _, t := range n.Stats.TPUs {
			tpus = append(tpus, nodeTPUView{n.ID, host, tpuView(t)})
		}
	}
	return gpus, tpus, nil
}

// statusFields returns the fields of a JSON object without a fixed schema.
func statusFields(status json.RawMessage) []field {
	var fields map[string]json.RawMessage
	if len(status) == 0 || json.Unmarshal(status, &fields) != nil {
		return nil
	}
	var out []field
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		value := string(fields[name])
		var s string
		if json.Unmarshal(fields[name], &s) == nil {
			value = s
		}
		out = append(out, field{name, text(value)})
	}
	return out
}
