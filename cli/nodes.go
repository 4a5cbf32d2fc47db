package cli

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"raytap/ray"
)

type nodeLister interface {
	Nodes(ctx context.Context) ([]ray.Node, error)
}

type nodeGetter interface {
	nodeLister
	Node(ctx context.Context, id string) (ray.Node, error)
}

type nodeFilter struct {
	states []string
	limit  int
}

// listNodes lists nodes: the head node first, then live nodes by name, then dead nodes.
func listNodes(ctx context.Context, from nodeLister, f nodeFilter, p printer) error {
	all, err := from.Nodes(ctx)
	if err != nil {
		return err
	}
	var nodes []ray.Node
	for _, n := range all {
		if containsFold(f.states, string(n.State)) {
			nodes = append(nodes, n)
		}
	}
	slices.SortStableFunc(nodes, func(a, b ray.Node) int {
		return cmp.Or(trueFirst(a.Head, b.Head), trueFirst(a.State == ray.NodeAlive, b.State == ray.NodeAlive),
			cmp.Compare(nodeName(a), nodeName(b)), cmp.Compare(a.ID, b.ID))
	})
	nodes = limitRows(p.Console, nodes, f.limit, "nodes")
	t := &table{columns: []column{
		{title: "ID", minWidth: 12, noEllipsis: true}, {title: "NAME", minWidth: 12}, {title: "IP", dropOrder: 1}, {title: "ROLE", dropOrder: 2}, {title: "STATE"},
		{title: "STARTED", dropOrder: 3}, {title: "CPU", alignRight: true}, {title: "MEMORY", alignRight: true}, {title: "GPU", alignRight: true},
		{title: "STORE", alignRight: true, dropOrder: 4}, {title: "REASON", minWidth: 8},
	}}
	unavailable := false
	for _, n := range nodes {
		unavailable = unavailable || n.StatsUnavailable
		s := summarize(n)
		t.add(text(n.ID), text(nodeName(n)), text(n.IP), text(role(n.Head)), state(string(n.State)), text(formatAge(p.now(), n.Start)),
			text(s.cpu), text(s.memory), text(s.gpu), text(s.store), cell{n.DeathReason, red})
	}
	if unavailable {
		p.infof("node stats are unavailable")
	}
	return p.printTable(views(nodes, viewNode), t, emptyMessage("nodes", len(all)))
}

// trueFirst compares two booleans so that true sorts first.
func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// nodeName returns a node's host name, or else Ray's name for it unless that is only
// its address.
func nodeName(n ray.Node) string {
	if n.Host != "" || n.Name == n.IP {
		return n.Host
	}
	return n.Name
}

func role(head bool) string {
	if head {
		return "head"
	}
	return "worker"
}

// nodeSummary has a node's stats in a few characters each; "" if unknown.
type nodeSummary struct{ cpu, memory, gpu, store string }

func summarize(n ray.Node) nodeSummary {
	s := n.Stats
	if s == nil {
		return nodeSummary{}
	}
	var r nodeSummary
	if !s.CPUUnknown && s.CPUs > 0 {
		r.cpu = formatPercent(s.CPURatio) + " of " + strconv.Itoa(s.CPUs)
	}
	if s.MemTotal > 0 {
		r.memory = formatBytes(s.MemUsed) + " of " + formatBytes(s.MemTotal)
	}
	if len(s.GPUs) > 0 {
		r.gpu = strconv.Itoa(len(s.GPUs))
	}
	if o := s.ObjectStore; o != nil {
		r.store = formatBytes(o.Used) + " of " + formatBytes(o.Used+o.Available)
	}
	return r
}

func getNode(ctx context.Context, from nodeGetter, id string, p printer) error {
	n, err := from.Node(ctx, id)
	if ray.Code(err) == http.StatusNotFound {
		n, err = nodeByPrefix(ctx, from, id, err)
	}
	if err != nil {
		return err
	}
	return p.print(viewNode(n), func() string {
		now, s := p.now(), summarize(n)
		list := []field{
			{"Node", text(n.ID)}, {"Host", text(n.Host)}, {"Name", text(n.Name)}, {"IP", text(n.IP)}, {"Role", text(role(n.Head))},
			{"State", state(string(n.State))}, {"Started", text(formatTime(now, n.Start))}, {"Ended", text(formatTime(now, n.End))},
			{"Death reason", cell{n.DeathReason, red}}, {"CPU", text(s.cpu)}, {"Memory", text(s.memory)}, {"Object store", text(s.store)},
		}
		list = append(list, statsFields(n)...)
		for _, name := range slices.Sorted(maps.Keys(n.Resources)) {
			size := formatNumber(n.Resources[name])
			if name == "memory" || name == "object_store_memory" {
				size = formatBytes(n.Resources[name])
			}
			list = append(list, field{"Resource " + name, text(size)})
		}
		for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
			list = append(list, field{"Label " + key, text(n.Labels[key])})
		}
		return renderFields(list, p.Colors)
	})
}

func statsFields(n ray.Node) []field {
	s := n.Stats
	if s == nil {
		return nil
	}
	var list []field
	if !s.WorkersUnknown {
		list = append(list, field{"Workers", text(strconv.Itoa(s.Workers))})
	}
	if s.HasLoad {
		list = append(list, field{"Load", text(formatRounded(s.LoadAvg[0]) + ", " + formatRounded(s.LoadAvg[1]) + ", " + formatRounded(s.LoadAvg[2]) + " (1, 5, 15 min)")})
	}
	for _, d := range s.Disks {
		list = append(list, field{"Disk " + d.Mount, text(formatBytes(d.Used) + " of " + formatBytes(d.Total))})
	}
	for _, g := range s.GPUs {
		list = append(list, field{"GPU " + strconv.Itoa(g.Index), text(gpuText(g))})
	}
	return list
}

func gpuText(g ray.GPU) string {
	s := strings.TrimSpace(g.Name + " " + gpuMemory(g.MemUsed, g.MemTotal))
	if g.Utilization != nil {
		s += ", " + formatPercent(*g.Utilization) + " busy"
	}
	return s
}

// gpuMemory returns "" if the driver does not report the memory.
func gpuMemory(used, total float64) string {
	if total <= 0 {
		return ""
	}
	return formatBytes(used) + " of " + formatBytes(total)
}

// nodeByPrefix returns the only node whose ID begins with prefix, or notFound if
// there is none.
func nodeByPrefix(ctx context.Context, from nodeLister, prefix string, notFound error) (ray.Node, error) {
	nodes, err := from.Nodes(ctx)
	if err != nil {
		return ray.Node{}, err
	}
	return exactlyOne(nodes, "nodes", prefix, notFound, func(n ray.Node) string { return n.ID })
}

// exactlyOne returns the only element whose ID begins with prefix, or notFound if there is none.
func exactlyOne[T any](list []T, what, prefix string, notFound error, id func(T) string) (T, error) {
	var found []T
	for _, x := range list {
		if prefix != "" && strings.HasPrefix(id(x), prefix) {
			found = append(found, x)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		var zero T
		return zero, notFound
	}
	return found[0], usagef("ID prefix %s matches %d %s: use a longer prefix", prefix, len(found), what)
}
