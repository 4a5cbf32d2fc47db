package cache

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"raytap/ray"
)

// What stands for a zero value in Options. Prometheus scrapes every 15 s
// as a rule, give or take: answers are good for a second less, so that one
// server gets new ones each time, and ten that come between its scrapes get
// those that it got.
const (
	defaultFetchTimeout = 30 * time.Second
	defaultFresh        = 14 * time.Second
	defaultTasks        = 29 * time.Second
	defaultDiscovery    = 4 * time.Second
)

// Options says how long answers are good for (and 50 times what they
// took, if that is longer). Zero values mean the defaults.
type Options struct {
	// Timeout bounds one whole fetch, 30 s by default. An answer may take
	// several requests, each under the client's own timeout: give a few times
	// that.
	Timeout time.Duration
	// Request is what one request of the source may take, 10 s by default. A
	// PatientSource gets more for its job list, up to 2 minutes, once a try has
	// timed out, and this again once the list comes within half of it.
	Request time.Duration
	// Fresh is for all but the following, 14 s by default. For the version it is
	// the most, too: whether the cluster answers at all is decided by it, and it
	// is the cheapest call that Ray has.
	Fresh time.Duration
	// Tasks is for tasks, actors and placement groups, which block Ray's only
	// State worker: 29 s by default.
	Tasks time.Duration
	// Discovery is for the jobs that JobsSince gives, 4 s by default.
	Discovery time.Duration
}

// Source asks a Source once for all who want the same list. It is itself a
// Source. What it gives is shared: callers must not change it.
//
// Each of its calls follows the rules of Value. Safe for concurrent use.
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
	fresh    time.Duration
	answered moment                 // when the cluster last answered
	silent   moment                 // when it last did not
	ahead    func() time.Duration   // nil where the source does not know
	session  atomic.Pointer[string] // of the last version that was told; nil before
	onJobs   atomic.Pointer[func([]ray.Job)]
}

var _ ray.Source = (*Source)(nil)

// New shares the answers of source. Close it when the cluster is given up.
func New(source ray.Source, o Options) *Source {
	fresh, tasks, discovery := positive(o.Fresh, defaultFresh), positive(o.Tasks, defaultTasks), positive(o.Discovery, defaultDiscovery)
	opts := func(op string, interval time.Duration) ValueOptions {
		return ValueOptions{Op: op, Timeout: o.Timeout, Interval: interval}
	}
	version, jobs := opts("get version", fresh), opts("list jobs", fresh)
	version.MaxAge, jobs.SinceInterval = fresh, discovery
	s := &Source{fresh: fresh}
	if c, ok := source.(interface{ ClockAhead() time.Duration }); ok {
		s.ahead = c.ClockAhead
	}
	s.version = NewValue(noting(s, func(ctx context.Context) (ray.Version, error) {
		v, err := source.Version(ctx)
		if err == nil {
			s.session.Store(&v.Session)
		}
		return v, err
	}), version)
	list := source.Jobs
	if patient, ok := source.(ray.PatientSource); ok {
		p := newPatience(positive(o.Request, defaultRequest))
		list = patiently(patient, p)
		jobs.Timeout = max(o.Timeout, p.most+p.base) // the request ends first
	}
	s.jobs = NewValue(noting(s, func(ctx context.Context) ([]ray.Job, error) {
		jobs, err := list(ctx)
		if f := s.onJobs.Load(); f != nil && err == nil {
			(*f)(jobs)
		}
		return jobs, err
	}), jobs)
	s.nodes = NewValue(noting(s, source.Nodes), opts("list nodes", fresh))
	s.status = NewValue(noting(s, source.ClusterStatus), opts("get cluster status", fresh))
	s.tasks = NewValue(noting(s, func(ctx context.Context) (ray.TaskList, error) {
		asked, session := time.Now(), s.session.Load()
		list, err := source.Tasks(ctx)
		if list.Asked = asked; session != nil {
			list.Session = *session
		}
		return list, err
	}), opts("list tasks", tasks))
	s.actors = NewValue(noting(s, source.Actors), opts("count actors", tasks))
	s.groups = NewValue(noting(s, source.PlacementGroups), opts("count placement groups", tasks))
	s.serve = NewValue(noting(s, source.Serve), opts("get serve applications", fresh))
	s.hardware = NewValue(noting(s, source.Resources), opts("get cluster resources", fresh))
	return s
}

// ClockAhead returns how far the cluster's clock is ahead of this machine's, negative
// where it is behind; 0 where that is not known.
func (s *Source) ClockAhead() time.Duration {
	if s.ahead == nil {
		return 0
	}
	return s.ahead()
}

func positive(d, standard time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return standard
}

// moment is a time that goroutines share; the zero time at first.
type moment struct{ at atomic.Pointer[time.Time] }

func (m *moment) now() {
	t := time.Now()
	m.at.Store(&t)
}

func (m *moment) get() time.Time {
	if t := m.at.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// noting remembers when the cluster last answered, and when it last did not. A
// status that is an error is neither: somebody is there, and others may fare
// better.
func noting[T any](s *Source, fetch func(context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) {
		value, err := fetch(ctx)
		switch ray.Code(err) {
		case http.StatusRequestTimeout, http.StatusServiceUnavailable:
			s.silent.now()
		default:
			if err == nil {
				s.answered.now()
			}
		}
		return value, err
	}
}

// LastAnswer is when the cluster last gave an answer of any kind, and the zero
// time if it never did.
func (s *Source) LastAnswer() time.Time { return s.answered.get() }

// Answers reports whether the cluster answers: it has given an answer of any
// kind since t, or the last thing that is known of it is one that is still good.
// Where a request has gone without an answer after that, the version is asked.
func (s *Source) Answers(ctx context.Context, t time.Time) bool {
	last := s.answered.get()
	switch {
	case last.IsZero():
	case !last.Before(t):
		return true
	case time.Since(last) < s.fresh && s.silent.get().Before(last):
		return true
	}
	_, err := s.Version(ctx)
	return err == nil
}

// OnJobs has f called with every job list that is fetched, by whomever, before
// those who asked get it. It replaces an earlier f; f must be quick, must not
// keep the list from others by changing it, and must not call the Source.
func (s *Source) OnJobs(f func([]ray.Job)) { s.onJobs.Store(&f) }

// Close ends what is being fetched, waits for it, and refuses later calls.
func (s *Source) Close() {
	for _, shared := range []interface{ Close() }{
		s.version, s.jobs, s.nodes, s.status, s.tasks, s.actors, s.groups, s.serve, s.hardware,
	} {
		shared.Close()
	}
}

// Version gives what the cluster says of itself, and asks anew where a request
// has gone without an answer since.
func (s *Source) Version(ctx context.Context) (ray.Version, error) {
	return value(s.version.Since(ctx, s.silent.get()))
}

// VersionSince is Version, asked not before t: for those who have to know whether
// the head is still the one of t.
func (s *Source) VersionSince(ctx context.Context, t time.Time) (ray.Version, error) {
	if silent := s.silent.get(); silent.After(t) {
		t = silent
	}
	return value(s.version.Since(ctx, t))
}

// Jobs lists the jobs.
func (s *Source) Jobs(ctx context.Context) ([]ray.Job, error) { return value(s.jobs.Get(ctx)) }

// JobsSince is Jobs, asked not before t and lately enough for discovery: for
// those who must not act on bad news that may be out of date.
func (s *Source) JobsSince(ctx context.Context, t time.Time) ([]ray.Job, error) {
	return value(s.jobs.Since(ctx, t))
}

// Nodes lists the nodes.
func (s *Source) Nodes(ctx context.Context) ([]ray.Node, error) { return value(s.nodes.Get(ctx)) }

// ClusterStatus gives the autoscaler's view.
func (s *Source) ClusterStatus(ctx context.Context) (ray.ClusterStatus, error) {
	return value(s.status.Get(ctx))
}

// Tasks lists the unfinished and the failed tasks.
func (s *Source) Tasks(ctx context.Context) (ray.TaskList, error) { return value(s.tasks.Get(ctx)) }

// Actors counts the actors by state.
func (s *Source) Actors(ctx context.Context) (ray.StateCounts, error) {
	return value(s.actors.Get(ctx))
}

// PlacementGroups counts the placement groups by state.
func (s *Source) PlacementGroups(ctx context.Context) (ray.StateCounts, error) {
	return value(s.groups.Get(ctx))
}

// Serve gives what Serve's controller says.
func (s *Source) Serve(ctx context.Context) (ray.ServeStatus, error) { return value(s.serve.Get(ctx)) }

// Resources gives the cluster's hardware as an agent tells it.
func (s *Source) Resources(ctx context.Context) (ray.ClusterResources, error) {
	return value(s.hardware.Get(ctx))
}

func value[T any](a Answer[T], err error) (T, error) { return a.Value, err }
