package collector_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"raytap/collector"
	"raytap/ray"
)

// Without a status there are no series of it, one series shows that, and it is logged once.
func TestStatus_Missing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := test.NewNullLogger()
		log.SetLevel(logrus.InfoLevel)
		c := &cluster{}
		col := newCollector(c, collector.Options{Log: log})
		of := []string{"autoscaler", "cluster_status", "cluster_resources", "pending"}
		const none = `
			raytap_cluster_resources_overflow{ray_cluster="prod"} 0
			raytap_cluster_resources_unmapped{ray_cluster="prod"} 0
			raytap_cluster_status_available{ray_cluster="prod"} 0`
		for range 8 {
			shows(t, exposition(t, t.Context(), of, col), none)
			time.Sleep(15 * time.Second)
		}
		if n := len(lines.AllEntries()); n != 1 || !strings.Contains(lines.LastEntry().Message, "are not known") {
			t.Errorf("%d log entries: %v", n, lines.AllEntries())
		}
		lines.Reset()
		c.status = ray.ClusterStatus{Autoscaler: ray.AutoscalerV2, Usage: map[string]ray.Usage{"CPU": {Used: 1, Total: 2}}, PGsUnknown: true}
		for range 8 {
			shows(t, exposition(t, t.Context(), of, col), `
				raytap_autoscaler_info{version="v2"} 1
				raytap_cluster_resources{resource="CPU"} 2
				raytap_cluster_resources_overflow{ray_cluster="prod"} 0
				raytap_cluster_resources_unmapped{ray_cluster="prod"} 0
				raytap_cluster_resources_used{resource="CPU"} 1
				raytap_cluster_status_available{ray_cluster="prod"} 1
				raytap_pending_demand{resource="CPU"} 0`)
			time.Sleep(15 * time.Second)
		}
		if n := len(lines.AllEntries()); n != 2 || !strings.Contains(lines.LastEntry().Message, "Autoscaler v2") {
			t.Errorf("%d log entries: %v", n, lines.AllEntries())
		}
	})
}

// With autoscaler v2 the usage of a node is in the node list, and a dead node has none.
func TestNodeUsage_AutoscalerV2(t *testing.T) {
	used := map[string]ray.Usage{"CPU": {Used: 1, Total: 4}}
	c := &cluster{
		nodes: []ray.Node{
			{ID: "n1", State: ray.NodeAlive, Resources: map[string]float64{"CPU": 4}, Usage: used},
			{ID: "n2", State: ray.NodeDead, End: time.Now(), Usage: used},
		},
		status: ray.ClusterStatus{Autoscaler: ray.AutoscalerV2, Usage: used},
	}
	shows(t, exposition(t, t.Context(), []string{"node_resources_used"}, newCollector(c, collector.Options{})), `
		raytap_node_resources_used{node_id="n1",resource="CPU"} 1`)
	// A status of v1 has the exact usage.
	c.status.ByNode = map[string]map[string]ray.Usage{"n1": {"CPU": {Used: 3, Total: 4}}}
	shows(t, exposition(t, t.Context(), []string{"node_resources_used"}, newCollector(c, collector.Options{})), `
		raytap_node_resources_used{node_id="n1",resource="CPU"} 3`)
}
