package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"raytap/ray/transport"
)

// grown returns a recorded response whose list, at the path keys, is extended to n
// rows: copies of the recorded ones with their own ids.
func grown(b *testing.B, file string, n int, id string, keys ...string) []byte {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "2.60.0", file))
	if err != nil {
		b.Fatal(err)
	}
	var answer any
	if err := json.Unmarshal(text, &answer); err != nil {
		b.Fatal(err)
	}
	list, set := answer, func(rows []any) { answer = rows }
	for _, key := range keys {
		in := list.(map[string]any)
		list, set = in[key], func(rows []any) { in[key] = rows }
	}
	recorded, rows := list.([]any), []any{}
	for i := range n {
		row := map[string]any{}
		for key, value := range recorded[i%len(recorded)].(map[string]any) {
			row[key] = value
		}
		row[id] = fmt.Sprintf("%056d", i)
		rows = append(rows, row)
	}
	set(rows)
	if text, err = json.Marshal(answer); err != nil {
		b.Fatal(err)
	}
	return text
}

// BenchmarkLists requests the lists of a big cluster from a server on loopback and
// decodes them: 1,000 jobs, 500 nodes with stats, 10,000 tasks.
func BenchmarkLists(b *testing.B) {
	bodies := map[string][]byte{
		"/api/jobs/":    grown(b, "jobs_list.json", 1000, "submission_id"),
		"/api/v0/nodes": grown(b, "nodes_list_detail.json", 500, "node_id", "data", "result", "result"),
		"/nodes":        grown(b, "nodes_view_summary.json", 500, "id", "data", "summary"),
		"/api/v0/tasks": grown(b, "tasks_list.json", 10_000, "task_id", "data", "result", "result"),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(bodies[r.URL.Path])
	}))
	defer server.Close()
	tr, err := transport.New(transport.Options{URL: server.URL, MaxBody: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	c, err := New(tr, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for _, list := range []struct {
		name string
		rows int
		ask  func() (list any, rows int, err error)
		size int
	}{
		{"jobs", 1000, func() (any, int, error) { l, err := c.Jobs(b.Context()); return l, len(l), err }, len(bodies["/api/jobs/"])},
		{"nodes", 500, func() (any, int, error) { l, err := c.Nodes(b.Context()); return l, len(l), err }, len(bodies["/api/v0/nodes"]) + len(bodies["/nodes"])},
		{"tasks", 10_000, func() (any, int, error) { l, err := c.Tasks(b.Context()); return l, len(l.Tasks), err }, len(bodies["/api/v0/tasks"])},
	} {
		b.Run(fmt.Sprintf("%s=%d", list.name, list.rows), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(list.size))
			for b.Loop() {
				if _, n, err := list.ask(); err != nil || n != list.rows {
					b.Fatalf("%d rows, %v", n, err)
				}
			}
			// The decoded list is kept between two scrapes.
			before := heap()
			kept, _, err := list.ask()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(heap()-before)/float64(list.size), "kept/size")
			b.ReportMetric(float64(list.size)/float64(list.rows), "size/row")
			runtime.KeepAlive(kept)
		})
	}
}

// heap returns the number of live bytes on the heap.
func heap() int64 {
	for range 2 { // the second frees what pools held
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
