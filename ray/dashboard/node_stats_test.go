package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
)

// twoNodes returns a client of the two nodes of a recording of Ray 2.60.0, each
// modified by change (0 is the head) before it is sent.
func twoNodes(t *testing.T, change func(i int, node map[string]any)) *Client {
	t.Helper()
	list, err := os.ReadFile("testdata/2.60.0/nodes_list_detail_two_nodes.json")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/2.60.0/nodes_view_summary_two_nodes.json")
	if err != nil {
		t.Fatal(err)
	}
	return serveClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/nodes" {
			_, _ = w.Write(list)
			return
		}
		var response struct {
			Result bool `json:"result"`
			Data   struct {
				Summary []map[string]any `json:"summary"`
			} `json:"data"`
		}
		if err := json.Unmarshal(raw, &response); err != nil {
			t.Error(err)
		}
		for i, node := range response.Data.Summary {
			change(i, node)
		}
		_ = json.NewEncoder(w).Encode(response)
	})
}

// statsOf lists the nodes and returns the stats of node i of the summary.
func statsOf(t *testing.T, c *Client) (head, worker *ray.NodeStats) {
	t.Helper()
	nodes, err := c.Nodes(t.Context())
	if err != nil || len(nodes) != 2 {
		t.Fatalf("%+v, %v", nodes, err)
	}
	for _, n := range nodes {
		if n.Head {
			head = n.Stats
		} else {
			worker = n.Stats
		}
	}
	return head, worker
}

// The clock of one node does not affect another node.
func TestNodeStats_NodeClock(t *testing.T) {
	for _, off := range []time.Duration{-24 * time.Hour, -2 * time.Minute, 2 * time.Minute, 24 * time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			head, worker := statsOf(t, twoNodes(t, func(i int, node map[string]any) {
				if i == 1 {
					node["now"] = node["now"].(float64) + off.Seconds()
				}
			}))
			if head == nil || worker == nil {
				t.Errorf("stats of the head %v, of the worker %v", head != nil, worker != nil)
			}
		})
	}
}

// Stats are returned as long as their own time advances, and at most a minute longer.
func TestNodeStats_Stale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b statsTracker
		rows := func(times ...float64) (out []summaryRow) {
			for i, at := range times {
				row := summaryRow{Now: number{at, true}}
				row.Raylet.ID = fmt.Sprint("n", i)
				out = append(out, row)
			}
			return out
		}
		for _, step := range []struct {
			after  time.Duration
			times  []float64
			n0, n1 bool
		}{
			{0, []float64{1000, 5000}, true, true},
			{40 * time.Second, []float64{1040, 5000}, true, true},
			{20 * time.Second, []float64{1060, 5000}, true, true},
			{time.Second, []float64{1061, 5000}, true, false},
			{time.Hour, []float64{4661, 5000}, true, false},
			{time.Second, []float64{4662, 4000}, true, true}, // its clock was set back, but it reports
			{time.Hour, []float64{8262}, true, false},
			{time.Second, []float64{8263, 4000}, true, true}, // removed in between: as in the first response
		} {
			time.Sleep(step.after) // synctest clock
			current := b.observe(rows(step.times...))
			if current["n0"] != step.n0 || current["n1"] != step.n1 {
				t.Errorf("after %s, with %v: %v", step.after, step.times, current)
			}
		}
		if len(b.nodes) != 2 {
			t.Errorf("%d nodes are tracked", len(b.nodes))
		}
	})
}

// A sentinel is omitted, and only the sentinel.
func TestNodeStats_Sentinels(t *testing.T) {
	const most = 18446744073709551615.0
	for name, tt := range map[string]struct {
		change func(node map[string]any)
		gone   func(s *ray.NodeStats) bool
	}{
		"a disk of one byte": {
			func(n map[string]any) {
				n["disk"] = map[string]any{"/": map[string]any{"total": 1, "used": 0, "free": 1}}
			},
			func(s *ray.NodeStats) bool { return len(s.Disks) == 0 },
		},
		"a disk of -1": {
			func(n map[string]any) {
				n["disk"] = map[string]any{"/": map[string]any{"total": 10, "used": -1, "free": 1}}
			},
			func(s *ray.NodeStats) bool { return len(s.Disks) == 0 },
		},
		"a CPU of -1": {func(n map[string]any) { n["cpu"] = -1 }, func(s *ray.NodeStats) bool { return s.CPUUnknown && s.CPURatio == 0 }},
		"CPUs of -1":  {func(n map[string]any) { n["cpus"] = []any{-1, -1} }, func(s *ray.NodeStats) bool { return s.CPUs == 0 }},
		"memory without a limit": {
			func(n map[string]any) { n["mem"] = []any{9223372036854771712.0, 9223372036854771712.0, 0.0, 5} },
			func(s *ray.NodeStats) bool { return s.MemTotal == 0 && s.MemUsed == 0 && s.MemAvailable == 0 },
		},
		"no memory in use": {
			func(n map[string]any) { n["mem"] = []any{10, 10, 0.0, 0} },
			func(s *ray.NodeStats) bool { return s.MemTotal == 0 },
		},
		"no interface": {func(n map[string]any) { n["network"] = []any{0, 0} }, func(s *ray.NodeStats) bool { return !s.HasNetwork }},
		"network of 2^64-1": {
			func(n map[string]any) { n["network"] = []any{most, 5} },
			func(s *ray.NodeStats) bool { return !s.HasNetwork && s.NetworkSent == 0 },
		},
		"a load of -1": {
			func(n map[string]any) { n["loadAvg"] = []any{[]any{-1, -1, -1}} },
			func(s *ray.NodeStats) bool { return !s.HasLoad },
		},
		"a load of null": {
			func(n map[string]any) { n["loadAvg"] = []any{[]any{1, nil, 1}} },
			func(s *ray.NodeStats) bool { return !s.HasLoad },
		},
		"an object store of -1": {
			func(n map[string]any) { n["raylet"].(map[string]any)["objectStoreUsedMemory"] = -1 },
			func(s *ray.NodeStats) bool { return s.ObjectStore == nil },
		},
		"workers of -1": {
			func(n map[string]any) { n["raylet"].(map[string]any)["numWorkers"] = -1 },
			func(s *ray.NodeStats) bool { return s.WorkersUnknown },
		},
		"a MIG slice": {
			func(n map[string]any) {
				n["gpus"] = []any{map[string]any{"index": 0, "utilizationGpu": -1, "memoryUsed": 5, "memoryTotal": 9}}
			},
			func(s *ray.NodeStats) bool {
				return len(s.GPUs) == 1 && s.GPUs[0].Utilization == nil && s.GPUs[0].MemTotal == 9<<20
			},
		},
		"GPU memory of -1": {
			func(n map[string]any) {
				n["gpus"] = []any{map[string]any{"index": 0, "utilizationGpu": 50, "memoryUsed": -1, "memoryTotal": 9}}
			},
			func(s *ray.NodeStats) bool {
				return len(s.GPUs) == 1 && *s.GPUs[0].Utilization == 0.5 && s.GPUs[0].MemTotal == 0
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			head, worker := statsOf(t, twoNodes(t, func(_ int, node map[string]any) { tt.change(node) }))
			for _, s := range []*ray.NodeStats{head, worker} {
				if s == nil {
					t.Fatal("the node has no stats")
				}
				if !tt.gone(s) {
					t.Errorf("sentinel returned: %+v", *s)
				}
				if s.At.IsZero() || s.DashboardAgent == 0 {
					t.Errorf("other stats are missing: %+v", *s)
				}
			}
		})
	}
}

// A raylet that has reported but has no worker yet sends no count of workers.
func TestNodeStats_WorkersUnknown(t *testing.T) {
	for reported, free := range map[bool]float64{true: 100, false: 0} {
		head, worker := statsOf(t, twoNodes(t, func(_ int, node map[string]any) {
			raylet := node["raylet"].(map[string]any)
			delete(raylet, "numWorkers")
			raylet["objectStoreAvailableMemory"] = free
		}))
		for _, s := range []*ray.NodeStats{head, worker} {
			if s.WorkersUnknown == reported || s.Workers != 0 {
				t.Errorf("reported %t: %d workers, unknown %t", reported, s.Workers, s.WorkersUnknown)
			}
		}
	}
}

// A mount has its real name or is skipped.
func TestNodeStats_MountNames(t *testing.T) {
	const socket = "/session_2026-11-24_15-02-08_458718_7011/sockets/raylet"
	for _, row := range []struct{ sent, tempDir, socket, want string }{
		{"/", "", "", "/"},
		{"/tmp", "", "", "/tmp"},
		{"/tmp/ray", "/tmp/ray", "", "/tmp/ray"},
		{"/tmp/myRayTmp", "/tmp/my_ray_tmp", "", "/tmp/my_ray_tmp"},
		{"/mnt/disk1/Ray", "/mnt/disk_1/ray", "", "/mnt/disk_1/ray"},
		{"/Data/RAYTMP", "/Data/RAYTMP", "", "/Data/RAYTMP"},
		{"/data/myTmp", "", "/data/my_tmp/ray" + socket, "/data/my_tmp"},  // before Ray 2.60
		{"/data/my_tmp", "", "/data/my_tmp/ray" + socket, "/data/my_tmp"}, // not camel-cased
		{"/some/where", "/tmp/ray", "", "/some/where"},
		{"/some/whereElse", "/tmp/ray", "", ""},                // ambiguous: /some/where_else, or unchanged
		{"/some/where1", "/tmp/ray", "", ""},                   // the same
		{"/a_b", "/aB", "/a_b" + socket, "/a_b"},               // spelled out
		{"/aB", "/aB/ray", "/a_b/ray" + socket, ""},            // two directories share the name
		{"/aB/ray", "/aB/ray", "/a_b/ray" + socket, "/aB/ray"}, // the other one would be /aB/Ray
		{"/tmp/Ray", "/tmp/_ray", "", "/tmp/_ray"},             // a capital after the slash
		{"/tmp/rayX", "/tmp/ray_x", "", "/tmp/ray_x"},          // as Ray sends it
		{"/tmp/ray_x", "/tmp/ray_x", "", "/tmp/ray_x"},         // as it would be without the camel-casing
		{"C:\\", "", "", ""},                                   // a capital: ambiguous
		{"/scratch", "/tmp/ray", "/tmp/ray" + socket, "/scratch"},
	} {
		r := summaryRow{}
		r.Raylet.TempDir, r.Raylet.Socket = row.tempDir, row.socket
		got, ok := mountName(row.sent, r.mountNames())
		if !ok {
			got = ""
		}
		if got != row.want {
			t.Errorf("%q of tempDir %q, socket %q becomes %q, want %q", row.sent, row.tempDir, row.socket, got, row.want)
		}
	}
}

func TestNodeStats_UnnamedMounts(t *testing.T) {
	const summary = `{"now":1000000,"cpu":50.0,"cpus":[4,2],"mem":[100,60,40.0,40],
 "disk":{"/":{"total":10,"used":5,"free":5},"/tmp/myRayTmp":{"total":20,"used":5,"free":15},"/otherDir":{"total":30,"used":5,"free":25}},
 "raylet":{"nodeId":"n","state":"ALIVE","tempDir":"/tmp/my_ray_tmp"}}`
	c := nodesClient(t, stateAnswer(1, 1, 1, 1, nodeOf("ALIVE")), summary)
	nodes, err := c.Nodes(context.Background())
	if err != nil || nodes[0].Stats == nil {
		t.Fatalf("%+v, %v", nodes, err)
	}
	var mounts []string
	for _, d := range nodes[0].Stats.Disks {
		mounts = append(mounts, fmt.Sprint(d.Mount, " ", d.Total))
	}
	if got := strings.Join(mounts, ", "); got != "/ 10, /tmp/my_ray_tmp 20" || c.SkippedRows() != 1 {
		t.Errorf("mounts are %s, %d skipped", got, c.SkippedRows())
	}
}
