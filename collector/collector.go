// Package collector turns the state of a Ray cluster into Prometheus metrics.
//
// There is one file per resource: the interface that it needs, its metric table,
// and a function that fills the table. A value that the cluster does not report
// has no series, and values of a cluster that no longer answers are not repeated.
package collector

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/logthrottle"
	"raytap/ray"
)

// Cluster is what a Collector needs of a cluster; cache.Source implements it. Each
// method returns at the latest when its context ends.
type Cluster interface {
	versionSource
	statusSource
	jobsSource
	nodesSource
	tasksSource
	actorsSource
	groupsSource
	serveSource
	hardwareSource
	// Reachable reports whether the cluster answered a request since the given time,
	// or shortly before it and no request has failed to get an answer after that.
	Reachable(ctx context.Context, since time.Time) bool
}

var upTable = table[bool]{
	rows: []row[bool]{
		{
			name: "up", help: "1 if the cluster answered an API request during the scrape, or at most collector.cache_ttl (14s) before it with no unanswered request since. 0 otherwise: then none of its other values are present.",
			value: func(up bool) (float64, bool) { return number(up), true },
		},
	},
}

var selfTable = table[result]{
	labels: []string{"collector"},
	rows: []row[result]{
		{
			name: "collector_success", help: "1 if the collector succeeded, or the cluster's version of Ray does not have the resource. 0 if it failed or the cluster is down.",
			value: func(r result) (float64, bool) { return number(r.err == nil), true },
		},
		{
			name: "collector_duration_seconds", help: "Time from the start of the scrape to the end of the collector. Short if the response was cached.",
			value: func(r result) (float64, bool) { return r.took.Seconds(), true },
		},
		{
			name: "collector_duplicate_series", help: "Series that the collector omitted because the cluster's response named the same entity twice.",
			value: func(r result) (float64, bool) { return float64(r.out.duplicates), true },
		},
		{
			name: "collector_overflow_series", help: "Series that the collector omitted because one node had more than 64 mounts, GPUs or TPUs.",
			value: func(r result) (float64, bool) { return float64(r.out.overflow), true },
		},
	},
}

var skippedTable = table[uint64]{
	rows: []row[uint64]{
		{
			name: "skipped_rows_total", help: "Rows of the cluster's lists that could not be decoded and are missing in all counts, since raytap began to watch the cluster.", counter: true,
			value: func(n uint64) (float64, bool) { return float64(n), true },
		},
	},
}

var skippedFieldsTable = table[uint64]{
	rows: []row[uint64]{
		{
			name: "skipped_fields_total", help: "Fields of the cluster's responses that had an unexpected type and were omitted, or were too long and were truncated, since raytap began to watch the cluster.", counter: true,
			value: func(n uint64) (float64, bool) { return float64(n), true },
		},
	},
}

// Names of collectors that have a special role.
const (
	versionName = "version"
	jobsName    = "jobs"
)

// collectFunc adds the series of one resource to out. Nothing of out is shown where
// it returns an error.
type collectFunc func(ctx context.Context, out *seriesBuffer) error

// subCollector collects one resource.
type subCollector struct {
	name    string
	collect collectFunc
	health  *logthrottle.Condition
}

// result is the outcome of a subCollector in one scrape.
type result struct {
	out  *seriesBuffer
	err  error
	took time.Duration
}

// Collector collects the metrics of one cluster. It starts no goroutine of its own,
// and is safe for concurrent use.
type Collector struct {
	cluster       Cluster
	skippedRows   func() uint64
	skippedFields func() uint64
	log           logrus.FieldLogger
	subs          []subCollector
	finished      *finishedJobs // nil if jobs are disabled
	jobs          *jobsCollector
	health        healthTracker

	upMetrics     bound[bool]
	selfMetrics   bound[result]
	rowsMetrics   bound[uint64]
	fieldsMetrics bound[uint64]
}

// New returns a Collector for a cluster. It counts the ends of jobs from now on. Call
// ObserveJobs with each job list that is fetched (cache.Source's OnJobs does), so that
// ends are counted independently of scrapes.
func New(cluster Cluster, o Options) *Collector {
	s := settings{cluster: o.Cluster, exclude: o.excludes}
	c := &Collector{
		cluster: cluster, log: o.Log, skippedRows: o.SkippedRows, skippedFields: o.SkippedFields,
		upMetrics: upTable.bind(s), selfMetrics: selfTable.bind(s),
		rowsMetrics: skippedTable.bind(s), fieldsMetrics: skippedFieldsTable.bind(s),
	}
	if c.log == nil {
		discard := logrus.New()
		discard.SetOutput(io.Discard)
		c.log = discard
	}
	c.log = c.log.WithField(clusterLabel, o.Cluster)
	add := func(name string, disabled bool, collect collectFunc) {
		if !disabled {
			health := &logthrottle.Condition{Log: c.log.WithField("collector", name)}
			c.subs = append(c.subs, subCollector{name: name, collect: collect, health: health})
		}
	}
	if !o.Jobs.Disabled {
		c.finished = newFinishedJobs(s)
	}
	add(versionName, false, collectVersion(cluster, s, o.Info))
	add("cluster", o.Status.Disabled, newStatus(cluster, s, o.Status, c.log).collect)
	c.jobs = newJobs(cluster, s, o.Jobs, c.finished)
	add(jobsName, o.Jobs.Disabled, c.jobs.collect)
	add("nodes", o.Nodes.Disabled, newNodes(cluster, s, o.Nodes, o.Jobs.Retention).collect)
	add("node_usage", o.Nodes.Disabled || o.Status.Disabled, collectNodeUsage(cluster, s, o.Nodes))
	add("driver_nodes", o.Nodes.Disabled || o.Jobs.Disabled, collectDriverNodes(cluster, s, o.Jobs))
	add("tasks", o.Tasks.Disabled, newTasks(cluster, s, o.Tasks).collect)
	add("actors", o.Actors.Disabled, collectOne(cluster, Cluster.Actors, actorsTable.bind(s)))
	add("placement_groups", o.Actors.Disabled, collectOne(cluster, Cluster.PlacementGroups, groupsTable.bind(s)))
	add("hardware", o.Status.Disabled, newHardware(cluster, s, o.Nodes).collect)
	add("serve", o.Serve.Disabled, newServe(cluster, s, o.Serve).collect)
	return c
}

// collectOne returns a collectFunc that shows the response of one call in a table.
func collectOne[S, T any](source S, fetch func(S, context.Context) (T, error), t bound[T]) collectFunc {
	return func(ctx context.Context, out *seriesBuffer) error {
		v, err := fetch(source, ctx)
		if err != nil {
			return err
		}
		t.emit(out, v)
		return nil
	}
}

// collectTwo returns a collectFunc that passes the responses of two calls to emit.
func collectTwo[S, A, B any](source S, fetchA func(S, context.Context) (A, error), fetchB func(S, context.Context) (B, error), emit func(*seriesBuffer, A, B)) collectFunc {
	return func(ctx context.Context, out *seriesBuffer) error {
		a, err := fetchA(source, ctx)
		if err != nil {
			return err
		}
		b, err := fetchB(source, ctx)
		if err != nil {
			return err
		}
		emit(out, a, b)
		return nil
	}
}

// Endings of help texts: where values come from, and how old they may be.
const (
	fresh       = ", cached for collector.cache_ttl (14s) or 50 times the request's duration."
	tasksFresh  = ", cached for collector.tasks.cache_ttl (29s) or 50 times the request's duration."
	statusFresh = "cluster status, which Ray rewrites every 5s (with autoscaler v2 at each request)" + fresh
)

// ObserveJobs counts the ends of jobs in a job list that was just fetched.
func (c *Collector) ObserveJobs(jobs []ray.Job) {
	if c.finished != nil {
		c.finished.observe(jobs, time.Now())
	}
}

// errDown is the error of a collector that has a cached response of a cluster that
// does not answer.
var errDown = errors.New("the cluster does not answer")

// Names returns the names of the enabled collectors, in a fixed order.
func (c *Collector) Names() []string {
	names := make([]string, len(c.subs))
	for i, sub := range c.subs {
		names[i] = sub.name
	}
	return names
}

// Collect runs the collectors concurrently: all, or those of Names that are listed in
// only. Unknown names are ignored. It returns what succeeded before ctx ended; a
// collector that is late fails alone.
func (c *Collector) Collect(ctx context.Context, only ...string) Exposition {
	began := time.Now()
	subs := c.selected(only)
	results := make([]result, len(subs))
	var wg sync.WaitGroup
	for i, sub := range subs {
		wg.Go(func() {
			out := &seriesBuffer{}
			err := sub.collect(ctx, out)
			if unsupported(err) {
				c.log.WithField("collector", sub.name).WithError(err).Debug("Resource not available in this version of Ray")
				err, out = nil, &seriesBuffer{}
			}
			results[i] = result{out: out, err: err, took: time.Since(began)}
		})
	}
	wg.Wait()
	up := c.cluster.Reachable(ctx, began)
	logFailures(subs, results, up)
	c.health.note(subs, results, up)
	own := &seriesBuffer{}
	e := Exposition{buffers: []*seriesBuffer{own}}
	c.upMetrics.emit(own, up)
	if c.skippedRows != nil {
		c.rowsMetrics.emit(own, c.skippedRows())
	}
	if c.skippedFields != nil {
		c.fieldsMetrics.emit(own, c.skippedFields())
	}
	for i, r := range results {
		if !up && r.err == nil {
			r.err = errDown
		}
		if r.err != nil {
			r.out = &seriesBuffer{} // a partial list would show wrong counts
		}
		c.selfMetrics.emit(own, r, subs[i].name)
		if subs[i].name == jobsName {
			c.finished.collect(own)
		}
		e.buffers = append(e.buffers, r.out)
	}
	return e
}

// HasEnds reports whether Ends has series of the collectors in only, which is that of Collect.
func HasEnds(only []string) bool { return len(only) == 0 || slices.Contains(only, jobsName) }

// Ends returns what stays of a cluster that does not run any more: the jobs that had ended when
// it last listed its jobs. It requests nothing.
func (c *Collector) Ends() Exposition {
	out := &seriesBuffer{}
	if c.finished != nil {
		c.jobs.collectEnds(out)
	}
	return Exposition{buffers: []*seriesBuffer{out}}
}

// selected returns the collectors with the given names, or all if there are none. The
// version is always among them, so that each scrape finds out whether the cluster
// answers.
func (c *Collector) selected(only []string) []subCollector {
	if len(only) == 0 {
		return c.subs
	}
	var some []subCollector
	for _, sub := range c.subs {
		if sub.name == versionName || slices.Contains(only, sub.name) {
			some = append(some, sub)
		}
	}
	return some
}

// logFailures logs collectors that fail while the cluster answers. Several collectors
// that fail because of the same list are logged once.
func logFailures(subs []subCollector, results []result, up bool) {
	if !up {
		return
	}
	logged := make(map[string]bool)
	for i, r := range results {
		health := subs[i].health
		switch {
		case r.err == nil:
			health.Recovered("Collector recovered")
		case cancelled(r.err) || logged[r.err.Error()]:
		default:
			logged[r.err.Error()] = true
			health.Failed("Collector failed, its metrics are missing", r.err)
		}
	}
}

// cancelled reports whether the scraper ended the request.
func cancelled(err error) bool { return ray.Code(err) == 0 }

// unsupported reports whether the cluster's version of Ray does not have the resource.
func unsupported(err error) bool { return ray.Code(err) == http.StatusNotImplemented }
