package collector_test

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/goleak"

	"raytap/collector"
	"raytap/ray"
	"raytap/ray/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a fake that responds with its fields. A list in errs fails; one in stuck waits
// for its context.
type cluster struct {
	version ray.Version
	status  ray.ClusterStatus
	jobs    []ray.Job
	nodes   []ray.Node
	tasks   ray.TaskList
	actors  ray.StateCounts
	groups  ray.StateCounts
	serve   ray.ServeStatus

	resources ray.ClusterResources

	errs  map[string]error
	stuck map[string]bool
	last  time.Time // zero: it answers now
	asked atomic.Int64
}

func (c *cluster) ask(ctx context.Context, name string) error {
	c.asked.Add(1)
	if c.stuck[name] {
		<-ctx.Done()
		return ctx.Err()
	}
	return c.errs[name]
}

func (c *cluster) Version(ctx context.Context) (ray.Version, error) {
	return c.version, c.ask(ctx, "version")
}

func (c *cluster) VersionNewerThan(ctx context.Context, _ time.Time) (ray.Version, error) {
	return c.Version(ctx)
}

func (c *cluster) ClusterStatus(ctx context.Context) (ray.ClusterStatus, error) {
	return c.status, c.ask(ctx, "status")
}
func (c *cluster) Jobs(ctx context.Context) ([]ray.Job, error)   { return c.jobs, c.ask(ctx, "jobs") }
func (c *cluster) Nodes(ctx context.Context) ([]ray.Node, error) { return c.nodes, c.ask(ctx, "nodes") }
func (c *cluster) Tasks(ctx context.Context) (ray.TaskList, error) {
	return c.tasks, c.ask(ctx, "tasks")
}
func (c *cluster) Serve(ctx context.Context) (ray.ServeStatus, error) {
	return c.serve, c.ask(ctx, "serve")
}

func (c *cluster) Actors(ctx context.Context) (ray.StateCounts, error) {
	return c.actors, c.ask(ctx, "actors")
}

func (c *cluster) PlacementGroups(ctx context.Context) (ray.StateCounts, error) {
	return c.groups, c.ask(ctx, "groups")
}

func (c *cluster) Resources(ctx context.Context) (ray.ClusterResources, error) {
	if c.resources.At.IsZero() {
		return ray.ClusterResources{}, &ray.Error{Op: "get cluster resources", Code: 501, Detail: "no agent"}
	}
	return c.resources, c.ask(ctx, "resources")
}

func (c *cluster) Reachable(_ context.Context, t time.Time) bool {
	return c.last.IsZero() || !c.last.Before(t)
}

var (
	_ collector.Cluster = (*cache.Source)(nil)
	_ ray.Source        = (*cluster)(nil)
)

// registered passes expositions through a registry of client_golang, which checks and sorts
// them.
type registered []collector.Exposition

func (registered) Describe(chan<- *prometheus.Desc) {}

func (r registered) Collect(ch chan<- prometheus.Metric) {
	for _, f := range collector.Gather(r...) {
		for _, m := range f.GetMetric() {
			var names []string
			for _, p := range m.GetLabel() {
				names = append(names, p.GetName())
			}
			ch <- copied{m, prometheus.NewDesc(f.GetName(), f.GetHelp(), names, nil)}
		}
	}
}

// copied is a prometheus.Metric with existing content.
type copied struct {
	*dto.Metric
	desc *prometheus.Desc
}

func (c copied) Desc() *prometheus.Desc { return c.desc }

func (c copied) Write(m *dto.Metric) error {
	m.Label, m.Gauge, m.Counter = c.Label, c.Gauge, c.Counter
	return nil
}

// gather returns the families of collectors, checked by a registry.
func gather(t *testing.T, all ...prometheus.Collector) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range all {
		registry.MustRegister(c)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Error(err)
	}
	return families
}

// exposition returns the exposition of the collectors, without HELP and TYPE lines and without
// the duration of the collectors. If there are prefixes, it returns only families whose
// names begin with one of them.
func exposition(t *testing.T, ctx context.Context, prefixes []string, collectors ...*collector.Collector) string {
	t.Helper()
	var all []collector.Exposition
	for _, c := range collectors {
		all = append(all, c.Collect(ctx))
	}
	var b bytes.Buffer
	for _, f := range gather(t, registered(all)) {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	var kept []string
	for line := range strings.Lines(b.String()) {
		wanted := len(prefixes) == 0
		for _, p := range prefixes {
			wanted = wanted || strings.HasPrefix(line, "raytap_"+p)
		}
		if wanted && line[0] != '#' && !strings.HasPrefix(line, "raytap_collector_duration_seconds") {
			line = strings.ReplaceAll(line, `ray_cluster="prod",`, "")
			kept = append(kept, strings.ReplaceAll(line, `,ray_cluster="prod"`, ""))
		}
	}
	return strings.Join(kept, "")
}

// shows fails unless got is the wanted exposition. The label ray_cluster="prod" is omitted
// if there are others; indentation does not matter.
func shows(t *testing.T, got, want string) {
	t.Helper()
	trim := func(s string) []string {
		var lines []string
		for line := range strings.Lines(s) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
		return lines
	}
	g, w := trim(got), trim(want)
	for i := range max(len(g), len(w)) {
		switch {
		case i >= len(g):
			t.Errorf("missing: %s", w[i])
		case i >= len(w):
			t.Errorf("unexpected: %s", g[i])
		case g[i] != w[i]:
			t.Fatalf("line %d\n got %s\nwant %s\nexposition:\n%s", i+1, g[i], w[i], got)
		}
	}
}

func newCollector(c collector.Cluster, o collector.Options) *collector.Collector {
	o.Cluster = "prod"
	return collector.New(c, o)
}

func ptr[T any](v T) *T { return &v }
