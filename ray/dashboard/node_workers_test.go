package dashboard

import (
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"raytap/ray"
	"raytap/ray/raytest"
	"raytap/ray/transport"
)

func TestNodeWorkers(t *testing.T) {
	head := raytest.New(t)
	second, err := head.AddNode("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	third, err := head.AddNode("127.0.0.3")
	if err != nil {
		t.Fatal(err)
	}
	workers := []ray.Worker{
		{ID: strings.Repeat("a", 56), PID: 100, JobID: "02000000", ActorID: strings.Repeat("b", 32), Type: "WORKER", Running: 3},
		{ID: strings.Repeat("c", 56), PID: 101, Type: "WORKER"},
	}
	head.Nodes()[0].SetWorkers(workers...)
	second.ForgetWorkers()
	third.SetWorkers(workers...)
	third.Kill()
	c := logClient(t, head, transport.Options{}, Options{})
	got, err := c.NodeWorkers(t.Context())
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, n := range head.Nodes() {
		want := ray.NodeWorkers{NodeID: n.ID, IP: n.IP, Host: got[i].Host, State: ray.NodeAlive, AgentURL: n.AgentURL()}
		switch i {
		case 0:
			want.Head, want.Known, want.Workers = true, true, workers
		case 2:
			want.State, want.AgentURL, want.IP = ray.NodeDead, "", got[i].IP
		}
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("node %d: %+v, want %+v", i, got[i], want)
		}
	}
	head.Nodes()[0].SetWorkers()
	got, err = c.NodeWorkers(t.Context())
	if err != nil || !got[0].Known || len(got[0].Workers) != 0 {
		t.Errorf("a node without workers: %+v, %v", got, err)
	}
}

func TestNodeWorkers_Recordings(t *testing.T) {
	for version, want := range map[string]string{
		"2.60.0": "10.0.0.10 http://10.0.0.10:52365 8 of 8, 3 jobs, 6 actors",
		"2.40.0": "10.0.0.10 http://10.0.0.10:52365 3 of 3, 1 jobs, 0 actors",
		"2.9.3":  "10.0.0.10 http://10.0.0.10:52365 3 of 3, 1 jobs, 0 actors",
	} {
		c := recorded(t, map[string]string{"": version + "/nodes_view_summary.json"})
		list, err := c.NodeWorkers(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: %+v, %v", version, list, err)
		}
		n := list[0]
		jobs, actors, whole := map[string]bool{}, map[string]bool{}, 0
		for _, w := range n.Workers {
			if w.JobID != "" {
				jobs[w.JobID] = true
			}
			if w.ActorID != "" {
				actors[w.ActorID] = true
			}
			if len(w.ID) == 56 && w.PID > 0 && w.Type != "" {
				whole++
			}
		}
		if got := fmt.Sprintf("%s %s %d of %d, %d jobs, %d actors", n.IP, n.AgentURL, whole, len(n.Workers), len(jobs), len(actors)); got != want {
			t.Errorf("%s: %s, want %s", version, got, want)
		}
	}
}

// TestNodeWorkers_TwoRaylets: two raylets of one host have their own agents and workers.
// A worker of the type DRIVER is a driver, here the agent itself.
func TestNodeWorkers_TwoRaylets(t *testing.T) {
	c := recorded(t, map[string]string{"": "../../raytest/testdata/node_logs_nodes_two_raylets.json"})
	list, err := c.NodeWorkers(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for i, want := range []string{
		"10.0.0.10 http://10.0.0.10:27495 on ray-host: 03000000 DRIVER",
		"10.0.0.11 http://10.0.0.11:28960 on ray-host: 06000000 WORKER, 02000000 WORKER, 06000000 WORKER, 04000000 WORKER",
	} {
		n := list[i]
		var workers []string
		for _, w := range n.Workers {
			workers = append(workers, w.JobID+" "+w.Type)
		}
		if got := fmt.Sprintf("%s %s on %s: %s", n.IP, n.AgentURL, n.Host, strings.Join(workers, ", ")); got != want || !n.Known {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// TestNodeWorkers_Many: the workers of a node have no bound, unlike the fields of a row.
func TestNodeWorkers_Many(t *testing.T) {
	const many = 20_000
	var page strings.Builder
	page.WriteString(`{"result":true,"msg":"","data":{"summary":[{"raylet":{"nodeId":"a","state":"ALIVE","nodeManagerAddress":"fd00::1","dashboardAgentListenPort":1234,"coreWorkersStats":[`)
	for i := range many {
		fmt.Fprintf(&page, `{"workerId":"%056d","pid":%d,"objectRefs":[]},`, i, i+1)
	}
	page.WriteString(`{"workerId":7},null]}}]}}`)
	c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page.String()) })
	got, err := c.NodeWorkers(t.Context())
	if err != nil || len(got) != 1 || len(got[0].Workers) != many || got[0].AgentURL != "http://[fd00::1]:1234" {
		t.Fatalf("%d nodes, %v", len(got), err)
	}
	if c.SkippedRows() != 2 {
		t.Errorf("%d rows skipped", c.SkippedRows())
	}
}
