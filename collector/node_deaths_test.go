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
