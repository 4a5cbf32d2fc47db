package dashboard

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/transport"
)

// serveClient returns a client of a handler.
func serveClient(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	tr, err := transport.New(transport.Options{URL: server.URL, Timeout: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(tr, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// recorded responds to each path with a recording; "" is for all other paths.
func recorded(t *testing.T, files map[string]string) *Client {
	t.Helper()
	return serveClient(t, func(w http.ResponseWriter, r *http.Request) {
		file, ok := files[r.URL.Path]
		if !ok {
			file = files[""]
		}
		body, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(file)))
		if err != nil {
			http.Error(w, "not recorded: "+r.URL.Path, http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(body)
	})
}

// decoders map prefixes of recordings' names to the method that decodes them, the
// longest prefix first. The result must not be empty unless stated.
var decoders = []struct {
	prefix string
	decode func(*testing.T, *Client) (int, error)
}{
	{"version", func(t *testing.T, c *Client) (int, error) { v, err := c.Version(t.Context()); return len(v.Ray), err }},
	{"jobs_list", func(t *testing.T, c *Client) (int, error) { l, err := c.Jobs(t.Context()); return len(l), err }},
	{"job_get_", func(t *testing.T, c *Client) (int, error) {
		j, err := c.Job(t.Context(), "x")
		return len(j.Key()), err
	}},
	{"job_logs", func(t *testing.T, c *Client) (int, error) {
		s, err := c.jobLogsText(t.Context(), "x")
		return len(s), err
	}},
	{"job_stop", func(t *testing.T, c *Client) (int, error) {
		err := c.StopJob(t.Context(), "x")
		if ray.Code(err) == http.StatusBadRequest {
			err = nil // the job has ended
		}
		return 1, err
	}},
	{"nodes_list", func(t *testing.T, c *Client) (int, error) { l, err := c.stateNodes(t.Context()); return len(l), err }},
	{"nodes_view_summary", func(t *testing.T, c *Client) (int, error) {
		s, err := c.nodeSummary(t.Context(), "x")
		return len(s.rows), err
	}},
	{"cluster_status", func(t *testing.T, c *Client) (int, error) {
		s, err := c.ClusterStatus(t.Context())
		return len(s.Usage), err
	}},
	{"tasks_list_limit_over", func(t *testing.T, c *Client) (int, error) {
		_, err := c.Tasks(t.Context())
		if err == nil || !strings.Contains(err.Error(), "exceeds the supported limit") {
			return 0, fmt.Errorf("a refused list returns %w", err)
		}
		return 1, nil
	}},
	{"tasks_list", func(t *testing.T, c *Client) (int, error) { l, err := c.Tasks(t.Context()); return len(l.Tasks), err }},
	{"actors_summarize", func(t *testing.T, c *Client) (int, error) {
		s, err := c.Actors(t.Context())
		return len(s.ByState), err
	}},
	{"actors_list", func(t *testing.T, c *Client) (int, error) {
		n, err := stateRows(t.Context(), c, "x", "actors", nil, func(struct{ State string }) bool { return true })
		return n.received, err
	}},
	{"placement_groups_list", func(t *testing.T, c *Client) (int, error) {
		s, err := c.PlacementGroups(t.Context())
		return len(s.ByState), err
	}},
	{"serve_applications_none", func(t *testing.T, c *Client) (int, error) {
		s, err := c.Serve(t.Context())
		if s.Running {
			err = fmt.Errorf("Serve is running: %+v", s)
		}
		return 1, err
	}},
	{"serve_applications", func(t *testing.T, c *Client) (int, error) {
		s, err := c.Serve(t.Context())
		return len(s.Applications), err
	}},
}

func TestRecordings_Decode(t *testing.T) {
	for _, version := range []string{"2.9.3", "2.40.0", "2.60.0"} {
		files, err := filepath.Glob(filepath.Join("testdata", version, "*.json*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no recordings of %s: %v", version, err)
		}
		for _, file := range files {
			name := filepath.Base(file)
			t.Run(version+"/"+name, func(t *testing.T) {
				switch {
				case strings.HasSuffix(name, ".frames.jsonl"):
					checkFrames(t, file)
					return
				case name == "errors.json" || name == "auth.json":
					checkErrors(t, file)
					return
				}
				for _, d := range decoders {
					if !strings.HasPrefix(name, d.prefix) {
						continue
					}
					c := recorded(t, map[string]string{"": path.Join(version, name), "/nodes": version + "/nodes_view_summary.json"})
					if strings.HasPrefix(d.prefix, "nodes_view") {
						c = recorded(t, map[string]string{"": path.Join(version, name)})
					}
					n, err := d.decode(t, c)
					if err != nil || n == 0 {
						t.Errorf("decoded %d elements, %v", n, err)
					}
					if c.SkippedRows() != 0 {
						t.Errorf("%d rows were skipped", c.SkippedRows())
					}
					return
				}
				t.Error("no method decodes this recording")
			})
		}
	}
}

// checkFrames checks that a recording of a tail can be replayed.
func checkFrames(t *testing.T, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		var event struct{ Type, Data, Status string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		if n == 0 && event.Type != "handshake" {
			t.Errorf("first event is %q", event.Type)
		}
	}
	if lines.Err() != nil {
		t.Error(lines.Err())
	}
}

// checkErrors replays each recorded response and checks that its error is one bounded
// line with the code of its status.
func checkErrors(t *testing.T, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var responses []struct {
		Request, Body string
		Status        int
		ContentType   string `json:"content_type"`
	}
	if err := json.Unmarshal(b, &responses); err != nil || len(responses) == 0 {
		t.Fatal(err)
	}
	for _, a := range responses {
		c := serveClient(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", a.ContentType)
			w.WriteHeader(a.Status)
			_, _ = w.Write([]byte(a.Body))
		})
		err := c.t.GetJSON(t.Context(), "x", "/x", "/x", nil, new(any))
		if a.Status < 400 {
			if err != nil && strings.HasPrefix(a.ContentType, "application/json") {
				t.Errorf("%s: %v", a.Request, err)
			}
			continue
		}
		e, ok := err.(*ray.Error)
		if !ok || e.Status != a.Status || e.Code != a.Status {
			t.Errorf("%s: %v, want %d", a.Request, err, a.Status)
			continue
		}
		if e.Detail == "" || len(e.Detail) > 256 || strings.Contains(e.Detail, "Traceback") || strings.Contains(e.Detail, "/home/ray") {
			t.Errorf("%s: detail %q", a.Request, e.Detail)
		}
	}
}

func TestRecordings_Version(t *testing.T) {
	for _, row := range []struct{ version, session string }{
		{"2.60.0", "session_2026-11-24_15-02-08_458718_7011"},
		{"2.40.0", "session_2026-11-24_15-11-01_774187_14943"},
		{"2.9.3", "session_2026-11-24_15-15-57_717499_20711"}, // from the raylet's socket
	} {
		c := recorded(t, map[string]string{"/api/version": row.version + "/version.json", "/nodes": row.version + "/nodes_view_summary.json"})
		v, err := c.Version(t.Context())
		if err != nil || v.Ray != row.version || v.Session != row.session || v.Commit == "" {
			t.Errorf("%s: %+v, %v", row.version, v, err)
		}
	}
	c := recorded(t, map[string]string{"/api/version": "2.9.3/version.json", "/nodes": "gone"})
	if v, err := c.Version(t.Context()); err == nil {
		t.Errorf("got %+v without a session, want an error", v)
	}
}

func TestRecordings_Jobs(t *testing.T) {
	byID := func(version string) map[string]ray.Job {
		jobs, err := recorded(t, map[string]string{"": version + "/jobs_list.json"}).Jobs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]ray.Job{}
		for _, j := range jobs {
			m[j.Key()] = j
		}
		return m
	}
	for version, errorType := range map[string]string{"2.60.0": "JOB_ENTRYPOINT_COMMAND_ERROR", "2.40.0": "", "2.9.3": ""} {
		j := byID(version)["fail-1"]
		if j.Status != ray.JobFailed || j.ErrorType != errorType || j.DriverExitCode == nil || *j.DriverExitCode != 3 || j.End.IsZero() || !j.Start.Before(j.End) {
			t.Errorf("%s: fail-1 is %+v", version, j)
		}
	}
	if j := byID("2.9.3")["chatty-1"]; j.Name() != "nightly-train" || !j.End.IsZero() || j.DriverExitCode != nil || j.Metadata["team"] != "ml" {
		t.Errorf("chatty-1 is %+v", j)
	}
	jobs := byID("2.60.0")
	if j := jobs["03000000"]; j.Type != ray.JobDriver || j.SubmissionID != "" || !j.End.IsZero() {
		t.Errorf("the driver, whose end_time is 0 while it runs, is %+v", j)
	}
	if j := jobs["we ird/é?x=1#%20"]; j.Status != ray.JobPending || j.Metadata != nil || j.DriverAgentURL != "" {
		t.Errorf("the pending job is %+v", j)
	}
	if j := jobs["fail-1"]; j.Start.UnixMilli() != 1795531805629 || j.DriverAgentURL != "http://10.0.0.10:52365" {
		t.Errorf("fail-1 is %+v", j)
	}
	if len(jobs) != 18 {
		t.Errorf("%d jobs", len(jobs))
	}
}

func TestRecordings_Nodes(t *testing.T) {
	nodes := func(list, summary string) []ray.Node {
		n, err := recorded(t, map[string]string{"/api/v0/nodes": list, "/nodes": summary}).Nodes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	two := nodes("2.60.0/nodes_list_detail_two_nodes.json", "2.60.0/nodes_view_summary_two_nodes.json")
	if len(two) != 2 || two[1].ID[:6] != "9ed08c" || !two[1].Head || two[0].Head {
		t.Fatalf("two nodes are %+v", two)
	}
	s := two[1].Stats
	if s == nil || s.CPURatio != 0.528 || s.CPUs != 2 || s.MemTotal != 25276510208 || s.MemAvailable != 22716932096 || s.MemUsed != 2559578112 ||
		!s.HasNetwork || s.NetworkSent != 2657920 || s.ObjectStore != nil || !s.WorkersUnknown || len(s.Disks) != 2 || s.Disks[0].Mount != "/" || !s.HasLoad || s.At.Unix() != 1795532937 {
		t.Errorf("readings are %+v", s)
	}
	// Neither raylet had reported yet: Ray sends an object store of 0 bytes then.
	one := nodes("2.60.0/nodes_list_detail.json", "2.60.0/nodes_view_summary.json")
	if len(one) != 1 || one[0].Stats == nil || one[0].Stats.ObjectStore == nil || one[0].Stats.ObjectStore.Used != 332575 || one[0].Stats.Workers != 8 {
		t.Errorf("readings are %+v", one)
	}
	if r := two[0].Resources; r["my_custom_res"] != 3 || r["TPU-v4_head"] != 1 || r["object_store_memory"] != 6842915635 {
		t.Errorf("resources are %v", r)
	}
	if two[0].Labels["region"] != "eu" || two[0].Host != "ray-head" || two[0].Start.UnixMilli() != 1795532931130 || !two[0].End.IsZero() {
		t.Errorf("node is %+v", two[0])
	}
	old := nodes("2.40.0/nodes_list_detail.json", "2.40.0/nodes_view_summary.json")
	if len(old) != 1 || !old[0].Head || old[0].State != ray.NodeAlive {
		t.Errorf("2.40.0: %+v", old)
	}
}

func TestRecordings_ClusterStatus(t *testing.T) {
	status := func(file string) ray.ClusterStatus {
		s, err := recorded(t, map[string]string{"": file}).ClusterStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := status("2.60.0/cluster_status_two_nodes.json")
	for name, want := range map[string]ray.Usage{"CPU": {Total: 6}, "my_custom_res": {Total: 3}, "TPU-v4_head": {Total: 1},
		"node:__internal_head__": {Total: 1}, "object_store_memory": {Total: 13743124070}, "node:10.0.0.10": {Total: 2}} {
		if got, ok := s.Usage[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if s.Unmapped != 0 || len(s.ByNode) != 2 || s.At.Unix() != 1795532940 {
		t.Errorf("status is %+v", s)
	}
	s = status("2.60.0/cluster_status_pending_demand.json")
	if len(s.Pending) != 2 || s.Pending[0].Count != 871 || s.Pending[0].Resources["CPU"] != 0.25 || s.Pending[1].Resources["CPU"] != 100 || s.Usage["CPU"].Used != 4 {
		t.Errorf("pending is %+v", s.Pending)
	}
	for _, version := range []string{"2.9.3", "2.40.0"} {
		if s := status(version + "/cluster_status.json"); s.Usage["CPU"].Total != 4 || s.Usage["object_store_memory"].Total == 0 || s.Unmapped != 0 {
			t.Errorf("%s: %+v", version, s)
		}
	}
}

func TestRecordings_Serve(t *testing.T) {
	for version, dead := range map[string]bool{"2.60.0": true, "2.40.0": false} {
		s, err := recorded(t, map[string]string{"": version + "/serve_applications.json"}).Serve(t.Context())
		if err != nil || !s.Running || len(s.Applications) != 1 || len(s.Proxies) != 1 || s.Proxies[0].Status != "HEALTHY" {
			t.Fatalf("%s: %+v, %v", version, s, err)
		}
		app := s.Applications[0]
		if app.Name != "app1" || app.Status != "RUNNING" || app.RoutePrefix != "/app1" || app.LastDeployed.IsZero() || len(app.Deployments) != 2 {
			t.Fatalf("%s: %+v", version, app)
		}
		d := app.Deployments[1]
		if d.Name != "Outer" || d.Status != "HEALTHY" || d.Replicas["RUNNING"] != 2 || d.TargetReplicas == nil || *d.TargetReplicas != 2 || (d.DeadReplicas != nil) != dead {
			t.Errorf("%s: %+v", version, d)
		}
	}
	for version, want := range map[string]map[string]string{
		"2.60.0": {"48fe8f7e": "6rnqyrmn", "bb3a8e8b": "oqc8m3d4", "5cd16735": "lkk9sm3b"},
		"2.40.0": {"38992552": "e4qbhdk9", "b2b61172": "g6cbug0u", "2f7e46e8": "qrmbsqt7"},
	} {
		replicas, err := recorded(t, map[string]string{"": version + "/serve_applications.json"}).ServeReplicas(t.Context())
		got := map[string]string{}
		for worker, id := range replicas {
			got[worker[:8]] = id
		}
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: replicas %v, %v, want %v", version, got, err, want)
		}
	}
	s, err := recorded(t, map[string]string{"": "2.60.0/serve_applications_failed.json"}).Serve(t.Context())
	if err != nil || len(s.Applications) != 2 || s.Applications[1].Status != "DEPLOY_FAILED" || len(s.Applications[1].Deployments) != 0 {
		t.Errorf("failed: %+v, %v", s, err)
	}
}
