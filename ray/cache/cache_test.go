package cache_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
	"raytap/ray/cache"
)

// head returns every list at once and counts requests.
type head struct {
	requests map[string]*atomic.Int64
	down     atomic.Pointer[error]
}

func newHead() *head {
	h := &head{requests: map[string]*atomic.Int64{}}
	for _, name := range []string{"version", "jobs", "nodes", "status", "tasks", "actors", "groups", "serve", "resources"} {
		h.requests[name] = &atomic.Int64{}
	}
	return h
}

func (h *head) request(name string) error {
	h.requests[name].Add(1)
	if err := h.down.Load(); err != nil {
		return *err
	}
	return nil
}

// fail makes it fail from now on; nil makes it succeed again.
func (h *head) fail(err error) {
	if h.down.Store(nil); err != nil {
		h.down.Store(&err)
	}
}

func (h *head) Version(context.Context) (ray.Version, error) {
	return ray.Version{Ray: "2.60.0"}, h.request("version")
}

func (h *head) Jobs(context.Context) ([]ray.Job, error) {
	return []ray.Job{{SubmissionID: "a"}}, h.request("jobs")
}

func (h *head) Nodes(context.Context) ([]ray.Node, error) {
	return []ray.Node{{ID: "n"}}, h.request("nodes")
}

func (h *head) ClusterStatus(context.Context) (ray.ClusterStatus, error) {
	return ray.ClusterStatus{Unmapped: 1}, h.request("status")
}

func (h *head) Tasks(context.Context) (ray.TaskList, error) {
	return ray.TaskList{Tasks: []ray.Task{{ID: "t"}}}, h.request("tasks")
}

func (h *head) Actors(context.Context) (ray.StateCounts, error) {
	return ray.StateCounts{ByState: map[string]int{"ALIVE": 1}}, h.request("actors")
}

func (h *head) PlacementGroups(context.Context) (ray.StateCounts, error) {
	return ray.StateCounts{ByState: map[string]int{"CREATED": 1}}, h.request("groups")
}

func (h *head) Serve(context.Context) (ray.ServeStatus, error) {
	return ray.ServeStatus{Running: true}, h.request("serve")
}

func (h *head) Resources(context.Context) (ray.ClusterResources, error) {
	return ray.ClusterResources{Stale: true}, h.request("resources")
}

// requestAll calls every method once and returns the errors.
func requestAll(ctx context.Context, s ray.Source) error {
	v, e1 := s.Version(ctx)
	j, e2 := s.Jobs(ctx)
	n, e3 := s.Nodes(ctx)
	c, e4 := s.ClusterStatus(ctx)
	t, e5 := s.Tasks(ctx)
	a, e6 := s.Actors(ctx)
	p, e7 := s.PlacementGroups(ctx)
	sv, e8 := s.Serve(ctx)
	hw, e9 := s.Resources(ctx)
	if err := errors.Join(e1, e2, e3, e4, e5, e6, e7, e8, e9); err != nil {
		return err
	}
	if v.Ray == "" || len(j) != 1 || len(n) != 1 || c.Unmapped != 1 || len(t.Tasks) != 1 ||
		a.ByState["ALIVE"] != 1 || p.ByState["CREATED"] != 1 || !sv.Running || !hw.Stale {
		return errors.New("a method returned another one's answer, or none")
	}
	return nil
}

func TestSource_TTLs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead()
		s := cache.New(h, cache.Options{})
		defer s.Close()
		for range 60 {
			if err := requestAll(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		for name, want := range map[string]int64{
			"version": 5, "jobs": 5, "nodes": 5, "status": 5, "serve": 5, "resources": 5, "tasks": 3, "actors": 3, "groups": 3,
		} {
			if n := h.requests[name].Load(); n != want {
				t.Errorf("%s: %d requests in a minute, want %d", name, n, want)
			}
		}
	})
}

func TestSource_LastSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead()
		s := cache.New(h, cache.Options{})
		defer s.Close()
		if !s.LastSuccess().IsZero() {
			t.Error("a success before the first request")
		}
		if err := requestAll(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		succeeded := time.Now()
		h.fail(errSilent)
		time.Sleep(time.Minute)
		if requestAll(t.Context(), s) == nil {
			t.Error("requests to a cluster that is down succeed")
		}
		if !s.LastSuccess().Equal(succeeded) {
			t.Errorf("last success %s, want %s", s.LastSuccess(), succeeded)
		}
	})
}

// errSilent is a request without a response, errFailed one with an error response.
var (
	errSilent = &ray.Error{Op: "request", Code: 503, Detail: "connection refused"}
	errFailed = &ray.Error{Op: "request", Code: 500, Status: 500, Detail: "a bug"}
)

func TestSource_Reachable(t *testing.T) {
	for name, row := range map[string]struct {
		after    time.Duration // since the last success
		fail     error         // of the job list that discovery requests then
		up       bool          // the version request succeeds
		want     bool
		requests int64 // for the version, 1 with the first
	}{
		"within the TTL":                        {after: 13 * time.Second, want: true, requests: 1},
		"after the TTL":                         {after: 14 * time.Second, requests: 2},
		"a request since had no response":       {after: 5 * time.Second, fail: errSilent, requests: 2},
		"a single request had no response":      {after: 5 * time.Second, fail: errSilent, up: true, want: true, requests: 2},
		"a request since had an error response": {after: 5 * time.Second, fail: errFailed, want: true, requests: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHead()
				s := cache.New(h, cache.Options{})
				defer s.Close()
				if !s.Reachable(t.Context(), time.Now()) {
					t.Error("a cluster that responds is not reachable")
				}
				time.Sleep(row.after)
				h.fail(row.fail)
				if row.fail != nil {
					if _, err := s.JobsNewerThan(t.Context(), time.Time{}); err == nil {
						t.Error("the job list succeeded")
					}
				}
				if !row.up {
					h.fail(errSilent)
				} else {
					h.fail(nil)
				}
				if got := s.Reachable(t.Context(), time.Now()); got != row.want {
					t.Errorf("reachable: %t", got)
				}
				if n := h.requests["version"].Load(); n != row.requests {
					t.Errorf("%d requests for the version, want %d", n, row.requests)
				}
			})
		})
	}
}

func TestSource_OnJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead()
		s := cache.New(h, cache.Options{})
		defer s.Close()
		calls := 0
		s.OnJobs(func(jobs []ray.Job) { calls += len(jobs) })
		for range 3 {
			if _, err := s.Jobs(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if calls != 1 {
			t.Errorf("called %d times", calls)
		}
		h.fail(errSilent)
		time.Sleep(time.Minute)
		if _, err := s.Jobs(t.Context()); err == nil || calls != 1 {
			t.Errorf("a failed list: %v, called %d times", err, calls)
		}
	})
}

func TestSource_JobsNewerThan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead()
		s := cache.New(h, cache.Options{})
		defer s.Close()
		if _, err := s.Jobs(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := s.JobsNewerThan(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if n := h.requests["jobs"].Load(); n != 2 {
			t.Errorf("%d requests for the jobs", n)
		}
	})
}
