package dashboard

import (
	"context"
	"time"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

// namesTTL is how old the names of the node list may be before an unknown name makes
// ClusterStatus request that list again.
const namesTTL = time.Minute

// statusResponse is the clusterStatus of /api/cluster_status; null until the autoscaler
// has written its first one. The keys of objects are camel-cased, except in an object
// within a list within a list: resourceDemand, pgDemand and nodeTypes have the real
// names (2.60.0, 2.40.0, 2.9.3).
type statusResponse struct {
	Time number `json:"time"`
	Load struct {
		Usage     map[string][]number             `json:"usage"` // name -> used, total
		ByNode    map[string]map[string][]number  `json:"usageByNode"`
		Demand    []pairCount[map[string]float64] `json:"resourceDemand"`
		PGs       []pairCount[pgShape]            `json:"pgDemand"`
		NodeTypes []pairCount[map[string]float64] `json:"nodeTypes"`
	} `json:"loadMetricsReport"`
}

type pgShape struct {
	Bundles []pairCount[map[string]float64] `json:"bundles"`
}

// ClusterStatus returns the autoscaler's view: usage and pending demand. The zero
// value: Ray has not written a status yet. With autoscaler v2 it never writes one,
// and its report as text is used instead: see statusFromReport.
//
// The names under which placement groups reserve resources (CPU_group_<id>,
// bundle_group_<id>) are not resources of the cluster: their usage is already counted
// under CPU. They are omitted from the usage and not counted in Unmapped, and in
// Pending a task that waits within a group waits for CPU.
func (c *Client) ClusterStatus(ctx context.Context) (ray.ClusterStatus, error) {
	const op = "get cluster status"
	var status *statusResponse
	request := transport.Request{Op: op, Endpoint: "/api/cluster_status", Path: "/api/cluster_status"}
	err := c.call(ctx, "cluster status", request, func(d *pyjson.Decoder) error {
		return c.envelope(op, d, within("clusterStatus", func(d *pyjson.Decoder) error {
			err := d.Decode(&status)
			if err == nil && status != nil && status.Load.Usage == nil {
				return &pyjson.ShapeError{Want: "usage in its loadMetricsReport"}
			}
			return err
		}))
	})
	if err != nil {
		return ray.ClusterStatus{}, err
	}
	if status == nil {
		return c.statusFromReport(ctx)
	}
	load := status.Load
	names := c.knownNames()
	for _, node := range load.NodeTypes {
		for name := range node.Value {
			names.add(name)
		}
	}
	if c.namesExpired() && anyUnknown(load.Usage, names) {
		// The node list has the name of every resource; if it fails, Unmapped shows it.
		if _, err := c.stateNodes(ctx); err == nil {
			for camel, real := range c.knownNames() {
				if real != "" {
					names.add(real)
				} else {
					names[camel] = ""
				}
			}
		}
	}
	out := ray.ClusterStatus{Autoscaler: ray.AutoscalerV1, At: status.Time.seconds(), ByNode: map[string]map[string]ray.Usage{}}
	unmapped := map[string]bool{}
	out.Usage = usage(load.Usage, names, unmapped)
	for id, used := range load.ByNode {
		out.ByNode[id] = usage(used, names, unmapped)
	}
	out.Unmapped = len(unmapped)
	out.Pending = demands(load.Demand)
	for _, pg := range load.PGs {
		for _, d := range demands(pg.Value.Bundles) {
			d.Count *= pg.Count
			out.PGs = append(out.PGs, d)
		}
	}
	return out, nil
}

// knownNames returns the names of the last node list.
func (c *Client) knownNames() nameMap {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := make(nameMap, len(c.names))
	for name := range c.names {
		m.add(name)
	}
	return m
}

func (c *Client) namesExpired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.namesAt) > namesTTL
}

func anyUnknown(used map[string][]number, names nameMap) bool {
	for camel := range used {
		if _, seen := names[camel]; !seen && !isGroupResource(camel) {
			return true
		}
	}
	return false
}

// usage maps camel-cased names to real ones and collects the unknown ones in unmapped.
func usage(used map[string][]number, names nameMap, unmapped map[string]bool) map[string]ray.Usage {
	out := make(map[string]ray.Usage, len(used))
	for camel, pair := range used {
		real := names.real(camel)
		switch {
		case isGroupResource(camel) || isGroupResource(real):
		case real == "" || len(pair) < 2 || !pair[0].ok || !pair[1].ok:
			unmapped[camel] = true
		default:
			out[real] = ray.Usage{Used: pair[0].value, Total: pair[1].value}
		}
	}
	return out
}

// demands merges equal sets of resources, with placement group names reduced to the
// resource.
func demands(shapes []pairCount[map[string]float64]) []ray.Demand {
	var out []ray.Demand
	place := map[string]int{}
	for _, s := range shapes {
		shape := make(map[string]float64, len(s.Value))
		for name, amount := range s.Value {
			if m := groupName.FindStringSubmatch(name); m != nil {
				name = m[1]
			}
			// A bundle and its group list the same amount under two names.
			if name != groupMarker {
				shape[name] = max(shape[name], amount)
			}
		}
		if len(shape) == 0 {
			continue // a task that waits for its placement group to be ready
		}
		key := shapeKey(shape)
		if i, seen := place[key]; seen {
			out[i].Count += s.Count
			continue
		}
		place[key] = len(out)
		out = append(out, ray.Demand{Resources: shape, Count: s.Count})
	}
	return out
}
