package ray

import (
	"context"
	"sync/atomic"
	"time"
)

const defaultFetchTimeout = 30 * time.Second

// VersionInterval is how long the version answer is good for, at most. It is
// not configurable and knows no 50-fold: whether the cluster answers at all is
// decided by it, and it is the cheapest call that Ray has.
const VersionInterval = 5 * time.Second

// Source is what is shared: the lists that both halves of raytap read. The
// dialects implement it.
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

// SharingOptions says how long each answer is good for (and 50 times what it
// took, if that is longer). Zero values mean the defaults.
type SharingOptions struct {
	// Timeout bounds one whole fetch, 30 s by default. An answer may take
	// several requests, each under the client's own timeout: give a few times
	// that.
	Timeout time.Duration

	Jobs            time.Duration // 5 s
	Nodes           time.Duration // 5 s: as often as Ray's agents report
	ClusterStatus   time.Duration // 5 s: as often as Ray rewrites it
	Serve           time.Duration // 10 s: each answer is a call of Serve's controller
	Tasks           time.Duration // 30 s: they block Ray's only State worker
	Actors          time.Duration // 30 s: the same worker
	PlacementGroups time.Duration // 30 s: the same worker
	Resources       time.Duration // 10 s: an agent collects them from all nodes
}

// Sharing asks a Source once for all who want the same list. It is itself a
// Source. What it gives is shared: callers must not change it.
//
// Each of its calls follows the rules of Shared. Safe for concurrent use.
type Sharing struct {
	version  *Shared[Version]
	jobs     *Shared[[]Job]
	nodes    *Shared[[]Node]
	status   *Shared[ClusterStatus]
	tasks    *Shared[TaskList]
	actors   *Shared[StateCounts]
	groups   *Shared[StateCounts]
	serve    *Shared[ServeStatus]
	hardware *Shared[ClusterResources]
	answered atomic.Pointer[time.Time]
	onJobs   atomic.Pointer[func([]Job)]
}

var _ Source = (*Sharing)(nil)

// Share shares the answers of source. Close it when the cluster is given up.
func Share(source Source, o SharingOptions) *Sharing {
	s := &Sharing{}
	opts := func(op string, interval, standard time.Duration) SharedOptions {
		if interval <= 0 {
			interval = standard
		}
		return SharedOptions{Op: op, Timeout: o.Timeout, Interval: interval}
	}
	version := opts("get version", 0, VersionInterval)
	version.MaxAge = VersionInterval
	s.version = NewShared(noting(s, source.Version), version)
	s.jobs = NewShared(noting(s, func(ctx context.Context) ([]Job, error) {
		jobs, err := source.Jobs(ctx)
		if f := s.onJobs.Load(); f != nil && err == nil {
			(*f)(jobs)
		}
		return jobs, err
	}), opts("list jobs", o.Jobs, 5*time.Second))
	s.nodes = NewShared(noting(s, source.Nodes), opts("list nodes", o.Nodes, 5*time.Second))
	s.status = NewShared(noting(s, source.ClusterStatus), opts("get cluster status", o.ClusterStatus, 5*time.Second))
	s.tasks = NewShared(noting(s, source.Tasks), opts("list tasks", o.Tasks, 30*time.Second))
	s.actors = NewShared(noting(s, source.Actors), opts("count actors", o.Actors, 30*time.Second))
	s.groups = NewShared(noting(s, source.PlacementGroups), opts("count placement groups", o.PlacementGroups, 30*time.Second))
	s.serve = NewShared(noting(s, source.Serve), opts("get serve applications", o.Serve, 10*time.Second))
	s.hardware = NewShared(noting(s, source.Resources), opts("get cluster resources", o.Resources, 10*time.Second))
	return s
}

// noting remembers when the cluster last answered.
func noting[T any](s *Sharing, fetch func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		value, err := fetch(ctx)
		if err == nil {
			now := time.Now()
			s.answered.Store(&now)
		}
		return value, err
	}
}

// LastAnswer is when the cluster last gave an answer of any kind, and the zero
// time if it never did.
func (s *Sharing) LastAnswer() time.Time {
	if t := s.answered.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// OnJobs has f called with every job list that is fetched, by whomever, before
// those who asked get it. It replaces an earlier f; f must be quick, must not
// keep the list from others by changing it, and must not call the Sharing.
func (s *Sharing) OnJobs(f func([]Job)) { s.onJobs.Store(&f) }

// Close ends what is being fetched, waits for it, and refuses later calls.
func (s *Sharing) Close() {
	for _, shared := range []interface{ Close() }{
		s.version, s.jobs, s.nodes, s.status, s.tasks, s.actors, s.groups, s.serve, s.hardware,
	} {
		shared.Close()
	}
}

// Version gives what the cluster says of itself, at most VersionInterval old.
func (s *Sharing) Version(ctx context.Context) (Version, error) {
	return value(s.version.Get(ctx))
}

// Jobs lists the jobs.
func (s *Sharing) Jobs(ctx context.Context) ([]Job, error) { return value(s.jobs.Get(ctx)) }

// JobsSince is Jobs, asked not before t: for those who must not act on bad
// news that may be out of date.
func (s *Sharing) JobsSince(ctx context.Context, t time.Time) ([]Job, error) {
	return value(s.jobs.Since(ctx, t))
}

// Nodes lists the nodes.
func (s *Sharing) Nodes(ctx context.Context) ([]Node, error) { return value(s.nodes.Get(ctx)) }

// ClusterStatus gives the autoscaler's view.
func (s *Sharing) ClusterStatus(ctx context.Context) (ClusterStatus, error) {
	return value(s.status.Get(ctx))
}

// Tasks lists the unfinished and the failed tasks.
func (s *Sharing) Tasks(ctx context.Context) (TaskList, error) { return value(s.tasks.Get(ctx)) }

// Actors counts the actors by state.
func (s *Sharing) Actors(ctx context.Context) (StateCounts, error) { return value(s.actors.Get(ctx)) }

// PlacementGroups counts the placement groups by state.
func (s *Sharing) PlacementGroups(ctx context.Context) (StateCounts, error) {
	return value(s.groups.Get(ctx))
}

// Serve gives what Serve's controller says.
func (s *Sharing) Serve(ctx context.Context) (ServeStatus, error) { return value(s.serve.Get(ctx)) }

// Resources gives the cluster's hardware as an agent tells it.
func (s *Sharing) Resources(ctx context.Context) (ClusterResources, error) {
	return value(s.hardware.Get(ctx))
}

func value[T any](a Answer[T], err error) (T, error) { return a.Value, err }
