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

// Law: what cannot be had has no series, one series says so, and the log once.
func TestAClusterWithoutAStatusSaysSo(t *testing.T) {
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
			shows(t, page(t, t.Context(), of, col), none)
			time.Sleep(15 * time.Second)
		}
		if n := len(lines.AllEntries()); n != 1 || !strings.Contains(lines.LastEntry().Message, "are not known") {
			t.Errorf("%d lines: %v", n, lines.AllEntries())
		}
		lines.Reset()
		c.status = ray.ClusterStatus{Autoscaler: ray.AutoscalerV2, Usage: map[string]ray.Usage{"CPU": {Used: 1, Total: 2}}, PGsUnknown: true}
		for range 8 {
			shows(t, page(t, t.Context(), of, col), `
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
			t.Errorf("%d lines: %v", n, lines.AllEntries())
		}
	})
}

// With autoscaler v2 what is used of a node is in the list of nodes, and a node
// that is dead uses nothing.
func TestWhatNodesUseWithAutoscalerV2(t *testing.T) {
	used := map[string]ray.Usage{"CPU": {Used: 1, Total: 4}}
	c := &cluster{
		nodes: []ray.Node{
			{ID: "n1", State: ray.NodeAlive, Resources: map[string]float64{"CPU": 4}, Usage: used},
			{ID: "n2", State: ray.NodeDead, End: time.Now(), Usage: used},
		},
		status: ray.ClusterStatus{Autoscaler: ray.AutoscalerV2, Usage: used},
	}
	shows(t, page(t, t.Context(), []string{"node_resources_used"}, newCollector(c, collector.Options{})), `
		raytap_node_resources_used{node_id="n1",resource="CPU"} 1`)
	// A status of v1 tells exactly.
	c.status.ByNode = map[string]map[string]ray.Usage{"n1": {"CPU": {Used: 3, Total: 4}}}
	shows(t, page(t, t.Context(), []string{"node_resources_used"}, newCollector(c, collector.Options{})), `
		raytap_node_resources_used{node_id="n1",resource="CPU"} 3`)
}
