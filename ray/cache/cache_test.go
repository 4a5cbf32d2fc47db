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

// head answers every list at once and counts what it was asked.
type head struct {
	asked map[string]*atomic.Int64
	down  atomic.Pointer[error]
}

func newHead() *head {
	h := &head{asked: map[string]*atomic.Int64{}}
	for _, name := range []string{"version", "jobs", "nodes", "status", "tasks", "actors", "groups", "serve", "resources"} {
		h.asked[name] = &atomic.Int64{}
	}
	return h
}

func (h *head) ask(name string) error {
	h.asked[name].Add(1)
	if err := h.down.Load(); err != nil {
		return *err
	}
	return nil
}

// fail makes it fail from now on; nil: no more.
func (h *head) fail(err error) {
	if h.down.Store(nil); err != nil {
		h.down.Store(&err)
	}
}

func (h *head) Version(context.Context) (ray.Version, error) {
	return ray.Version{Ray: "2.60.0"}, h.ask("version")
}

func (h *head) Jobs(context.Context) ([]ray.Job, error) {
	return []ray.Job{{SubmissionID: "a"}}, h.ask("jobs")
}

func (h *head) Nodes(context.Context) ([]ray.Node, error) {
	return []ray.Node{{ID: "n"}}, h.ask("nodes")
}

func (h *head) ClusterStatus(context.Context) (ray.ClusterStatus, error) {
	return ray.ClusterStatus{Unmapped: 1}, h.ask("status")
}

func (h *head) Tasks(context.Context) (ray.TaskList, error) {
	return ray.TaskList{Tasks: []ray.Task{{ID: "t"}}}, h.ask("tasks")
}

func (h *head) Actors(context.Context) (ray.StateCounts, error) {
	return ray.StateCounts{ByState: map[string]int{"ALIVE": 1}}, h.ask("actors")
}

func (h *head) PlacementGroups(context.Context) (ray.StateCounts, error) {
	return ray.StateCounts{ByState: map[string]int{"CREATED": 1}}, h.ask("groups")
}

func (h *head) Serve(context.Context) (ray.ServeStatus, error) {
	return ray.ServeStatus{Running: true}, h.ask("serve")
}

func (h *head) Resources(context.Context) (ray.ClusterResources, error) {
	return ray.ClusterResources{Stale: true}, h.ask("resources")
}

// askAll calls every list once and reports the first failure.
func askAll(ctx context.Context, s ray.Source) error {
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
		return errors.New("an answer was lost or given to another question")
	}
	return nil
}

func TestSharingAsksEachListAsOftenAsItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead()
		s := cache.New(h, cache.Options{})
		defer s.Close()
		for range 60 {
			if err := askAll(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		for name, want := range map[string]int64{
			"version": 5, "jobs": 5, "nodes": 5, "status": 5, "serve": 5, "resources": 5, "tasks": 3, "actors": 3, "groups": 3,
		} {
			if n := h.asked[name].Load(); n != want {
				t.Errorf("%s: asked %d times in a minute, want %d", name, n, want)
			}
		}
	})
}

func TestSharingKnowsWhenTheClusterLastAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead()
		s := cache.New(h, cache.Options{})
		defer s.Close()
		if !s.LastSuccess().IsZero() {
			t.Error("it answered before it was asked")
		}
		if err := askAll(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		answered := time.Now()
		h.fail(errSilent)
		time.Sleep(time.Minute)
		if askAll(t.Context(), s) == nil {
			t.Error("a cluster that is down answered")
		}
		if !s.LastSuccess().Equal(answered) {
			t.Errorf("last answer %s, want %s", s.LastSuccess(), answered)
		}
	})
}

// errSilent is that nobody answers, errRefused that somebody does.
var (
	errSilent  = &ray.Error{Op: "ask", Code: 503, Detail: "connection refused"}
	errRefused = &ray.Error{Op: "ask", Code: 500, Status: 500, Detail: "a bug"}
)

func TestAClusterAnswersUntilARequestGoesWithoutAnAnswer(t *testing.T) {
	for name, row := range map[string]struct {
		after time.Duration // the last answer
		fail  error         // of the job list that discovery asks for then
		up    bool          // whether the version is answered
		want  bool
		asked int64 // versions, 1 with the first
	}{
		"an answer that is still good":        {after: 13 * time.Second, want: true, asked: 1},
		"an answer that is out of date":       {after: 14 * time.Second, asked: 2},
		"a request since found nobody":        {after: 5 * time.Second, fail: errSilent, asked: 2},
		"a request alone found nobody":        {after: 5 * time.Second, fail: errSilent, up: true, want: true, asked: 2},
		"a request since was answered: error": {after: 5 * time.Second, fail: errRefused, want: true, asked: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHead()
				s := cache.New(h, cache.Options{})
				defer s.Close()
				if !s.Reachable(t.Context(), time.Now()) {
					t.Error("a cluster that answers does not")
				}
				time.Sleep(row.after)
				h.fail(row.fail)
				if row.fail != nil {
					if _, err := s.JobsNewerThan(t.Context(), time.Time{}); err == nil {
						t.Error("the list came")
					}
				}
				if !row.up {
					h.fail(errSilent)
				} else {
					h.fail(nil)
				}
				if got := s.Reachable(t.Context(), time.Now()); got != row.want {
					t.Errorf("answers: %t", got)
				}
				if n := h.asked["version"].Load(); n != row.asked {
					t.Errorf("the version was asked for %d times, want %d", n, row.asked)
				}
			})
		})
	}
}

func TestEveryJobListIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHead()
		s := cache.New(h, cache.Options{})
		defer s.Close()
		told := 0
		s.OnJobs(func(jobs []ray.Job) { told += len(jobs) })
		for range 3 {
			if _, err := s.Jobs(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if told != 1 {
			t.Errorf("told %d times", told)
		}
		h.fail(errSilent)
		time.Sleep(time.Minute)
		if _, err := s.Jobs(t.Context()); err == nil || told != 1 {
			t.Errorf("a failed list: %v, told %d", err, told)
		}
	})
}

func TestJobsSinceAsksAgain(t *testing.T) {
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
		if n := h.asked["jobs"].Load(); n != 2 {
			t.Errorf("asked for the jobs %d times", n)
		}
	})
}
