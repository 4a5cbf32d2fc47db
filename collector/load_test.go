package collector_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"raytap/collector"
	"raytap/ray"
	"raytap/ray/cache"
	"raytap/ray/dashboard"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

// asks notes when a cluster was asked for each of its lists.
type asks struct {
	*cluster
	take time.Duration // of the bubble's clock, for the list of tasks
	fail error         // of that list
	mu   sync.Mutex
	when map[string][]time.Time
}

func (a *asks) note(list string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.when[list] = append(a.when[list], time.Now())
}

func (a *asks) Version(ctx context.Context) (ray.Version, error) {
	a.note("version")
	return a.cluster.Version(ctx)
}

func (a *asks) ClusterStatus(ctx context.Context) (ray.ClusterStatus, error) {
	a.note("status")
	return a.cluster.ClusterStatus(ctx)
}

func (a *asks) Jobs(ctx context.Context) ([]ray.Job, error) {
	a.note("jobs")
	return a.cluster.Jobs(ctx)
}

func (a *asks) Nodes(ctx context.Context) ([]ray.Node, error) {
	a.note("nodes")
	return a.cluster.Nodes(ctx)
}

func (a *asks) Tasks(ctx context.Context) (ray.TaskList, error) {
	a.note("tasks")
	time.Sleep(a.take)
	if a.fail != nil {
		return ray.TaskList{}, a.fail
	}
	return a.cluster.Tasks(ctx)
}

func (a *asks) Actors(ctx context.Context) (ray.StateCounts, error) {
	a.note("actors")
	return a.cluster.Actors(ctx)
}

func (a *asks) PlacementGroups(ctx context.Context) (ray.StateCounts, error) {
	a.note("groups")
	return a.cluster.PlacementGroups(ctx)
}

func (a *asks) Serve(ctx context.Context) (ray.ServeStatus, error) {
	a.note("serve")
	return a.cluster.Serve(ctx)
}

func (a *asks) Resources(ctx context.Context) (ray.ClusterResources, error) {
	a.note("resources")
	return a.cluster.Resources(ctx)
}

// freshness is how long an answer is good for at the least. That of tasks takes
// a second, which makes it good for 50.
var freshness = map[string]time.Duration{
	"version": 14 * time.Second, "jobs": 14 * time.Second, "nodes": 14 * time.Second, "status": 14 * time.Second,
	"serve": 14 * time.Second, "resources": 14 * time.Second,
	"tasks": 50 * time.Second, "actors": 29 * time.Second, "groups": 29 * time.Second,
}

// scrape has scrapers come every 15 s for ten minutes, each in its phase, and
// tells when each list was asked for. That of tasks takes a while.
func scrape(t *testing.T, take time.Duration, phases ...time.Duration) map[string][]time.Time {
	t.Helper()
	return scrapeOf(t, &asks{cluster: full(time.Now()), take: take}, phases...)
}

func scrapeOf(t *testing.T, asked *asks, phases ...time.Duration) map[string][]time.Time {
	t.Helper()
	asked.when = map[string][]time.Time{}
	s := cache.New(asked, cache.Options{})
	defer s.Close()
	c := newCollector(s, collector.Options{})
	var wg sync.WaitGroup
	for _, phase := range phases {
		wg.Go(func() {
			time.Sleep(phase)
			for range 40 {
				began := time.Now()
				c.Collect(t.Context())
				time.Sleep(15*time.Second - time.Since(began))
			}
		})
	}
	wg.Wait()
	return asked.when
}

// evenly gives n phases of scrapes at 15 s.
func evenly(n int) []time.Duration {
	phases := make([]time.Duration, n)
	for i := range phases {
		phases[i] = time.Duration(i) * 15 * time.Second / time.Duration(n)
	}
	return phases
}

func count(when map[string][]time.Time) map[string]int {
	n := map[string]int{}
	for list, times := range when {
		n[list] = len(times)
	}
	return n
}

func TestTenScrapersCostTheClusterWhatOneDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := count(scrape(t, 0, 0))
		together := make([]time.Duration, 10)
		random := make([]time.Duration, 10)
		for i := range random {
			together[i] = time.Duration(i) * 100 * time.Millisecond
			random[i] = rand.N(15 * time.Second)
		}
		for _, phases := range [][]time.Duration{together, evenly(10), random} {
			ten := count(scrape(t, 0, phases...))
			for list, n := range one {
				// One more where the phases make up for a scrape that comes late.
				if n < 10 || ten[list] < n-1 || ten[list] > n+1 {
					t.Errorf("%s: one scraper asks %d times, ten at %v ask %d times", list, n, phases, ten[list])
				}
			}
		}
	})
}

func TestAListThatIsTooSlowIsAskedForNoMoreOftenByTenScrapers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tasks := func(phases ...time.Duration) int {
			silent := &asks{cluster: full(time.Now()), take: 10 * time.Second, fail: &ray.Error{Op: "list tasks", Code: 408}}
			return count(scrapeOf(t, silent, phases...))["tasks"]
		}
		// Ten minutes, and what is good for 29 s is asked for at every other scrape.
		if one, ten := tasks(0), tasks(evenly(10)...); one != 20 || ten < 19 || ten > 21 {
			t.Errorf("one scraper asks %d times, ten ask %d times", one, ten)
		}
	})
}

func TestAScraperAloneGetsNewAnswersEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for list, n := range count(scrape(t, 0, 0)) {
			if freshness[list] < 15*time.Second && n != 40 {
				t.Errorf("40 scrapes ask for %s %d times", list, n)
			}
		}
	})
}

func TestScrapersThatComeAtAnyTimeAskOncePerFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{10, 50} {
			for list, when := range scrape(t, time.Second, evenly(n)...) {
				for i, at := range when[1:] {
					if since := at.Sub(when[i]); since < freshness[list] {
						t.Fatalf("%d scrapers: %s is asked for again after %s, and good for %s", n, list, since, freshness[list])
					}
				}
			}
		}
	})
}

func TestScrapesSendOneStateRequestAtATime(t *testing.T) {
	paths := []string{
		raytest.EndpointVersion, raytest.EndpointJobs, raytest.EndpointNodes, raytest.EndpointNodesSummary, raytest.EndpointClusterStatus,
		raytest.EndpointTasks, raytest.EndpointActors, raytest.EndpointActorsSummary, raytest.EndpointPlacementGroups, raytest.EndpointServe,
	}
	run := func(scrapers int) map[string]int {
		head := raytest.New(t)
		var now, most atomic.Int64
		for _, path := range []string{raytest.EndpointNodes, raytest.EndpointTasks, raytest.EndpointActorsSummary, raytest.EndpointPlacementGroups} {
			head.SetResponseFunc(path, func(r *http.Request) (int, []byte) {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				defer now.Add(-1)
				select {
				case <-time.After(20 * time.Millisecond): // long enough for the others to come
				case <-r.Context().Done():
				}
				return http.StatusOK, []byte(`{"result":true,"data":{"result":{"total":0,"num_after_truncation":0,"num_filtered":0,"result":[]}}}`)
			})
		}
		tr, err := transport.New(transport.Options{URL: head.URL(), MaxConcurrent: 8})
		if err != nil {
			t.Fatal(err)
		}
		client, err := dashboard.New(tr, dashboard.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		s := cache.New(client, cache.Options{})
		defer s.Close()
		c := newCollector(s, collector.Options{})
		var wg sync.WaitGroup
		for range scrapers {
			wg.Go(func() { c.Collect(t.Context()) })
		}
		wg.Wait()
		if most.Load() != 1 {
			t.Errorf("%d State API requests at a time", most.Load())
		}
		counts := map[string]int{}
		for _, path := range paths {
			counts[path] = head.Requests(path)
		}
		return counts
	}
	one, ten := run(1), run(10)
	if !maps.Equal(one, ten) || slices.Max(slices.Collect(maps.Values(ten))) != 1 {
		t.Errorf("one scraper sends %v, ten at once send %v", one, ten)
	}
}
