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

// requestLog records the times of the requests for each list of a cluster.
type requestLog struct {
	*cluster
	take time.Duration // of the bubble's clock, for the list of tasks
	fail error         // of that list
	mu   sync.Mutex
	when map[string][]time.Time
}

func (a *requestLog) note(list string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.when[list] = append(a.when[list], time.Now())
}

func (a *requestLog) Version(ctx context.Context) (ray.Version, error) {
	a.note("version")
	return a.cluster.Version(ctx)
}

func (a *requestLog) ClusterStatus(ctx context.Context) (ray.ClusterStatus, error) {
	a.note("status")
	return a.cluster.ClusterStatus(ctx)
}

func (a *requestLog) Jobs(ctx context.Context) ([]ray.Job, error) {
	a.note("jobs")
	return a.cluster.Jobs(ctx)
}

func (a *requestLog) Nodes(ctx context.Context) ([]ray.Node, error) {
	a.note("nodes")
	return a.cluster.Nodes(ctx)
}

func (a *requestLog) Tasks(ctx context.Context) (ray.TaskList, error) {
	a.note("tasks")
	time.Sleep(a.take)
	if a.fail != nil {
		return ray.TaskList{}, a.fail
	}
	return a.cluster.Tasks(ctx)
}

func (a *requestLog) Actors(ctx context.Context) (ray.StateCounts, error) {
	a.note("actors")
	return a.cluster.Actors(ctx)
}

func (a *requestLog) PlacementGroups(ctx context.Context) (ray.StateCounts, error) {
	a.note("groups")
	return a.cluster.PlacementGroups(ctx)
}

func (a *requestLog) Serve(ctx context.Context) (ray.ServeStatus, error) {
	a.note("serve")
	return a.cluster.Serve(ctx)
}

func (a *requestLog) Resources(ctx context.Context) (ray.ClusterResources, error) {
	a.note("resources")
	return a.cluster.Resources(ctx)
}

// freshness is the minimum time that a response is cached. Tasks take one second, so that
// they are cached for 50.
var freshness = map[string]time.Duration{
	"version": 14 * time.Second, "jobs": 14 * time.Second, "nodes": 14 * time.Second, "status": 14 * time.Second,
	"serve": 14 * time.Second, "resources": 14 * time.Second,
	"tasks": 50 * time.Second, "actors": 29 * time.Second, "groups": 29 * time.Second,
}

// scrape simulates scrapers with an interval of 15 s for ten minutes, each with its phase, and
// returns the times of the requests for each list. Tasks take some time.
func scrape(t *testing.T, take time.Duration, phases ...time.Duration) map[string][]time.Time {
	t.Helper()
	return scrapeOf(t, &requestLog{cluster: full(time.Now()), take: take}, phases...)
}

func scrapeOf(t *testing.T, asked *requestLog, phases ...time.Duration) map[string][]time.Time {
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

// evenly returns n evenly spaced phases of scrapes every 15 s.
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

func TestScrapeLoad_TenScrapers(t *testing.T) {
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
				// One more if the phases compensate for a late scrape.
				if n < 10 || ten[list] < n-1 || ten[list] > n+1 {
					t.Errorf("%s: %d requests with one scraper, with ten at %v %d", list, n, phases, ten[list])
				}
			}
		}
	})
}

func TestScrapeLoad_SlowList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tasks := func(phases ...time.Duration) int {
			silent := &requestLog{cluster: full(time.Now()), take: 10 * time.Second, fail: &ray.Error{Op: "list tasks", Code: 408}}
			return count(scrapeOf(t, silent, phases...))["tasks"]
		}
		// In ten minutes, a list cached for 29 s is requested at every other scrape.
		if one, ten := tasks(0), tasks(evenly(10)...); one != 20 || ten < 19 || ten > 21 {
			t.Errorf("%d requests with one scraper, %d with ten", one, ten)
		}
	})
}

func TestScrapeLoad_OneScraper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for list, n := range count(scrape(t, 0, 0)) {
			if freshness[list] < 15*time.Second && n != 40 {
				t.Errorf("40 scrapes request %s %d times", list, n)
			}
		}
	})
}

func TestScrapeLoad_UnalignedScrapers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{10, 50} {
			for list, when := range scrape(t, time.Second, evenly(n)...) {
				for i, at := range when[1:] {
					if since := at.Sub(when[i]); since < freshness[list] {
						t.Fatalf("%d scrapers: %s is requested again after %s, but cached for %s", n, list, since, freshness[list])
					}
				}
			}
		}
	})
}

func TestScrapeLoad_OneStateRequestAtATime(t *testing.T) {
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
		t.Errorf("one scraper sends %v, ten concurrent ones send %v", one, ten)
	}
}
