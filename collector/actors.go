package collector

import (
	"context"

	"raytap/ray"
)

// This file: actors and placement groups, by state. Ray's own are among them
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

func stateTable(name, what string, known []string) table[ray.StateCounts] {
	return table[ray.StateCounts]{
		source: "state API" + tasksFresh,
		rows: []row[ray.StateCounts]{
			{
				name: name, help: what + " that Ray lists, by state. Too low where " + name + "_truncated is 1.", labels: []string{"state"},
				series: func(c ray.StateCounts, emit *emitter) { countStates(known, c.ByState, emit.state) },
			},
			{
				name: name + "_truncated", help: "1 if Ray cut the list (at 10,000 rows), 0 if it is complete.",
				value: func(c ray.StateCounts) (float64, bool) { return number(c.Truncated), true },
			},
		},
	}
}

type actorsCollector struct {
	source actorsSource
	table  bound[ray.StateCounts]
}

func newActors(source actorsSource, s settings) *actorsCollector {
	return &actorsCollector{source: source, table: actorsTable.bind(s)}
}

func (c *actorsCollector) collect(ctx context.Context, out *sink) error {
	counts, err := c.source.Actors(ctx)
	if err != nil {
		return err
	}
	c.table.emit(out, counts)
	return nil
}

type groupsCollector struct {
	source groupsSource
	table  bound[ray.StateCounts]
}

func newGroups(source groupsSource, s settings) *groupsCollector {
	return &groupsCollector{source: source, table: groupsTable.bind(s)}
}

func (c *groupsCollector) collect(ctx context.Context, out *sink) error {
	counts, err := c.source.PlacementGroups(ctx)
	if err != nil {
		return err
	}
	c.table.emit(out, counts)
	return nil
}
