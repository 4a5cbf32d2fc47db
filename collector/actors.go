package collector

import (
	"context"

	"raytap/ray"
)

// This file: actors and placement groups by state. Ray's own actors are counted too
// (a JobSupervisor for each submission, Serve's controller and proxies).

type actorsSource interface {
	Actors(context.Context) (ray.StateCounts, error)
}

type groupsSource interface {
	PlacementGroups(context.Context) (ray.StateCounts, error)
}

var (
	actorsTable = stateTable("actors", "Actors", ray.ActorStates)
	groupsTable = stateTable("placement_groups", "Placement groups", ray.PlacementGroupStates)
)

func stateTable(name, title string, states []string) table[ray.StateCounts] {
	return table[ray.StateCounts]{
		source: "state API" + tasksFresh,
		rows: []row[ray.StateCounts]{
			{
				name: name, help: title + " that Ray lists, by state. Too low if raytap_" + name + "_truncated is 1.", labels: []string{"state"},
				series: func(c ray.StateCounts, emit *emitter) { countStates(states, c.ByState, emit.state) },
			},
			{
				name: name + "_truncated", help: "1 if Ray truncated the list (at 10,000 rows), 0 if it is complete.",
				value: func(c ray.StateCounts) (float64, bool) { return number(c.Truncated), true },
			},
		},
	}
}
