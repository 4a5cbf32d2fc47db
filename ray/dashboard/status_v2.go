package dashboard

import (
	"context"
	"net/url"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

// groupsTTL is how long the listed demand of placement groups is valid: the list
// blocks Ray's State API worker, like the collector's other lists.
const groupsTTL = 29 * time.Second

// statusFromReport returns the status from the report of autoscaler v2. The zero
// value: there is no report; the cluster has autoscaler v1 before its first status.
//
// Demand is as exact as with v1, whose status has the same source (the loads that
// raylets report). Totals of memory are those of the node list; used memory is
// rounded to a hundredth of its unit. The report has no usage by node: that is in the
// node summary, see Nodes. The request costs Ray 8 ms of CPU, twice as much as the
// plain status (2.60.0, one node); Ray's own web page sends it every few seconds.
func (c *Client) statusFromReport(ctx context.Context) (ray.ClusterStatus, error) {
	const op = "get cluster status as text"
	var text string
	request := transport.Request{Op: op, Endpoint: "/api/cluster_status", Path: "/api/cluster_status", Query: url.Values{"format": {"1"}}}
	err := c.call(ctx, "cluster status", request, func(d *pyjson.Decoder) error {
		return c.envelope(op, d, within("clusterStatus", into(&text)))
	})
	if err != nil {
		return ray.ClusterStatus{}, err
	}
	report, ok := parseReport(text)
	if !ok {
		return ray.ClusterStatus{}, nil
	}
	if report.skipped > 0 {
		c.partial.AddRows("cluster status as text", report.skipped)
	}
	if c.namesExpired() {
		_, _ = c.stateNodes(ctx) // without it memory is rounded
	}
	out := ray.ClusterStatus{Autoscaler: ray.AutoscalerV2, Usage: exactUsage(report.usage, c.knownTotals()), Pending: report.pending, PGs: report.pgs}
	if report.pgsMerged {
		if out.PGs, err = c.pendingGroups(ctx); err != nil {
			if ctx.Err() != nil {
				return ray.ClusterStatus{}, err
			}
			c.partial.Warn("Pending placement groups request failed", logrus.Fields{"error": err.Error()})
			out.PGs, out.PGsUnknown = nil, true
		}
	}
	return out, nil
}

// knownTotals returns the total resources of the live nodes of the last node list.
func (c *Client) knownTotals() map[string]float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.totals // replaced, never changed
}

// groupRow is a pending placement group with its bundles.
type groupRow struct {
	ID      string `json:"placement_group_id"`
	Bundles []struct {
		Resources map[string]float64 `json:"unit_resources"`
		NodeID    *string            `json:"node_id"` // "" until the bundle is placed
	} `json:"bundles"`
}

// pendingGroups returns the demand of unplaced bundles of placement groups.
func (c *Client) pendingGroups(ctx context.Context) ([]ray.Demand, error) {
	c.mu.Lock()
	known, at := c.groups, c.groupsAt
	c.mu.Unlock()
	if !at.IsZero() && time.Since(at) < groupsTTL {
		return known, nil
	}
	q := listQuery(maxRows, filter{"state", "!=", "CREATED"}, filter{"state", "!=", "REMOVED"})
	q.Set("detail", "1")
	var waiting []pairCount[map[string]float64]
	seen := distinct{}
	_, err := stateRows(ctx, c, "list pending placement groups", "placement_groups", q, func(row groupRow) bool {
		if row.ID == "" || !seen.first(row.ID) {
			return false
		}
		for _, b := range row.Bundles {
			if deref(b.NodeID) == "" && len(b.Resources) > 0 {
				waiting = append(waiting, pairCount[map[string]float64]{Value: b.Resources, Count: 1})
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	found := demands(waiting)
	c.mu.Lock()
	c.groups, c.groupsAt = found, time.Now()
	c.mu.Unlock()
	return found, nil
}
