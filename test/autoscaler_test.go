//go:build e2e && linux

package test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"raytap/test/realray"
)

// demandScript requests more than its cluster has: with tasks, an actor, and two
// placement groups of one strategy, which Ray's report merges.
const demandScript = `python3 -c '
import ray, time
ray.init(address="auto")
@ray.remote(num_cpus=7)
def task(): pass
@ray.remote(num_gpus=3, num_cpus=0)
class Actor:
    def ready(self): pass
tasks = [task.remote() for _ in range(2)]
actor = Actor.remote()
from ray.util.placement_group import placement_group
groups = [placement_group([{"CPU": 5}]), placement_group([{"GPU": 2}, {"GPU": 2}])]
time.sleep(1000)'`

// With autoscaler v2 the cluster status stays null, but resources and demand still have
// their series. The exposition is valid OpenMetrics.
func TestCollector_AutoscalerV2(t *testing.T) {
	t.Parallel() // it has its own head
	head := ownHead(t, realray.Options{CPUs: 2, Env: []string{"RAY_enable_autoscaler_v2=1"}})
	ctx := within(t, 2*time.Minute)
	if _, err := head.Submit(ctx, realray.Submission{Entrypoint: demandScript}); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, head, settings{})
	eventually(t, 90*time.Second, "the pending demand is in the metrics", func() error {
		metrics, err := d.scrape(t)
		if err != nil {
			return err
		}
		return firstError(
			metrics.want(1, "raytap_autoscaler_info", "version=v2"),
			metrics.want(1, "raytap_cluster_status_available"),
			metrics.want(2, "raytap_cluster_resources", "resource=CPU"),
			metrics.want(1e8, "raytap_cluster_resources", "resource=object_store_memory"),
			metrics.want(14, "raytap_pending_demand", "resource=CPU"),
			metrics.want(3, "raytap_pending_demand", "resource=GPU"),
			metrics.want(5, "raytap_pending_placement_group_demand", "resource=CPU"),
			metrics.want(4, "raytap_pending_placement_group_demand", "resource=GPU"),
			metrics.want(0, "raytap_node_resources_used", "resource=object_store_memory"),
			checkCollectors(metrics),
		)
	})
	if status, err := plainStatus(head.URL); err != nil || !strings.Contains(status, `"clusterStatus": null`) {
		t.Errorf("Ray has a cluster status: %s, %v", status, err)
	}
	checkOpenMetrics(t, d.url+"/metrics")
}

// plainStatus returns Ray's response for the cluster status.
func plainStatus(url string) (string, error) {
	r, err := http.Get(url + "/api/cluster_status")
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusOK {
		err = errors.Join(err, errors.New(r.Status))
	}
	return string(b), err
}
