package dashboard

import (
	"context"
	"net/url"
	"sort"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

// maxStatsAge is how long a node's stats may stay unchanged before they are omitted:
// node agents report every 5 s, and a dead agent's last stats stay in the response
// (2.60.0). See statsTracker.
const maxStatsAge = 60 * time.Second

// nodeRow is a node of the State API, with the real resource names.
type nodeRow struct {
	ID           string             `json:"node_id"`
	IP           *string            `json:"node_ip"`
	Head         bool               `json:"is_head_node"`
	State        string             `json:"state"`
	StateMessage *string            `json:"state_message"`
	Name         *string            `json:"node_name"`
	Resources    map[string]float64 `json:"resources_total"`
	Labels       map[string]string  `json:"labels"`
	Start        number             `json:"start_time_ms"`
	End          number             `json:"end_time_ms"` // 0 while alive
}

// summaryRow is a node of the dashboard's node summary. Its resource names are
// camel-cased (2.60.0) and therefore not read.
type summaryRow struct {
	Now     number             `json:"now"` // seconds; absent until the agent reported
	Host    *string            `json:"hostname"`
	CPU     number             `json:"cpu"` // percent
	CPUs    []number           `json:"cpus"`
	Mem     []number           `json:"mem"` // total, available, percent, used
	Disk    map[string]diskRow `json:"disk"`
	Load    []loadRow          `json:"loadAvg"` // [1, 5, 15 min], the same per CPU
	Network []number           `json:"network"` // sent, received
	GPUs    []gpuRow           `json:"gpus"`
	TPUs    []tpuRow           `json:"tpus"` // since Ray 2.53
	Raylet  struct {
		ID          string  `json:"nodeId"`
		State       string  `json:"state"`
		Head        bool    `json:"isHeadNode"`
		Socket      string  `json:"rayletSocketName"`
		TempDir     string  `json:"tempDir"` // where the sessions are; absent before Ray 2.60
		StoreUsed   number  `json:"objectStoreUsedMemory"`
		StoreFree   number  `json:"objectStoreAvailableMemory"`
		Workers     number  `json:"numWorkers"`
		AgentPort   number  `json:"dashboardAgentListenPort"`
		Host        *string `json:"nodeManagerHostname"`
		DeathReport *struct {
			Reason string `json:"reason"`
		} `json:"deathInfo"`
	} `json:"raylet"`
}

// loadRow is a list of load averages.
type loadRow []number

// ReadJSON reads the list.
func (l *loadRow) ReadJSON(d *pyjson.Decoder) error { return d.Decode((*[]number)(l)) }

// Scalar keeps the place of an invalid element.
func (loadRow) Scalar() {}

type diskRow struct {
	Total number `json:"total"`
	Used  number `json:"used"`
	Free  number `json:"free"`
}

// gpuRow is read from Ray's source (2.60.0), not measured. Memory is in MiB.
type gpuRow struct {
	Index       number  `json:"index"`
	Name        *string `json:"name"`
	UUID        *string `json:"uuid"`
	Utilization number  `json:"utilizationGpu"` // percent or null
	MemUsed     number  `json:"memoryUsed"`
	MemTotal    number  `json:"memoryTotal"`
}

// Nodes lists the nodes, including dead ones, with the current stats of the live
// ones.
//
// The list is built from two responses. If only the request for the stats fails,
// the nodes have no stats and no death reasons, StatsUnavailable is set on each, and
// the failure is logged.
func (c *Client) Nodes(ctx context.Context) ([]ray.Node, error) {
	nodes, err := c.stateNodes(ctx)
	if err != nil {
		return nil, err
	}
	summary, err := c.nodeSummary(ctx, "read node summary")
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		c.partial.Warn("Node stats request failed", logrus.Fields{"error": err.Error()})
		for i := range nodes {
			nodes[i].StatsUnavailable = true
		}
		return nodes, nil
	}
	c.partial.AddRows("mounts of nodes", summary.fill(nodes, c.statsTracker.observe(summary.rows)))
	return nodes, nil
}

// Node returns one node with its stats; an unknown id is an error of code 404. It
// lists all nodes: Ray's response for one node has less.
func (c *Client) Node(ctx context.Context, id string) (ray.Node, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return ray.Node{}, err
	}
	for _, n := range nodes {
		if n.ID == id {
			return n, nil
		}
	}
	return ray.Node{}, notFound("get node", "there is no node with this id")
}

// stateNodes lists the nodes of the State API and caches their resource names.
func (c *Client) stateNodes(ctx context.Context) ([]ray.Node, error) {
	nodes := []ray.Node{}
	names, totals, seen := map[string]bool{}, map[string]float64{}, distinct{}
	q := listQuery(maxRows)
	q.Set("detail", "1")
	counts, err := stateRows(ctx, c, "list nodes", "nodes", q, func(row nodeRow) bool {
		n := row.node()
		if n.ID == "" || n.State == "" || !seen.first(n.ID) {
			return false
		}
		for name, total := range n.Resources {
			names[name] = true
			totals[name] += total
		}
		nodes = append(nodes, n)
		return true
	})
	if err != nil {
		return nil, err
	}
	if counts.truncated() {
		c.partial.Warn("Node list is truncated by Ray", logrus.Fields{"total": counts.total, "rows": counts.received})
	}
	c.mu.Lock()
	c.names, c.totals, c.namesAt = names, totals, time.Now()
	c.mu.Unlock()
	return nodes, nil
}

func (r nodeRow) node() ray.Node {
	n := ray.Node{
		ID: r.ID, IP: deref(r.IP), Name: deref(r.Name), Head: r.Head, State: ray.NodeState(upper(r.State)),
		Labels: r.Labels, Start: r.Start.millis(), End: r.End.millis(),
	}
	if n.State != ray.NodeAlive {
		return n
	}
	n.Resources = make(map[string]float64, len(r.Resources))
	for name, total := range r.Resources {
		if !isGroupResource(name) {
			n.Resources[name] = total
		}
	}
	return n
}

// nodeSummary is the response of /nodes?view=summary.
type nodeSummary struct {
	rows []summaryRow
	// logical is the resource usage of each node as text, by node id; with autoscaler
	// v2 the cluster status does not have it.
	logical map[string]string
}

func (c *Client) nodeSummary(ctx context.Context, op string) (nodeSummary, error) {
	var s nodeSummary
	seen := distinct{}
	request := transport.Request{Op: op, Endpoint: "/nodes", Path: "/nodes", Query: url.Values{"view": {"summary"}}, MaxBody: maxSummary}
	err := c.call(ctx, "node summary", request, func(d *pyjson.Decoder) error {
		found := false
		err := c.envelope(op, d, func(d *pyjson.Decoder) error {
			return eachKey(d, map[string]func(*pyjson.Decoder) error{
				"nodeLogicalResources": into(&s.logical),
				"summary": func(d *pyjson.Decoder) error {
					found = true
					_, err := eachRow(d, func(row summaryRow) bool {
						ok := row.Raylet.ID != "" && seen.first(row.Raylet.ID)
						if ok {
							s.rows = append(s.rows, row)
						}
						return ok
					})
					return err
				},
			})
		})
		if err == nil && !found {
			return &pyjson.ShapeError{Want: "summary"}
		}
		return err
	})
	return s, err
}

// fill adds the summary's data to the nodes; current has the nodes whose stats are
// current. It returns how many mounts were skipped.
func (s nodeSummary) fill(nodes []ray.Node, current map[string]bool) (unnamed int) {
	byID := make(map[string]*summaryRow, len(s.rows))
	for i := range s.rows {
		byID[s.rows[i].Raylet.ID] = &s.rows[i]
	}
	for i := range nodes {
		n := &nodes[i]
		row := byID[n.ID]
		if row == nil {
			continue
		}
		if n.Host = deref(row.Host); n.Host == "" {
			n.Host = deref(row.Raylet.Host)
		}
		if n.State == ray.NodeDead && row.Raylet.DeathReport != nil {
			n.DeathReason = upper(row.Raylet.DeathReport.Reason)
		}
		// The two responses are of different times: a node must be alive in both.
		if n.State == ray.NodeAlive {
			n.Usage = nodeUsage(s.logical[n.ID], n.Resources)
		}
		if current[n.ID] && n.State == ray.NodeAlive && ray.NodeState(upper(row.Raylet.State)) == ray.NodeAlive {
			var without int
			n.Stats, without = row.stats()
			unnamed += without
		}
	}
	return unnamed
}

// stats returns the stats, or nil if one is missing that every node has, and how many
// mounts were skipped because their names are not known.
func (r *summaryRow) stats() (s *ray.NodeStats, unnamed int) {
	if !r.CPU.ok || len(r.CPUs) < 1 || len(r.Mem) < 4 || !r.Mem[0].ok || !r.Mem[1].ok || !r.Mem[3].ok {
		return nil, 0
	}
	s = &ray.NodeStats{At: r.Now.seconds()}
	if ratio := r.CPU.percent(); ratio != nil {
		s.CPURatio = *ratio
	} else {
		s.CPUUnknown = true
	}
	s.CPUs, _ = r.CPUs[0].count()
	if port, ok := r.Raylet.AgentPort.count(); ok {
		s.DashboardAgent = port
	}
	r.memory(s)
	// Ray omits a count of 0 (2.60.0), and also every count until the raylet has
	// reported, which the object store shows.
	workers, ok := r.Raylet.Workers.count()
	if s.WorkersUnknown = !ok && (r.Raylet.Workers.ok || s.ObjectStore == nil); ok {
		s.Workers = workers
	}
	names := r.mountNames()
	for sent, d := range r.Disk {
		if !d.valid() {
			continue
		}
		real, ok := mountName(sent, names)
		if !ok {
			unnamed++
			continue
		}
		s.Disks = append(s.Disks, ray.Disk{Mount: real, Total: d.Total.value, Used: d.Used.value, Free: d.Free.value})
	}
	sort.Slice(s.Disks, func(i, j int) bool { return s.Disks[i].Mount < s.Disks[j].Mount })
	if len(r.Load) > 0 && len(r.Load[0]) >= 3 {
		load := r.Load[0]
		s.HasLoad = true
		for i := range s.LoadAvg {
			s.LoadAvg[i] = load[i].value
			s.HasLoad = s.HasLoad && load[i].ok && load[i].value >= 0
		}
	}
	if len(r.Network) >= 2 {
		sent, ok1 := r.Network[0].bytes()
		received, ok2 := r.Network[1].bytes()
		if ok1 && ok2 && sent+received > 0 {
			s.NetworkSent, s.NetworkRecv, s.HasNetwork = sent, received, true
		}
	}
	for i, g := range r.GPUs {
		s.GPUs = append(s.GPUs, g.gpu(i))
	}
	for i, t := range r.TPUs {
		s.TPUs = append(s.TPUs, t.tpu(i))
	}
	return s, unnamed
}

// memory sets the stats of the node's memory and of its object store.
func (r *summaryRow) memory(s *ray.NodeStats) {
	total, ok1 := r.Mem[0].bytes()
	available, ok2 := r.Mem[1].bytes()
	used, ok3 := r.Mem[3].bytes()
	if ok1 && ok2 && ok3 && used > 0 { // 0 is a sentinel: a running raylet uses memory
		s.MemTotal, s.MemAvailable, s.MemUsed = total, available, used
	}
	storeUsed, ok1 := r.Raylet.StoreUsed.bytes()
	storeFree, ok2 := r.Raylet.StoreFree.bytes()
	if ok1 && ok2 && storeUsed+storeFree > 0 { // both are 0 until the raylet has reported
		s.ObjectStore = &ray.ObjectStore{Used: storeUsed, Available: storeFree}
	}
}

func (g gpuRow) gpu(place int) ray.GPU {
	const mib = 1 << 20
	out := ray.GPU{Index: place, Name: deref(g.Name), UUID: deref(g.UUID), Utilization: g.Utilization.percent()}
	if index, ok := g.Index.count(); ok {
		out.Index = index
	}
	used, ok1 := g.MemUsed.bytes()
	total, ok2 := g.MemTotal.bytes()
	if ok1 && ok2 {
		out.MemUsed, out.MemTotal = used*mib, total*mib
	}
	return out
}
