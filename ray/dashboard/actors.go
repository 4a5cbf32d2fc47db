package dashboard

import (
	"context"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
)

// Actors counts the actors by state, including Ray's own (JobSupervisor,
// ServeController) and the dead ones that the GCS still keeps.
//
// The summary is the smallest response, and exact up to 10,000 actors. Beyond
// that, each state is queried separately: the GCS filters by state itself, so
// each count is exact unless that state alone has more than 10,000. If one state
// has more, its count is the rest of the total (which counts all actors,
// whatever the filter). If two or more have, Truncated is set and their counts
// are lower bounds. Measured on 2.60.0 with 10,601 actors: 0.8 s for the
// summary, 0.9 s for all five states together.
func (c *Client) Actors(ctx context.Context) (ray.StateCounts, error) {
	out := ray.StateCounts{ByState: map[string]int{}}
	counts, err := c.actorSummary(ctx, out.ByState)
	if err != nil {
		return ray.StateCounts{}, err
	}
	if out.Total = counts.total; counts.total <= counts.afterTruncation {
		return out, nil
	}
	clear(out.ByState)
	var truncated []string
	rest := 0
	for _, state := range ray.ActorStates {
		counts, err := stateRows(ctx, c, "count actors", "actors", listQuery(1, filter{"state", "=", state}), countOnly)
		if err != nil {
			return ray.StateCounts{}, err
		}
		out.Total = counts.total
		if counts.matched > 0 {
			out.ByState[state] = counts.matched
		}
		if counts.total > counts.afterTruncation {
			truncated = append(truncated, state)
		} else {
			rest += counts.matched
		}
	}
	switch len(truncated) {
	case 0:
	case 1:
		out.ByState[truncated[0]] = max(out.Total-rest, out.ByState[truncated[0]])
	default:
		out.Truncated = true
	}
	return out, nil
}

// actorSummary adds up the states over all classes. Class names come from the
// user's code and are not kept.
func (c *Client) actorSummary(ctx context.Context, byState map[string]int) (listCounts, error) {
	var counts listCounts
	err := c.stateGet(ctx, "count actors", "actors/summarize", nil, &counts, within("node_id_to_summary", within("cluster", within("summary", func(d *pyjson.Decoder) error {
		return eachEntry(d, func(_ string, class struct {
			States map[string]number `json:"state_counts"`
		}) bool {
			for state, n := range class.States {
				switch {
				case n.whole() > 0 && upper(state) != "":
					byState[upper(state)] += n.whole()
				case n.value != 0 || !n.ok:
					d.Skipped.Fields++
				}
			}
			return class.States != nil
		})
	}))))
	return counts, err
}

// PlacementGroups counts the placement groups by state. Ray has no summary of
// them and its source does not filter (2.60.0), so the whole list is read.
// Beyond 10,000 groups the counts are lower bounds and Truncated is set.
func (c *Client) PlacementGroups(ctx context.Context) (ray.StateCounts, error) {
	out, seen := ray.StateCounts{ByState: map[string]int{}}, distinct{}
	counts, err := stateRows(ctx, c, "list placement groups", "placement_groups", listQuery(maxRows), func(row struct {
		ID    string `json:"placement_group_id"`
		State string `json:"state"`
	}) bool {
		state := upper(row.State)
		if row.ID == "" || state == "" || !seen.first(row.ID) {
			return false
		}
		out.ByState[state]++
		return true
	})
	if err != nil {
		return ray.StateCounts{}, err
	}
	out.Total, out.Truncated = counts.total, counts.truncated()
	return out, nil
}
