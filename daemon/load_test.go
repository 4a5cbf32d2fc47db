package daemon

import (
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"raytap/config"
	"raytap/ray/raytest"
)

// toll is a proxy of a head that counts requests by path. It keeps no connection
// open, so that the bubble's clock advances between requests.
type toll struct {
	*httptest.Server
	mu     sync.Mutex
	counts map[string]int
}

func newToll(t *testing.T, head *raytest.Head) *toll {
	t.Helper()
	target, err := url.Parse(head.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{DisableKeepAlives: true}
	proxy.ErrorLog = log.New(io.Discard, "", 0) // of requests that the daemon's end cut short
	x := &toll{counts: map[string]int{}}
	x.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x.mu.Lock()
		x.counts[r.URL.Path]++
		x.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	x.Config.SetKeepAlivesEnabled(false)
	x.Start()
	t.Cleanup(x.Close)
	return x
}

// since returns the requests since the last call.
func (x *toll) since() map[string]int {
	x.mu.Lock()
	defer x.mu.Unlock()
	counts := x.counts
	x.counts = map[string]int{}
	return counts
}

// scraped scrapes a daemon for two and a half minutes of the bubble's time, every 15 s
// in each phase.
func scraped(t *testing.T, c config.Config, phases ...time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		silent, _ := test.NewNullLogger()
		d, err := New(c, Options{Stdout: io.Discard, Version: "test", Log: silent})
		if err != nil {
			t.Fatal(err)
		}
		// Like Run, but without a server: waiting for connections would stop the
		// bubble's clock.
		ctx, cancel := context.WithCancel(t.Context())
		output := start(ctx, d.output.Run)
		d.clusters.apply(ctx, d.first)
		var wg sync.WaitGroup
		for _, phase := range phases {
			wg.Go(func() {
				time.Sleep(phase)
				for range 10 {
					began := time.Now()
					answer := httptest.NewRecorder()
					d.server.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil))
					if !strings.Contains(answer.Body.String(), `raytap_up{ray_cluster="prod"} 1`) {
						t.Error("the cluster is not up")
					}
					time.Sleep(15*time.Second - time.Since(began))
				}
			})
		}
		wg.Wait()
		stop(d.clusters.all())
		cancel()
		<-output.ended
		d.storage.close()
		if err := d.server.Run(ctx); err != nil { // closes what New bound
			t.Error(err)
		}
	})
}

func TestMetrics_LoadOfManyScrapes(t *testing.T) {
	head := newToll(t, heads(t, "prod")["prod"])
	for name, ship := range map[string]bool{"metrics alone": false, "metrics and lines": true} {
		t.Run(name, func(t *testing.T) {
			c := configure(t, nil)
			c.Collector, c.Shipper = config.Default().Collector, config.Default().Shipper
			c.Shipper.Enabled = ship
			c.Clusters = []config.Cluster{{
				Name: "prod", API: "ray", URL: config.URL(head.URL), Timeout: config.Duration(10 * time.Second),
				MaxConcurrent: 8, MaxBody: 1 << 20, NodeAgents: config.NodeAgents{Mode: "off"},
			}}
			scraped(t, c, 0)
			one := head.since()
			phases := make([]time.Duration, 10)
			for i := range phases {
				phases[i] = rand.N(15 * time.Second)
			}
			scraped(t, c, phases...)
			ten := head.since()
			if len(one) < 8 || one[raytest.EndpointNodes] == 0 {
				t.Fatalf("one server causes few requests: %v", one)
			}
			// The ten come for up to a scrape longer.
			for path := range ten {
				edge := 1
				switch {
				case path == raytest.EndpointVersion: // the daemon asks for it by itself, too
					edge = 3
				case path == raytest.EndpointJobs && ship: // and goes on to discover
					edge = 4
				}
				if ten[path] < one[path]-1 || ten[path] > one[path]+edge {
					t.Errorf("%s: %d requests of one server, but of ten at %v %d", path, one[path], phases, ten[path])
				}
			}
		})
	}
}
