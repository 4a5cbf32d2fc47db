package ray

import (
	"context"
	"time"
)

// Source lists what a cluster has. The clients of both APIs implement it, and
// package cache shares its answers.
type Source interface {
	Version(ctx context.Context) (Version, error)
	Jobs(ctx context.Context) ([]Job, error)
	Nodes(ctx context.Context) ([]Node, error)
	ClusterStatus(ctx context.Context) (ClusterStatus, error)
	Tasks(ctx context.Context) (TaskList, error)
	Actors(ctx context.Context) (StateCounts, error)
	PlacementGroups(ctx context.Context) (StateCounts, error)
	Serve(ctx context.Context) (ServeStatus, error)
	// Resources is code 501 where the dialect has no such answer.
	Resources(ctx context.Context) (ClusterResources, error)
}

// TimeoutSource is a Source that can give its job list more time than its other
// requests: the list grows for the life of a head, and with it the time it takes.
type TimeoutSource interface {
	// JobsWithTimeout is Jobs, whose request may take d.
	JobsWithTimeout(ctx context.Context, d time.Duration) ([]Job, error)
}
