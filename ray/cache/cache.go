// Package cache shares a cluster's answers among all callers, and bounds what
// they cost the cluster.
package cache

import (
	"cmp"
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"raytap/ray"
)

// Defaults of Options. Prometheus usually scrapes every 15 s, give or take: the
// TTL is a second less, so that one server always gets new answers, and further
// scrapes in between get cached ones.
const (
	defaultFetchTimeout = 30 * time.Second
	defaultTTL          = 14 * time.Second
	defaultTasksTTL     = 29 * time.Second
	defaultDiscoveryTTL = 4 * time.Second
)

// Options say how long answers are cached. An answer that took long is cached for
// 50 times the duration of its fetch, if that is longer. Values that are 0 or less
// mean the defaults.
type Options struct {
	// Timeout bounds one whole fetch, 30 s by default. A fetch may take several
	// requests, each under the client's own timeout: set it to a few times that.
	Timeout time.Duration
	// RequestTimeout is the timeout of one request, 10 s by default. For the job
	// list of a TimeoutSource it grows up to 2 minutes after timeouts, and shrinks
	// again when the list takes less than half of it.
	RequestTimeout time.Duration
	// TTL applies to everything but the following, 14 s by default. A version is
	// never cached for longer: it decides whether the cluster is reachable, and is
	// the cheapest request that Ray has.
	TTL time.Duration
	// TasksTTL applies to tasks, actors and placement groups, which block Ray's only
	// State API worker: 29 s by default.
	TasksTTL time.Duration
	// DiscoveryTTL applies to the jobs that JobsNewerThan returns, 4 s by default. A list
	// that takes long is cached for at most 30 s for them, or 10 times the duration of
	// its fetch if that is longer: new jobs must be found.
	DiscoveryTTL time.Duration
}

// Source is a ray.Source that caches the answers of another one, and fetches each
// list once for all callers. Callers share what it returns and must not change it.
//
// Its methods follow the rules of Value. Safe for concurrent use.
type Source struct {
	version  *Value[ray.Version]
	jobs     *Value[[]ray.Job]
	nodes    *Value[[]ray.Node]
	status   *Value[ray.ClusterStatus]
	tasks    *Value[ray.TaskList]
	actors   *Value[ray.StateCounts]
	groups   *Value[ray.StateCounts]
	serve    *Value[ray.ServeStatus]
	hardware *Value[ray.ClusterResources]

	ttl         time.Duration
	lastSuccess atomicTime             // of a request that the cluster answered
	lastFailure atomicTime             // of a request without an answer
	clockAhead  func() time.Duration   // nil if the source does not know it
	session     atomic.Pointer[string] // of the last version; nil before
	onJobs      atomic.Pointer[func([]ray.Job)]
}

var _ ray.Source = (*Source)(nil)

// New returns a cache of source. Close it when the cluster is no longer watched.
func New(source ray.Source, o Options) *Source {
	ttl, tasksTTL, discoveryTTL := positive(o.TTL, defaultTTL), positive(o.TasksTTL, defaultTasksTTL), positive(o.DiscoveryTTL, defaultDiscoveryTTL)
	opts := func(op string, ttl time.Duration) ValueOptions {
		return ValueOptions{Op: op, Timeout: o.Timeout, TTL: ttl}
	}
	version, jobs := opts("get version", ttl), opts("list jobs", ttl)
	version.MaxTTL, jobs.NewerThanTTL = ttl, discoveryTTL
	s := &Source{ttl: ttl}
	if c, ok := source.(interface{ ClockAhead() time.Duration }); ok {
		s.clockAhead = c.ClockAhead
	}
	s.version = NewValue(trackReachability(s, func(ctx context.Context) (ray.Version, error) {
		v, err := source.Version(ctx)
		if err == nil {
			s.session.Store(&v.Session)
		}
		return v, err
	}), version)
	list := source.Jobs
	if slow, ok := source.(ray.TimeoutSource); ok {
		t := newAdaptiveTimeout(positive(o.RequestTimeout, defaultRequestTimeout))
		list = listJobs(slow, t)
		jobs.Timeout = max(o.Timeout, t.limit+t.base) // the request's own timeout comes first
	}
	s.jobs = NewValue(trackReachability(s, func(ctx context.Context) ([]ray.Job, error) {
		jobs, err := list(ctx)
		if f := s.onJobs.Load(); f != nil && err == nil {
			(*f)(jobs)
		}
		return jobs, err
	}), jobs)
	s.nodes = NewValue(trackReachability(s, source.Nodes), opts("list nodes", ttl))
	s.status = NewValue(trackReachability(s, source.ClusterStatus), opts("get cluster status", ttl))
	s.tasks = NewValue(trackReachability(s, func(ctx context.Context) (ray.TaskList, error) {
		requested, session := time.Now(), s.session.Load()
		list, err := source.Tasks(ctx)
		if list.RequestedAt = requested; session != nil {
			list.Session = *session
		}
		return list, err
	}), opts("list tasks", tasksTTL))
	s.actors = NewValue(trackReachability(s, source.Actors), opts("count actors", tasksTTL))
	s.groups = NewValue(trackReachability(s, source.PlacementGroups), opts("count placement groups", tasksTTL))
	s.serve = NewValue(trackReachability(s, source.Serve), opts("get serve applications", ttl))
	s.hardware = NewValue(trackReachability(s, source.Resources), opts("get cluster resources", ttl))
	return s
}

// ClockAhead returns how far the cluster's clock is ahead of this machine's, negative
// if it lags; 0 if that is unknown.
func (s *Source) ClockAhead() time.Duration {
	if s.clockAhead == nil {
		return 0
	}
	return s.clockAhead()
}

func positive(d, standard time.Duration) time.Duration {
	return cmp.Or(max(d, 0), standard)
}

// atomicTime is a time that goroutines share; the zero time at first.
type atomicTime struct{ at atomic.Pointer[time.Time] }

func (t *atomicTime) setNow() {
	now := time.Now()
	t.at.Store(&now)
}

func (t *atomicTime) get() time.Time {
	if at := t.at.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// trackReachability wraps fetch and stores when the cluster last answered, and when
// it last did not. An error status counts as neither: the server is up, and other
// requests may succeed.
func trackReachability[T any](s *Source, fetch func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		value, err := fetch(ctx)
		switch ray.Code(err) {
		case http.StatusRequestTimeout, http.StatusServiceUnavailable:
			s.lastFailure.setNow()
		default:
			if err == nil {
				s.lastSuccess.setNow()
			}
		}
		return value, err
	}
}

// LastSuccess returns when a request to the cluster last succeeded, and the zero time
// if none did.
func (s *Source) LastSuccess() time.Time { return s.lastSuccess.get() }

// Reachable reports whether the cluster is reachable: a request has succeeded since
// t, or one has within the TTL and none has failed after it. Otherwise it requests
// the version.
func (s *Source) Reachable(ctx context.Context, since time.Time) bool {
	last := s.lastSuccess.get()
	switch {
	case last.IsZero():
	case !last.Before(since):
		return true
	case time.Since(last) < s.ttl && s.lastFailure.get().Before(last):
		return true
	}
	_, err := s.Version(ctx)
	return err == nil
}

// OnJobs sets f to be called with every job list that is fetched, before callers get
// it. It replaces an earlier f. f must be quick, must not change the list, and must
// not call the Source.
func (s *Source) OnJobs(f func([]ray.Job)) { s.onJobs.Store(&f) }

// Close cancels the fetches in progress and waits for them. Later calls fail.
func (s *Source) Close() {
	for _, value := range []interface{ Close() }{
		s.version, s.jobs, s.nodes, s.status, s.tasks, s.actors, s.groups, s.serve, s.hardware,
	} {
		value.Close()
	}
}

// Version returns the versions of Ray and of the session. It is fetched again if a
// request has failed without an answer since.
func (s *Source) Version(ctx context.Context) (ray.Version, error) {
	return valueOf(s.version.NewerThan(ctx, s.lastFailure.get()))
}

// VersionNewerThan is Version, requested at t or later: for callers that have to know
// whether the head is still the same as at t.
func (s *Source) VersionNewerThan(ctx context.Context, t time.Time) (ray.Version, error) {
	if failed := s.lastFailure.get(); failed.After(t) {
		t = failed
	}
	return valueOf(s.version.NewerThan(ctx, t))
}

// Jobs lists the jobs.
func (s *Source) Jobs(ctx context.Context) ([]ray.Job, error) { return valueOf(s.jobs.Get(ctx)) }

// JobsNewerThan is Jobs, requested at t or later and cached for DiscoveryTTL, or longer if
// the list takes long (see Options): for callers that must not act on an outdated list.
func (s *Source) JobsNewerThan(ctx context.Context, t time.Time) ([]ray.Job, error) {
	return valueOf(s.jobs.NewerThan(ctx, t))
}

// Nodes lists the nodes.
func (s *Source) Nodes(ctx context.Context) ([]ray.Node, error) { return valueOf(s.nodes.Get(ctx)) }

// ClusterStatus returns the autoscaler's view.
func (s *Source) ClusterStatus(ctx context.Context) (ray.ClusterStatus, error) {
	return valueOf(s.status.Get(ctx))
}

// Tasks lists the unfinished and the failed tasks.
func (s *Source) Tasks(ctx context.Context) (ray.TaskList, error) { return valueOf(s.tasks.Get(ctx)) }

// Actors counts the actors by state.
func (s *Source) Actors(ctx context.Context) (ray.StateCounts, error) {
	return valueOf(s.actors.Get(ctx))
}

// PlacementGroups counts the placement groups by state.
func (s *Source) PlacementGroups(ctx context.Context) (ray.StateCounts, error) {
	return valueOf(s.groups.Get(ctx))
}

// Serve returns the status of Ray Serve.
func (s *Source) Serve(ctx context.Context) (ray.ServeStatus, error) {
	return valueOf(s.serve.Get(ctx))
}

// Resources returns the cluster's hardware as a Synapse agent reports it.
func (s *Source) Resources(ctx context.Context) (ray.ClusterResources, error) {
	return valueOf(s.hardware.Get(ctx))
}

func valueOf[T any](a Answer[T], err error) (T, error) { return a.Value, err }
