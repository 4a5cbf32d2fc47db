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

// listNodes lists nodes: the head first, then the living by name, then the dead.
func listNodes(ctx context.Context, from nodeLister, f nodeFilter, p printer) error {
	all, err := from.Nodes(ctx)
	if err != nil {
		return err
	}
	var nodes []ray.Node
	for _, n := range all {
		if oneOf(string(n.State), f.states) {
			nodes = append(nodes, n)
		}
	}
	slices.SortStableFunc(nodes, func(a, b ray.Node) int {
		return cmp.Or(trueFirst(a.Head, b.Head), trueFirst(a.State == ray.NodeAlive, b.State == ray.NodeAlive),
			cmp.Compare(nodeName(a), nodeName(b)), cmp.Compare(a.ID, b.ID))
	})
	nodes = cut(p.Console, nodes, f.limit, "nodes")
	t := &table{columns: []column{
		{title: "ID", least: 12, id: true}, {title: "NAME", least: 12}, {title: "IP", spare: 1}, {title: "ROLE", spare: 2}, {title: "STATE"},
		{title: "STARTED", spare: 3}, {title: "CPU", right: true}, {title: "MEMORY", right: true}, {title: "GPU", right: true},
		{title: "STORE", right: true, spare: 4}, {title: "REASON", least: 8},
	}}
	failed := false
	for _, n := range nodes {
		failed = failed || n.StatsUnavailable
		r := readings(n)
		t.add(text(n.ID), text(nodeName(n)), text(n.IP), text(role(n.Head)), state(string(n.State)), text(ago(p.now(), n.Start)),
			text(r.cpu), text(r.memory), text(r.gpu), text(r.store), cell{n.DeathReason, red})
	}
	if failed {
		p.notef("the nodes' readings could not be asked for")
	}
	return p.rows(views(nodes, viewNode), t, none("nodes", len(all)))
}

func trueFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// nodeName is what people call a node: its host, else Ray's name for it, where
// that is more than its address.
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

// nodeReadings are a node's readings in a few characters each; "" where there
// is none.
type nodeReadings struct{ cpu, memory, gpu, store string }

func readings(n ray.Node) nodeReadings {
	s := n.Stats
	if s == nil {
		return nodeReadings{}
	}
	var r nodeReadings
	if !s.CPUUnknown && s.CPUs > 0 {
		r.cpu = percent(s.CPURatio) + " of " + strconv.Itoa(s.CPUs)
	}
	if s.MemTotal > 0 {
		r.memory = bytesText(s.MemUsed) + " of " + bytesText(s.MemTotal)
	}
	if len(s.GPUs) > 0 {
		r.gpu = strconv.Itoa(len(s.GPUs))
	}
	if o := s.ObjectStore; o != nil {
		r.store = bytesText(o.Used) + " of " + bytesText(o.Used+o.Available)
	}
	return r
}

func getNode(ctx context.Context, from nodeGetter, id string, p printer) error {
	n, err := from.Node(ctx, id)
	if ray.Code(err) == http.StatusNotFound {
		n, err = nodeBeginning(ctx, from, id, err)
	}
	if err != nil {
		return err
	}
	return p.print(viewNode(n), func() string {
		now, r := p.now(), readings(n)
		list := []fact{
			{"Node", text(n.ID)}, {"Host", text(n.Host)}, {"Name", text(n.Name)}, {"IP", text(n.IP)}, {"Role", text(role(n.Head))},
			{"State", state(string(n.State))}, {"Started", text(stamp(now, n.Start))}, {"Ended", text(stamp(now, n.End))},
			{"Death reason", cell{n.DeathReason, red}}, {"CPU", text(r.cpu)}, {"Memory", text(r.memory)}, {"Object store", text(r.store)},
		}
		list = append(list, moreReadings(n)...)
		for _, name := range sortedKeys(n.Resources) {
			size := amount(n.Resources[name])
			if name == "memory" || name == "object_store_memory" {
				size = bytesText(n.Resources[name])
			}
			list = append(list, fact{"Resource " + name, text(size)})
		}
		for _, key := range sortedKeys(n.Labels) {
			list = append(list, fact{"Label " + key, text(n.Labels[key])})
		}
		return facts(list, p.Colors)
	})
}

func moreReadings(n ray.Node) []fact {
	s := n.Stats
	if s == nil {
		return nil
	}
	var list []fact
	if !s.WorkersUnknown {
		list = append(list, fact{"Workers", text(strconv.Itoa(s.Workers))})
	}
	if s.HasLoad {
		list = append(list, fact{"Load", text(rounded(s.LoadAvg[0]) + ", " + rounded(s.LoadAvg[1]) + ", " + rounded(s.LoadAvg[2]) + " (1, 5, 15 min)")})
	}
	for _, d := range s.Disks {
		list = append(list, fact{"Disk " + d.Mount, text(bytesText(d.Used) + " of " + bytesText(d.Total))})
	}
	for _, g := range s.GPUs {
		list = append(list, fact{"GPU " + strconv.Itoa(g.Index), text(gpuText(g))})
	}
	return list
}

func gpuText(g ray.GPU) string {
	s := strings.TrimSpace(g.Name + " " + gpuMemory(g.MemUsed, g.MemTotal))
	if g.Utilization != nil {
		s += ", " + percent(*g.Utilization) + " busy"
	}
	return s
}

// gpuMemory is "" where the driver does not tell the memory.
func gpuMemory(used, total float64) string {
	if total <= 0 {
		return ""
	}
	return bytesText(used) + " of " + bytesText(total)
}

// nodeBeginning finds the one node whose id begins so; unknown is the error
// where there is none.
func nodeBeginning(ctx context.Context, from nodeLister, start string, unknown error) (ray.Node, error) {
	nodes, err := from.Nodes(ctx)
	if err != nil {
		return ray.Node{}, err
	}
	return theOne(nodes, "nodes", start, unknown, func(n ray.Node) string { return n.ID })
}

// theOne finds the one thing of a list whose id begins so.
func theOne[T any](list []T, what, start string, unknown error, id func(T) string) (T, error) {
	var found []T
	for _, x := range list {
		if start != "" && strings.HasPrefix(id(x), start) {
			found = append(found, x)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		var zero T
		return zero, unknown
	}
	return found[0], usagef("%d %s have an id that begins with %s: give more of it", len(found), what, start)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
