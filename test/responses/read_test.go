package responses

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"raytap/ray"
	"raytap/ray/dashboard"
	"raytap/ray/synapse"
	"raytap/ray/transport"
)

// client is a client of either API.
type client interface {
	ray.Source
	SkippedRows() uint64
	SkippedFields() uint64
	Close()
}

// rows are the domain objects of a response by ID.
type rows map[string]any

// response is a recorded response and how raytap reads it.
type response struct {
	name       string
	path       string
	text       []byte
	read       func(context.Context, client) (rows, error)
	collectors []string // that use it
}

func keyed[T any](list []T, err error, id func(T) string) (rows, error) {
	all := rows{}
	for _, one := range list {
		key := id(one)
		if _, exists := all[key]; exists {
			return nil, fmt.Errorf("duplicate %q", key)
		}
		all[key] = one
	}
	return all, err
}

func readJobs(ctx context.Context, c client) (rows, error) {
	l, err := c.Jobs(ctx)
	return keyed(l, err, ray.Job.Key)
}

func readNodes(ctx context.Context, c client) (rows, error) {
	l, err := c.Nodes(ctx)
	if len(l) > 0 && l[0].StatsUnavailable {
		return nil, errors.New("no readings")
	}
	return keyed(l, err, func(n ray.Node) string { return n.ID })
}

func readTasks(ctx context.Context, c client) (rows, error) {
	l, err := c.Tasks(ctx)
	return keyed(l.Tasks, err, func(t ray.Task) string { return fmt.Sprint(t.ID, t.Attempt) })
}

func readServe(ctx context.Context, c client) (rows, error) {
	s, err := c.Serve(ctx)
	all, err := keyed(s.Applications, err, func(a ray.ServeApplication) string { return "app " + a.Name })
	for _, p := range s.Proxies {
		all["proxy "+p.NodeID] = p
	}
	return all, err
}

// unmappedKey is the key of the number of rows that could not be mapped.
const unmappedKey = "unmapped"

func readStatus(ctx context.Context, c client) (rows, error) {
	s, err := c.ClusterStatus(ctx)
	all := rows{}
	for name, u := range s.Usage {
		all["usage "+name] = u
	}
	for id, u := range s.ByNode {
		all["node "+id] = u
	}
	for _, d := range s.Pending {
		all[fmt.Sprint("pending ", d.Resources)] = d
	}
	all[unmappedKey] = s.Unmapped
	return all, err
}

// counts returns one row for each counted object.
func counts(s ray.StateCounts, err error) (rows, error) {
	all, sum := rows{}, 0
	for _, n := range s.ByState {
		sum += n
	}
	for i := range sum {
		all[fmt.Sprint(i)] = true
	}
	return all, err
}

func readActors(ctx context.Context, c client) (rows, error) { return counts(c.Actors(ctx)) }
func readGroups(ctx context.Context, c client) (rows, error) { return counts(c.PlacementGroups(ctx)) }

func readVersion(ctx context.Context, c client) (rows, error) {
	v, err := c.Version(ctx)
	return rows{"version": v}, err
}

func readHardware(ctx context.Context, c client) (rows, error) {
	r, err := c.Resources(ctx)
	all, err := keyed(r.Nodes, err, func(n ray.NodeHardware) string { return n.ID })
	r.Nodes = nil
	all["cluster"] = r
	return all, err
}

// kinds are the kinds of recordings by the prefix of their file names.
var kinds = []struct {
	prefix, path string
	read         func(context.Context, client) (rows, error)
	collectors   []string
}{
	{"version", "/api/version", readVersion, nil},
	{"jobs_list", "/api/jobs/", readJobs, []string{"jobs"}},
	{"nodes_list_detail", "/api/v0/nodes", readNodes, []string{"nodes"}},
	{"nodes_view_summary", "/nodes", readNodes, []string{"nodes"}},
	{"cluster_status", "/api/cluster_status", readStatus, []string{"cluster"}},
	{"tasks_list", "/api/v0/tasks", readTasks, []string{"tasks"}},
	{"actors_summarize", "/api/v0/actors/summarize", readActors, []string{"actors"}},
	{"placement_groups_list", "/api/v0/placement_groups", readGroups, []string{"placement_groups"}},
	{"serve_applications", "/api/serve/applications/", readServe, []string{"serve"}},
}

// recorded returns the recorded responses of a Ray version: one for each path, and all
// responses to be changed.
func recorded(t *testing.T, version string) (base map[string][]byte, all []response) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "ray", "dashboard", "testdata", version, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings of %s: %v", version, err)
	}
	// Paths without a recording of this version use another version's.
	base = map[string][]byte{}
	for path, file := range map[string]string{"/api/v0/nodes": "2.40.0/nodes_list_detail", "/nodes": "2.40.0/nodes_view_summary", "/api/version": "2.60.0/version", "/api/v0/actors": "2.60.0/actors_list"} {
		if base[path], err = os.ReadFile(filepath.Join("..", "..", "ray", "dashboard", "testdata", file+".json")); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		for _, kind := range kinds {
			name := strings.TrimSuffix(filepath.Base(file), ".json")
			if !strings.HasPrefix(name, kind.prefix) || strings.HasSuffix(name, "_none") || strings.HasPrefix(name, "tasks_list_") && version == "2.60.0" {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text = shorten(t, text)
			if name == kind.prefix {
				base[kind.path] = text
			}
			all = append(all, response{name, kind.path, text, kind.read, kind.collectors})
		}
	}
	return base, all
}

// server serves a text for each path. The texts may be replaced.
type server struct {
	*httptest.Server
	texts atomic.Pointer[map[string][]byte]
}

func serve(t *testing.T, texts map[string][]byte) *server {
	t.Helper()
	s := &server{}
	s.texts.Store(&texts)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := (*s.texts.Load())[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(text)
	}))
	t.Cleanup(s.Close)
	return s
}

// withText returns texts with the text of one path replaced.
func withText(texts map[string][]byte, path string, text []byte) map[string][]byte {
	all := map[string][]byte{path: text}
	for p, text := range texts {
		if p != path {
			all[p] = text
		}
	}
	return all
}

func dial(t *testing.T, url string, isSynapse bool) client {
	t.Helper()
	o := transport.Options{URL: url, Timeout: time.Minute}
	if isSynapse {
		tr, err := synapse.NewTransport(o, synapse.Credentials{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := synapse.New(tr, synapse.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	tr, err := transport.New(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dashboard.New(tr, dashboard.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shorten truncates the list of a State API response to a few rows, and its counts.
func shorten(t *testing.T, text []byte) []byte {
	t.Helper()
	const maxRows = 4
	top, _ := parse(t, text).(map[string]any)
	data, _ := top["data"].(map[string]any)
	inner, _ := data["result"].(map[string]any)
	list, _ := inner["result"].([]any)
	if len(list) <= maxRows {
		return text
	}
	inner["result"] = list[:maxRows]
	for _, key := range []string{"total", "num_after_truncation", "num_filtered"} {
		inner[key] = maxRows
	}
	return encode(t, top)
}
