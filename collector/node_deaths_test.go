package collector_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"raytap/collector"
	"raytap/ray"
)

// A dead node has a constant time of death, and the series that RayNodeLost needs, for as
// long as other nodes are shown after their death.
func TestNodeDeaths_FirstSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{nodes: []ray.Node{
			{ID: "n1", State: ray.NodeAlive, Start: time.Now()},
			{ID: "n2", State: ray.NodeAlive, Start: time.Now()},
		}}
		col := newCollector(c, collector.Options{})
		of := []string{"node_end", "node_death_info"}
		shows(t, exposition(t, t.Context(), of, col), ``)
		time.Sleep(100 * time.Second) // of the bubble's clock: 2000-01-01 is 946684800
		c.nodes[1].State = ray.NodeDead
		const dead = `
			raytap_node_death_info{node_id="n2",reason="UNSPECIFIED"} 1
			raytap_node_end_timestamp_seconds{node_id="n2"} 9.466849e+08`
		for range 4 {
			shows(t, exposition(t, t.Context(), of, col), dead)
			time.Sleep(15 * time.Minute)
		}
		time.Sleep(time.Second)
		shows(t, exposition(t, t.Context(), of, col), ``)
		if !c.nodes[1].End.IsZero() {
			t.Error("the shared list was modified")
		}
	})
}

// The time of death of a node that Ray no longer lists is removed.
func TestNodeDeaths_Forgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := []ray.Node{{ID: "n", State: ray.NodeDead}}
		c := &cluster{nodes: dead}
		col := newCollector(c, collector.Options{})
		show := func(want string) {
			t.Helper()
			shows(t, exposition(t, context.Background(), []string{"node_end"}, col), want)
		}
		show(`raytap_node_end_timestamp_seconds{node_id="n"} 9.466848e+08`)
		c.nodes = nil
		show(``)
		time.Sleep(100 * time.Second)
		c.nodes = dead
		show(`raytap_node_end_timestamp_seconds{node_id="n"} 9.466849e+08`)
	})
}

// A node that Ray lost because Kubernetes deleted its pod has a reason of its own, for which
// RayNodeLost does not fire. The next pod with its address is another one.
func TestNodeDeaths_PodDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		died := func(id, ip, reason string, start, end time.Duration) ray.Node {
			return ray.Node{ID: id, IP: ip, State: ray.NodeDead, DeathReason: reason, Start: now.Add(start), End: now.Add(end)}
		}
		c := &cluster{nodes: []ray.Node{
			died("deleted", "10.0.0.1", "UNEXPECTED_TERMINATION", -time.Hour, -19*time.Minute),
			died("drained", "10.0.0.1", "AUTOSCALER_DRAIN_IDLE", -time.Hour, -19*time.Minute),
			died("early", "10.0.0.1", "", -time.Hour, -20*time.Minute-time.Second),
			died("long before", "10.0.0.1", "", -time.Hour, -30*time.Minute),
			died("long after", "10.0.0.1", "", -time.Hour, -9*time.Minute),
			died("next", "10.0.0.1", "UNEXPECTED_TERMINATION", -18*time.Minute, -15*time.Minute),
			died("other", "10.0.0.2", "UNEXPECTED_TERMINATION", -time.Hour, -19*time.Minute),
		}}
		col := newCollector(c, collector.Options{Nodes: collector.NodesOptions{PodDeleted: func(ip string) time.Time {
			if ip == "10.0.0.1" {
				return now.Add(-20 * time.Minute)
			}
			return time.Time{}
		}}})
		shows(t, exposition(t, t.Context(), []string{"node_death_info"}, col), `
			raytap_node_death_info{node_id="deleted",reason="POD_DELETED"} 1
			raytap_node_death_info{node_id="drained",reason="AUTOSCALER_DRAIN_IDLE"} 1
			raytap_node_death_info{node_id="early",reason="POD_DELETED"} 1
			raytap_node_death_info{node_id="long after",reason="UNSPECIFIED"} 1
			raytap_node_death_info{node_id="long before",reason="UNSPECIFIED"} 1
			raytap_node_death_info{node_id="next",reason="UNEXPECTED_TERMINATION"} 1
			raytap_node_death_info{node_id="other",reason="UNEXPECTED_TERMINATION"} 1`)
		if c.nodes[0].DeathReason != "UNEXPECTED_TERMINATION" {
			t.Error("the shared list was modified")
		}
	})
}
