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
	// Resources returns an error of code 501 if the API does not report them.
	Resources(ctx context.Context) (ClusterResources, error)
}

// TimeoutSource is a Source whose job list can have a timeout of its own: the list
// grows during the life of a head, and so does the time that it takes.
type TimeoutSource interface {
	// JobsWithTimeout is Jobs with d as the timeout of the request.
	JobsWithTimeout(ctx context.Context, d time.Duration) ([]Job, error)
}
