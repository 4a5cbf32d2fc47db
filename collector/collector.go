// Package collector turns a cluster's answers into Prometheus metrics.
//
// One file per resource: what it needs of a cluster, its metric table, and
// Collect over both. Absent is absent: what the cluster did not tell has no
// series, and what it told before it fell silent is not repeated.
package collector

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"raytap/logthrottle"
	"raytap/ray"
)

const (
	defaultRetention = time.Hour
	defaultMaxJobs   = 2000
	defaultMaxNodes  = 2000
	defaultMaxSeries = 1000
	defaultMaxServe  = 1000
)

// Cluster is what a Collector needs of a cluster; a cache.Source is one. Each
// method returns when its context ends, at the latest.
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
	// Answers reports whether the cluster answers: it has since t, or did not
	// long before and no request has gone without an answer after that.
	Reachable(ctx context.Context, t time.Time) bool
}

// Options says what is collected. The zero value collects everything that
// needs no opting in.
type Options struct {
	Cluster string // the value of the label ray_cluster
	Status  StatusOptions
	Jobs    JobsOptions
	Nodes   NodesOptions
	Tasks   TasksOptions
	Actors  ActorsOptions
	Serve   ServeOptions
	// Log gets the failures of single resources; that the whole cluster does
	// not answer is for whoever watches it to say. nil: nothing is logged.
	Log logrus.FieldLogger
	// Drop are the families of a Page that are not shown: those whose name,
	// "raytap_up" say, one of them matches.
	Drop []*regexp.Regexp
	// SkippedRows tells how many rows of lists could not be decoded so far.
	// nil: it is not shown.
	SkippedRows func() uint64
	// SkippedFields tells how many fields of answers were omitted or cut so far; nil
	// shows none.
	SkippedFields func() uint64
}

// StatusOptions is about the cluster's resources and what waits for them.
type StatusOptions struct {
	Disabled bool
	Shapes   bool // show pending demand by shape, too
}

// JobsOptions is about the job list.
type JobsOptions struct {
	Disabled bool
	// Retention is how long a job (and a node) is shown after its end; 0 is 1 h.
	Retention time.Duration
	// Max bounds the jobs that have series of their own; 0 is 2000.
	Max int
	// Metadata are the keys of a job's metadata that job_info carries.
	Metadata []string
}

// NodesOptions is about the node list.
type NodesOptions struct {
	Disabled bool
	// Max bounds the nodes that have series of their own; 0 is 2000.
	Max int
	// Labels are the keys of node labels that node_info carries.
	Labels []string
}

// TasksOptions is about the tasks.
type TasksOptions struct {
	Disabled  bool
	ByName    bool
	MaxSeries int // of each family of tasks; 0 is 1000
}

// ActorsOptions is about actors and placement groups.
type ActorsOptions struct{ Disabled bool }

// ServeOptions is about Serve.
type ServeOptions struct {
	Disabled bool
	Max      int // applications and deployments that are shown; 0 is 1000
}

var upTable = table[bool]{
	rows: []row[bool]{
		{
			name: "up", help: "1 if the cluster answered an API call during the scrape, or up to collector.cache_ttl (14s) before it and no request has gone without an answer since; 0 if not: then none of its values are shown.",
			value: func(up bool) (float64, bool) { return number(up), true },
		},
	},
}

var selfTable = table[result]{
	labels: []string{"collector"},
	rows: []row[result]{
		{
			name: "collector_success", help: "1 if the collector got its answer, or the cluster's version of Ray has no such thing; 0 if it failed or the cluster is not up.",
			value: func(r result) (float64, bool) { return number(r.err == nil), true },
		},
		{
			name: "collector_duration_seconds", help: "Time from the start of the scrape to the collector's end; short where the answer was cached.",
			value: func(r result) (float64, bool) { return r.took.Seconds(), true },
		},
		{
			name: "collector_duplicate_series", help: "Series that the collector left out because the cluster's answer named the same thing twice.",
			value: func(r result) (float64, bool) { return float64(r.out.duplicates), true },
		},
		{
			name: "collector_overflow_series", help: "Series that the collector left out because one node had more than 64 mounts, GPUs or TPUs.",
			value: func(r result) (float64, bool) { return float64(r.out.over), true },
		},
	},
}

var skippedTable = table[uint64]{
	rows: []row[uint64]{
		{
			name: "skipped_rows_total", help: "Rows of the cluster's lists that could not be decoded and are missing in all counts, since raytap began to watch it.", counter: true,
			value: func(n uint64) (float64, bool) { return float64(n), true },
		},
	},
}

var skippedFieldsTable = table[uint64]{
	rows: []row[uint64]{
		{
			name: "skipped_fields_total", help: "Fields of the cluster's answers that were of another type than expected and are absent, or too long and cut, since raytap began to watch it.", counter: true,
			value: func(n uint64) (float64, bool) { return float64(n), true },
		},
	},
}

// versionName and jobsName are the parts that others ask for by name.
const (
	versionName = "version"
	jobsName    = "jobs"
)

// part collects one resource.
type part struct {
	name    string
	collect func(context.Context, *sink) error
	health  *logthrottle.Condition
}

// result is what became of a part in one scrape.
type result struct {
	out  *sink
	err  error
	took time.Duration
}

// Collector shows one cluster. It starts nothing; safe for concurrent use.
type Collector struct {
	cluster  Cluster
	skipped  func() uint64
	odd      func() uint64
	log      logrus.FieldLogger
	parts    []part
	finished *finished // nil where jobs are disabled
	up       bound[bool]
	self     bound[result]
	rows     bound[uint64]
	fields   bound[uint64]
	health   healthBook
}

// New collects from a cluster. Ends of jobs are counted from now; give
// ObserveJobs every job list that is fetched (cache.Source's OnJobs does), so
// that they are counted however seldom somebody scrapes.
func New(cluster Cluster, o Options) *Collector {
	s := settings{cluster: o.Cluster, drop: o.drops}
	c := &Collector{
		cluster: cluster, log: o.Log, skipped: o.SkippedRows, odd: o.SkippedFields,
		up: upTable.bind(s), self: selfTable.bind(s), rows: skippedTable.bind(s), fields: skippedFieldsTable.bind(s),
	}
	if c.log == nil {
		silent := logrus.New()
		silent.SetOutput(io.Discard)
		c.log = silent
	}
	c.log = c.log.WithField(clusterLabel, o.Cluster)
	add := func(name string, disabled bool, collect func(context.Context, *sink) error) {
		if !disabled {
			health := &logthrottle.Condition{Log: c.log.WithField("collector", name)}
			c.parts = append(c.parts, part{name: name, collect: collect, health: health})
		}
	}
	if !o.Jobs.Disabled {
		c.finished = newFinished(s)
	}
	add(versionName, false, newVersion(cluster, s).collect)
	add("cluster", o.Status.Disabled, newStatus(cluster, s, o.Status, c.log).collect)
	add(jobsName, o.Jobs.Disabled, newJobs(cluster, s, o.Jobs, c.finished).collect)
	add("nodes", o.Nodes.Disabled, newNodes(cluster, s, o.Nodes, o.Jobs.Retention).collect)
	add("usage", o.Nodes.Disabled || o.Status.Disabled, newUsage(cluster, s, o.Nodes).collect)
	add("drivers", o.Nodes.Disabled || o.Jobs.Disabled, newDrivers(cluster, s, o.Jobs).collect)
	add("tasks", o.Tasks.Disabled, newTasks(cluster, s, o.Tasks).collect)
	add("actors", o.Actors.Disabled, newActors(cluster, s).collect)
	add("placement_groups", o.Actors.Disabled, newGroups(cluster, s).collect)
	add("hardware", o.Status.Disabled, newHardware(cluster, s, o.Nodes).collect)
	add("serve", o.Serve.Disabled, newServe(cluster, s, o.Serve).collect)
	return c
}

// Where values come from, and how old they may be, as help texts tell it.
const (
	fresh       = ", cached for collector.cache_ttl (14s) or 50 times what it took."
	tasksFresh  = ", cached for collector.tasks.cache_ttl (29s) or 50 times what it took."
	statusFresh = "cluster status, which Ray rewrites every 5s (autoscaler v2 makes it for each request)" + fresh
)

// drops reports whether the configuration leaves a family out.
func (o Options) drops(family string) bool {
	return slices.ContainsFunc(o.Drop, func(p *regexp.Regexp) bool { return p.MatchString(family) })
}

// ObserveJobs counts the ends of jobs in a list that was just fetched.
func (c *Collector) ObserveJobs(jobs []ray.Job) {
	if c.finished != nil {
		c.finished.observe(jobs, time.Now())
	}
}

// errSilent stands in for what a cached answer would have shown of a cluster
// that does not answer.
var errSilent = errors.New("the cluster does not answer")

// Names lists what can be collected by itself, in the order in which it is.
func (c *Collector) Names() []string {
	names := make([]string, len(c.parts))
	for i, p := range c.parts {
		names[i] = p.name
	}
	return names
}

// Page asks for all resources side by side, or for those of Names that are
// named in only, and gives what came until ctx ended; a resource that did not
// come by then has failed alone. Names that are not known give nothing.
func (c *Collector) Page(ctx context.Context, only ...string) Page {
	began := time.Now()
	parts := c.chosen(only)
	results := make([]result, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() {
			out := &sink{}
			err := p.collect(ctx, out)
			if unsupported(err) {
				c.log.WithField("collector", p.name).WithError(err).Debug("this version of Ray cannot tell")
				err, out = nil, &sink{}
			}
			results[i] = result{out: out, err: err, took: time.Since(began)}
		})
	}
	wg.Wait()
	up := c.cluster.Reachable(ctx, began)
	report(parts, results, up)
	c.health.note(parts, results, up)
	own := &sink{}
	page := Page{sinks: []*sink{own}}
	c.up.emit(own, up)
	if c.skipped != nil {
		c.rows.emit(own, c.skipped())
	}
	if c.odd != nil {
		c.fields.emit(own, c.odd())
	}
	for i, r := range results {
		if !up && r.err == nil {
			r.err = errSilent
		}
		if r.err != nil {
			r.out = &sink{} // half a list would be a lie
		}
		c.self.emit(own, r, parts[i].name)
		if parts[i].name == jobsName {
			c.finished.collect(own)
		}
		page.sinks = append(page.sinks, r.out)
	}
	return page
}

// chosen gives the parts that are named, and all where none is. The version is
// always among them: whether the cluster answers is decided by it.
func (c *Collector) chosen(only []string) []part {
	if len(only) == 0 {
		return c.parts
	}
	var some []part
	for _, p := range c.parts {
		if p.name == versionName || slices.Contains(only, p.name) {
			some = append(some, p)
		}
	}
	return some
}

// report logs what failed alone.
func report(parts []part, results []result, up bool) {
	if !up {
		return
	}
	told := make(map[string]bool)
	for i, r := range results {
		health := parts[i].health
		switch {
		case r.err == nil:
			health.Recovered("the collector works again")
		case cancelled(r.err) || told[r.err.Error()]:
			// The scraper left; or one list failed that several collectors read.
		default:
			told[r.err.Error()] = true
			health.Failed("the collector failed, its metrics are missing", r.err)
		}
	}
}

// cancelled reports whether err says no more than that the scraper went away.
func cancelled(err error) bool { return ray.Code(err) == 0 }

// unsupported reports whether the cluster's version cannot do what was asked.
func unsupported(err error) bool { return ray.Code(err) == http.StatusNotImplemented }
