package synapse

import (
	"context"

	"raytap/ray"
)

// nodeRow is a node as Ray's State API lists it; an agent may use other names, or
// report less.
type nodeRow struct {
	NodeID    flexString        `json:"node_id"`
	ID        flexString        `json:"id"`
	NodeIP    flexString        `json:"node_ip"`
	IP        flexString        `json:"ip"`
	Name      flexString        `json:"node_name"`
	Host      flexString        `json:"host_name"`
	Hostname  flexString        `json:"hostname"`
	Head      *bool             `json:"is_head_node"`
	State     flexString        `json:"state"`
	Alive     *bool             `json:"alive"`
	Resources floatMap          `json:"resources_total"`
	Labels    map[string]string `json:"labels"`
	Start     flexTime          `json:"start_time_ms"`
	End       flexTime          `json:"end_time_ms"`
}

func (r nodeRow) node() (ray.Node, bool) {
	n := ray.Node{
		ID: firstNonEmpty(r.NodeID, r.ID), IP: firstNonEmpty(r.NodeIP, r.IP), Name: string(r.Name), Host: firstNonEmpty(r.Host, r.Hostname),
		Head: r.Head != nil && *r.Head, State: ray.NodeState(upper(r.State)),
		Labels: nonEmptyMap(r.Labels), Start: r.Start.Time, End: r.End.Time, Resources: r.Resources,
	}
	if n.State == "" && r.Alive != nil {
		n.State = ray.NodeDead
		if *r.Alive {
			n.State = ray.NodeAlive
		}
	}
	if n.State == ray.NodeDead {
		n.Resources = nil
	}
	return n, n.ID != "" && n.State != ""
}

// Nodes lists the nodes, without stats: Resources has them.
func (c *Client) Nodes(ctx context.Context) ([]ray.Node, error) {
	nodes, _, err := getList(ctx, c, "list nodes", "nodes", func(n ray.Node) string { return n.ID }, func(_ string, row nodeRow) (ray.Node, bool) { return row.node() })
	return nodes, err
}

// Node returns one node; an unknown id is an error of code 404.
func (c *Client) Node(ctx context.Context, id string) (ray.Node, error) {
	const op = "get node"
	path, err := itemPath(op, "nodes", id, "")
	if err != nil {
		return ray.Node{}, err
	}
	raw, err := c.get(ctx, op, "nodes/{id}/", path, nil)
	if err != nil {
		return ray.Node{}, err
	}
	var node ray.Node
	if _, ok := findOne(raw, func(row nodeRow) (ok bool) { node, ok = row.node(); return ok }, "node"); !ok {
		return ray.Node{}, badResponse(op, "the response has no node, or not its state")
	}
	return node, nil
}
