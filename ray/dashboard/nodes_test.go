package dashboard

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"testing"

	"raytap/ray"
)

// summaryOf returns a node of the summary; now == "" omits the stats.
func summaryOf(id, state, now, more string) string {
	if now != "" {
		now = `"now":` + now + `,"cpu":50.0,"cpus":[4,2],"mem":[100,60,40.0,40],`
	}
	return fmt.Sprintf(`{%s"hostname":"h","raylet":{"nodeId":%q,"state":%q%s}}`, now, id, state, more)
}

func nodesClient(t *testing.T, list, summary string) *Client {
	return serveClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/nodes" {
			if summary == "" {
				http.Error(w, "500 Internal Server Error", http.StatusInternalServerError)
				return
			}
			_, _ = io.WriteString(w, `{"result":true,"data":{"summary":[`+summary+`]}}`)
			return
		}
		_, _ = io.WriteString(w, list)
	})
}

func nodeOf(state string) string {
	return fmt.Sprintf(`{"node_id":"n","state":%q,"node_ip":"10.0.0.1","resources_total":{"CPU":4,"CPU_group_7d1e7637d18702f7b5b8c26f6afd03000000":1}}`, state)
}

func TestNodes_CurrentStats(t *testing.T) {
	const newer = `,{"now":1000120,"raylet":{"nodeId":"other","state":"ALIVE"}}`
	for _, row := range []struct {
		name, state, summary string
		stats                bool
		reason               string
	}{
		{"alive", "ALIVE", summaryOf("n", "ALIVE", "1000000", ""), true, ""},
		{"as a string", "ALIVE", summaryOf("n", "ALIVE", `"1000000"`, ""), true, ""},
		{"two minutes behind another node's clock", "ALIVE", summaryOf("n", "ALIVE", "1000000", "") + newer, true, ""},
		{"two minutes ahead of another node's clock", "ALIVE", summaryOf("n", "ALIVE", "1000240", "") + newer, true, ""},
		{"dead", "DEAD", summaryOf("n", "DEAD", "1000000", `,"deathInfo":{"reason":"UNEXPECTED_TERMINATION","reasonMessage":"x"}`), false, "UNEXPECTED_TERMINATION"},
		{"dead in the first response only", "DEAD", summaryOf("n", "ALIVE", "1000000", ""), false, ""},
		{"dead in the second response only", "ALIVE", summaryOf("n", "DEAD", "1000000", `,"deathInfo":{"reason":"X"}`), false, ""},
		{"no report yet", "ALIVE", summaryOf("n", "ALIVE", "", ""), false, ""},
		{"not in the summary", "ALIVE", summaryOf("m", "ALIVE", "1000000", ""), false, ""},
		{"an incomplete report", "ALIVE", `{"now":1000000,"cpu":50.0,"cpus":[4,2],"mem":[100,null,1,40],"raylet":{"nodeId":"n","state":"ALIVE"}}`, false, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			nodes, err := nodesClient(t, stateAnswer(1, 1, 1, 1, nodeOf(row.state)), row.summary).Nodes(t.Context())
			if err != nil || len(nodes) != 1 {
				t.Fatalf("%+v, %v", nodes, err)
			}
			n := nodes[0]
			if (n.Stats != nil) != row.stats || n.DeathReason != row.reason || n.StatsUnavailable {
				t.Errorf("stats %+v, reason %q, failed %t", n.Stats, n.DeathReason, n.StatsUnavailable)
			}
			want := map[string]float64{"CPU": 4}
			if row.state == "DEAD" {
				want = nil
			}
			if !reflect.DeepEqual(n.Resources, want) {
				t.Errorf("resources are %v", n.Resources)
			}
			if n.Stats != nil && (n.Stats.CPURatio != 0.5 || n.Stats.MemUsed != 40 || n.Stats.ObjectStore != nil || n.Stats.HasLoad || n.Stats.HasNetwork) {
				t.Errorf("stats are %+v", n.Stats)
			}
		})
	}
}

func TestNodes_StatsUnavailable(t *testing.T) {
	nodes, err := nodesClient(t, stateAnswer(1, 1, 1, 1, nodeOf("ALIVE")), "").Nodes(t.Context())
	if err != nil || len(nodes) != 1 || !nodes[0].StatsUnavailable || nodes[0].Stats != nil || nodes[0].Resources["CPU"] != 4 {
		t.Errorf("%+v, %v", nodes, err)
	}
}

func TestNodes_GPUUnits(t *testing.T) {
	const gpus = `{"now":1,"cpu":1,"cpus":[1],"mem":[1,1,1,1],"gpus":[{"index":1,"name":"A","uuid":"u","utilizationGpu":25,"memoryUsed":2,"memoryTotal":"4"},{"utilizationGpu":null}],"raylet":{"nodeId":"n","state":"ALIVE"}}`
	nodes, err := nodesClient(t, stateAnswer(1, 1, 1, 1, nodeOf("ALIVE")), gpus).Nodes(t.Context())
	if err != nil || nodes[0].Stats == nil || len(nodes[0].Stats.GPUs) != 2 {
		t.Fatalf("%+v, %v", nodes, err)
	}
	a, b := nodes[0].Stats.GPUs[0], nodes[0].Stats.GPUs[1]
	if a.Index != 1 || a.Utilization == nil || *a.Utilization != 0.25 || a.MemUsed != 2<<20 || a.MemTotal != 4<<20 || b.Utilization != nil || b.Index != 1 {
		t.Errorf("%+v %+v", a, b)
	}
}

func TestCamelCase(t *testing.T) {
	for in, want := range map[string]string{
		"CPU": "CPU", "object_store_memory": "objectStoreMemory", "node:__internal_head__": "node:InternalHead",
		"my_custom_res": "myCustomRes", "TPU-v4_head": "TPU-v4Head", "node:10.0.0.10": "node:10.0.0.10", "a_bCD": "aBcd",
		"bundle_group_0_7d1e7637d18702f7b5b8c26f6afd03000000": "bundleGroup07D1E7637D18702F7B5B8C26F6Afd03000000",
		"x_é-b": "xÉ-B", "": "", "_a": "A", "a__": "a",
	} {
		if got := camelCase(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

const groupID = "7d1e7637d18702f7b5b8c26f6afd03000000"

// statusOf responds like Ray 2.60.0 with a placement group and two resources whose
// camel-cased names are the same.
const statusOf = `{"result":true,"data":{"clusterStatus":{"time":5,"loadMetricsReport":{
 "usage":{"CPU":[1,2],"CPUGroup7D1E7637D18702F7B5B8C26F6Afd03000000":[1,1],"CPUGroup07D1E7637D18702F7B5B8C26F6Afd03000000":[1,1],"bundleGroup7D1E7637D18702F7B5B8C26F6Afd03000000":[0.001,1000],"aB":[0,1],"myRes":[0,3],"lostName":[0,1]},
 "usageByNode":{"n":{"CPU":[1,2],"aB":[0,1],"lostName":[0,1]}},
 "resourceDemand":[[{"CPU_group_` + groupID + `":1.0,"bundle_group_` + groupID + `":0.001},2],
  [{"CPU_group_0_` + groupID + `":1.0,"bundle_group_0_` + groupID + `":0.001,"CPU_group_` + groupID + `":1.0},3],
  [{"bundle_group_` + groupID + `":0.001},1],[{"CPU":7.0,"my_res":1.0},1]],
 "pgDemand":[[{"bundles":[[{"CPU":50.0},1],[{"CPU":1.0},2]],"strategy":"PACK"},3]],
 "nodeTypes":[[{"CPU":2,"a_b":1,"aB":1,"CPU_group_` + groupID + `":1},1]]}}}}`

func TestClusterStatus_PlacementGroupResources(t *testing.T) {
	lists := 0
	c := serveClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/cluster_status" {
			_, _ = io.WriteString(w, statusOf)
			return
		}
		lists++
		_, _ = io.WriteString(w, stateAnswer(1, 1, 1, 1, `{"node_id":"n","state":"ALIVE","resources_total":{"my_res":3}}`))
	})
	for range 2 {
		s, err := c.ClusterStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]ray.Usage{"CPU": {Used: 1, Total: 2}, "my_res": {Total: 3}}; !reflect.DeepEqual(s.Usage, want) {
			t.Errorf("usage is %v", s.Usage)
		}
		if len(s.ByNode["n"]) != 1 || s.Unmapped != 2 {
			t.Errorf("by node %v, unmapped %d", s.ByNode, s.Unmapped)
		}
		pending := []ray.Demand{{Resources: map[string]float64{"CPU": 1}, Count: 5}, {Resources: map[string]float64{"CPU": 7, "my_res": 1}, Count: 1}}
		if !reflect.DeepEqual(s.Pending, pending) {
			t.Errorf("pending is %+v", s.Pending)
		}
		if pgs := []ray.Demand{{Resources: map[string]float64{"CPU": 50}, Count: 3}, {Resources: map[string]float64{"CPU": 1}, Count: 6}}; !reflect.DeepEqual(s.PGs, pgs) {
			t.Errorf("demand of placement groups is %+v", s.PGs)
		}
	}
	if lists != 1 {
		t.Errorf("%d requests for the node list", lists)
	}
}

func TestClusterStatus_NotWrittenYet(t *testing.T) {
	c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"result":true,"msg":"","data":{"clusterStatus":null}}`)
	})
	if s, err := c.ClusterStatus(t.Context()); err != nil || s.Usage != nil || !s.At.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
}
