// Package responses has the laws of every answer of a cluster, whatever is in it:
// recorded ones, in which one value after the other is something else.
package responses

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"raytap/collector"
	"raytap/ray"
	"raytap/ray/cache"
	"raytap/ray/dashboard"
	"raytap/ray/synapse"
	"raytap/ray/synapsetest"
	"raytap/ray/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is what both dialects are.
type client interface {
	ray.Source
	SkippedRows() uint64
	SkippedFields() uint64
	Close()
}

// rows are the things of an answer by their ids, as the domain has them.
type rows map[string]any

// answer is one that a cluster gives, and what reads it.
type answer struct {
	name  string
	path  string
	text  []byte
	read  func(context.Context, client) (rows, error)
	parts []string // the collectors that show it
}

func keyed[T any](list []T, err error, id func(T) string) (rows, error) {
	all := rows{}
	for _, one := range list {
		key := id(one)
		if _, again := all[key]; again {
			return nil, fmt.Errorf("%q comes twice", key)
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
	all, again := keyed(s.Applications, err, func(a ray.ServeApplication) string { return "app " + a.Name })
	for _, p := range s.Proxies {
		all["proxy "+p.NodeID] = p
	}
	return all, again
}

// counter is the key of what an answer counts itself of what it lacks.
const counter = "counted"

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
	all[counter] = s.Unmapped
	return all, err
}

// counts has what is only counted.
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
	all, again := keyed(r.Nodes, err, func(n ray.NodeHardware) string { return n.ID })
	r.Nodes = nil
	all["cluster"] = r
	return all, again
}

// kinds say what reads the recordings whose name begins so.
var kinds = []struct {
	prefix, path string
	read         func(context.Context, client) (rows, error)
	parts        []string
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

// recorded reads what a version of Ray answered, by path, and each answer to be
// changed.
func recorded(t *testing.T, version string) (base map[string][]byte, all []answer) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "ray", "dashboard", "testdata", version, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recordings of %s: %v", version, err)
	}
	// What a version has no recording of is another's.
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
			text = short(t, text)
			if name == kind.prefix {
				base[kind.path] = text
			}
			all = append(all, answer{name, kind.path, text, kind.read, kind.parts})
		}
	}
	return base, all
}

// server answers each path with a text that may be changed.
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

// and has an answer in place of the one at a path.
func and(texts map[string][]byte, path string, text []byte) map[string][]byte {
	all := map[string][]byte{path: text}
	for p, text := range texts {
		if p != path {
			all[p] = text
		}
	}
	return all
}

func dial(t *testing.T, url string, isAgent bool) client {
	t.Helper()
	o := transport.Options{URL: url, Timeout: time.Minute}
	if isAgent {
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

func TestEveryAnswerOfRayHoldsTheLawsWhateverIsInIt(t *testing.T) {
	seen := map[string]map[string]bool{} // by path: what one recording has need not be tried in another
	for _, version := range []string{"2.60.0", "2.40.0", "2.9.3"} {
		base, all := recorded(t, version)
		for _, a := range all {
			if seen[a.path] == nil {
				seen[a.path] = map[string]bool{}
			}
			t.Run(version+"/"+a.name, func(t *testing.T) { hold(t, base, a, false, seen[a.path]) })
		}
	}
}

func TestEveryAnswerOfAnAgentHoldsTheLawsWhateverIsInIt(t *testing.T) {
	fake := synapsetest.New(t)
	fake.Submit("train-7", synapsetest.JobOptions{JobID: "02000000", Metadata: map[string]string{"job_name": "train"}}).End("FAILED", 7)
	fake.Submit("waiting", synapsetest.JobOptions{Pending: true})
	all := []answer{
		{"health", "/health/", nil, readVersion, nil},
		{"jobs", "/jobs/", nil, readJobs, []string{"jobs"}},
		{"nodes", "/nodes/", nil, readNodes, []string{"nodes"}},
		{"tasks", "/tasks/", nil, readTasks, []string{"tasks"}},
		{"serve_applications", "/serve_applications/", nil, readServe, []string{"serve"}},
		{"resources", "/resources/cluster/", nil, readHardware, []string{"hardware"}},
	}
	base := map[string][]byte{}
	for i, a := range all {
		res, err := http.Get(fake.URL() + a.path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res.Status, err)
		}
		all[i].text, base[a.path] = text, text
	}
	http.DefaultClient.CloseIdleConnections()
	for _, a := range all {
		t.Run(a.name, func(t *testing.T) { hold(t, base, a, true, map[string]bool{}) })
	}
}

// Law: a server that is no Ray, and one that is no agent, is not up, whatever it
// answers to everything.
func TestAServerThatIsNoRayIsNotUp(t *testing.T) {
	for _, row := range []struct {
		status     int
		kind, body string
	}{
		{501, "text/plain", "not implemented"},
		{200, "application/json", `{"detail":"Not_authenticated"}`},
		{200, "application/json", `null`},
		{200, "application/json", ``},
		{200, "application/json", `{}`},
		{200, "text/html", `<html>hello`},
		{200, "text/plain", `ok`},
		{404, "text/plain", `404: Not Found`},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", row.kind)
			w.WriteHeader(row.status)
			_, _ = io.WriteString(w, row.body)
		}))
		for _, isAgent := range []bool{false, true} {
			c := dial(t, s.URL, isAgent)
			shared := cache.New(c, cache.Options{})
			shown := 0
			for _, f := range collector.Gather(collector.New(shared, collector.Options{Cluster: "c"}).Page(t.Context())) {
				for _, m := range f.GetMetric() {
					switch v := m.GetGauge().GetValue(); f.GetName() {
					case "raytap_up":
						shown++
						if v != 0 {
							t.Errorf("%d %s: up, agent: %t", row.status, row.body, isAgent)
						}
					case "raytap_collector_success":
						shown++
						if v != 0 {
							t.Errorf("%d %s: %s succeeds, agent: %t", row.status, row.body, labels(m), isAgent)
						}
					}
				}
			}
			if shown < 5 {
				t.Errorf("%d series of success", shown)
			}
			shared.Close()
			c.Close()
		}
		s.Close()
	}
}

// hold checks the laws: no crash; a page that parses, without a series that comes
// twice or that stands for a thing without a name; all rows but the changed one
// are as they were, and what is gone is counted. An answer that has not the shape
// of one any more is a failure, and not an empty list.
func hold(t *testing.T, base map[string][]byte, a answer, isAgent bool, seen map[string]bool) {
	s := serve(t, and(base, a.path, a.text))
	c := dial(t, s.URL, isAgent)
	defer c.Close()
	want, err := a.read(t.Context(), c)
	if err != nil || len(want) == 0 || c.SkippedRows()+c.SkippedFields() != 0 {
		t.Fatalf("unchanged: %d rows, %v, %d rows and %d fields skipped", len(want), err, c.SkippedRows(), c.SkippedFields())
	}
	try := func(at place, ch change, text []byte) {
		texts := and(base, a.path, text)
		s.texts.Store(&texts)
		before := c.SkippedRows() + c.SkippedFields()
		got, err := a.read(t.Context(), c)
		counted := c.SkippedRows()+c.SkippedFields() > before
		if err := law(want, got, err, at, ch, counted); err != nil {
			t.Errorf("%s at %s: %v", ch.name, at, err)
		}
		// An answer that reads as it did before makes the same page.
		if err != nil || reflect.DeepEqual(got, want) {
			return
		}
		if err := page(t, c, a.parts); err != nil {
			t.Errorf("%s at %s: %v", ch.name, at, err)
		}
	}
	for _, at := range places(parse(t, a.text), nil, seen) {
		answer := cut(t, a.text, at)
		for _, ch := range append(changes[:len(changes):len(changes)], twice(t, at)) {
			if answer.suits(ch) {
				try(at, ch, answer.with(ch))
			}
		}
	}
}

// short cuts the list of a State API answer to a few rows, with the counts of so many.
func short(t *testing.T, text []byte) []byte {
	t.Helper()
	const most = 4
	top, _ := parse(t, text).(map[string]any)
	data, _ := top["data"].(map[string]any)
	inner, _ := data["result"].(map[string]any)
	list, _ := inner["result"].([]any)
	if len(list) <= most {
		return text
	}
	inner["result"] = list[:most]
	for _, key := range []string{"total", "num_after_truncation", "num_filtered"} {
		inner[key] = most
	}
	return encode(t, top)
}

// law compares what was read of a changed answer with what was read of it before.
func law(want, got rows, err error, at place, ch change, counted bool) error {
	if err != nil {
		var e *ray.Error
		switch {
		case ch.same:
			return fmt.Errorf("is an error: %w", err)
		case errors.As(err, &e) && e.Code != http.StatusInternalServerError:
			return fmt.Errorf("is an error of another kind: %w", err)
		case errors.As(err, &e) && (len(e.Detail) > 300 || e.Detail == ""):
			return fmt.Errorf("is an error whose text is of %d bytes", len(e.Detail))
		}
		return nil
	}
	switch at[len(at)-1] {
	case "total", "num_after_truncation", "num_filtered":
		return nil // of which it depends what is asked next
	}
	if n, ok := got[counter].(int); ok && n > want[counter].(int) {
		counted = true
	}
	lost, changed := 0, 0
	for id, old := range want {
		if id == counter {
			continue
		}
		now, ok := got[id]
		switch {
		case !ok:
			lost++
		case !reflect.DeepEqual(old, now):
			changed++
		}
	}
	switch {
	case ch.same && (lost+changed > 0 || len(got) != len(want)):
		return fmt.Errorf("%d rows are lost, %d changed: %+v", lost, changed, got)
	case lost+changed > 1 && !counted && !ch.absent:
		return fmt.Errorf("%d rows are lost and %d changed by one change", lost, changed)
	case lost > 0 && len(got) < len(want) && !counted && !ch.absent:
		return fmt.Errorf("%d rows are gone, and not counted", lost)
	}
	return nil
}

// page makes the page and reads it as Prometheus does.
func page(t *testing.T, c client, parts []string) error {
	shared := cache.New(c, cache.Options{})
	defer shared.Close()
	families := collector.Gather(collector.New(shared, collector.Options{Cluster: "c", SkippedRows: c.SkippedRows}).Page(t.Context(), append(parts, "version")...))
	var b strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return fmt.Errorf("the page cannot be written: %w", err)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	read, err := parser.TextToMetricFamilies(strings.NewReader(b.String()))
	if err != nil {
		return fmt.Errorf("the page cannot be read: %w", err)
	}
	for name, f := range read {
		seen := map[string]bool{}
		for _, m := range f.GetMetric() {
			key := labels(m)
			if seen[key] {
				return fmt.Errorf("%s{%s} comes twice", name, key)
			}
			seen[key] = true
			for _, identity := range []string{`state=""`, `status=""`, `node_id=""`, `application=""`, `deployment=""`, `submission_id="",job_id=""`} {
				if strings.Contains(","+key, ","+identity) && (identity != `node_id=""` || strings.HasPrefix(name, "raytap_node_")) {
					return fmt.Errorf("%s{%s} is of a thing that has no name", name, key)
				}
			}
		}
	}
	return nil
}

func labels(m *dto.Metric) string {
	var b strings.Builder
	for _, l := range m.GetLabel() {
		fmt.Fprintf(&b, "%s=%q,", l.GetName(), l.GetValue())
	}
	return b.String()
}
