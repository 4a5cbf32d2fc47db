package nodelogs

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"raytap/shipper/metrics"
	"raytap/shipper/writer"

	"golang.org/x/sync/semaphore"

	"raytap/ray"
)

// Cluster ships the logs on the nodes of one cluster. Make it with New; call Observe with
// each job list, and Run once. It is safe for concurrent use.
type Cluster struct {
	client  Client
	out     *writer.Writer
	opts    Options
	metrics *metrics.Cluster
	reads   *semaphore.Weighted // looks and listings at once
	jobs    jobs

	draining atomic.Bool // the cluster is being deleted

	mu      sync.Mutex
	over    error         // why nothing can be read any more; nil: it can
	stopped chan struct{} // closed when Run has returned
	wanted  string        // the session that the last job list belongs to; "": none yet
	changed chan struct{} // capacity 1: wanted has changed
	current *session      // nil: none runs
}

// New returns a Cluster. It starts nothing.
func New(client Client, out *writer.Writer, o Options) *Cluster {
	return &Cluster{
		client: client, out: out, opts: o.withDefaults(), metrics: out.Metrics().ForCluster(o.Cluster),
		reads: semaphore.NewWeighted(maxClusterLooks), changed: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
}

// Observe passes a job list and the session that it belongs to.
func (c *Cluster) Observe(session string, list []ray.Job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wanted == session {
		c.jobs.observe(list)
		return
	}
	c.wanted = session
	c.jobs.reset()
	c.jobs.observe(list)
	select {
	case c.changed <- struct{}{}:
	default:
	}
	if c.current != nil {
		c.current.stop()
	}
}

// Drain makes looks at logs as frequent as possible from now on, those first that have grown
// last, because the cluster is being deleted.
func (c *Cluster) Drain() {
	c.draining.Store(true)
	c.mu.Lock()
	s := c.current
	c.mu.Unlock()
	if s == nil {
		return
	}
	for _, d := range s.list() {
		d.drain()
	}
}

// End makes Run write the ends of all logs, with the reason why nothing can be read any
// more, and return. It waits until Run has returned; ctx must be that of Run.
func (c *Cluster) End(ctx context.Context, why error) {
	c.mu.Lock()
	c.over = why
	if c.current != nil {
		c.current.stop()
	}
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
	select {
	case <-c.stopped:
	case <-ctx.Done():
	}
}

// Run ships logs until ctx ends, or until End. The session is that of the last call of
// Observe.
func (c *Cluster) Run(ctx context.Context) {
	defer close(c.stopped)
	for c.reason() == nil {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		}
		if c.reason() != nil {
			return
		}
		run, stop := context.WithCancel(ctx)
		s := c.begin(stop)
		s.run(run)
		c.mu.Lock()
		c.current = nil
		c.mu.Unlock()
		if ctx.Err() == nil {
			s.end(ctx)
		}
	}
}

// reason returns why nothing can be read any more; nil: it can.
func (c *Cluster) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// begin makes the wanted session the current one.
func (c *Cluster) begin(stop context.CancelFunc) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = newSession(c, c.wanted, stop)
	if c.over != nil {
		stop()
	}
	return c.current
}

// Stats are what a Cluster reports.
type Stats struct {
	// Files counts files by state: live, ended (of a dead worker), excluded, and done, which
	// are not read any more.
	Files map[string]int
	// Sources are the same by source, for those that are shipped. Of files that are done only
	// a hash is known: all are counted under the first source.
	Sources map[string]map[string]int
	// Directories are the log directories, in the order of their names, and then the nodes whose
	// agents have not shown yet which directory they serve.
	Directories []DirectoryStats
}

// DirectoryStats are those of one log directory.
type DirectoryStats struct {
	Node    string // that was first seen to serve it
	Files   map[string]int
	Sources map[string]map[string]int
	Error   string // why its agents do not answer; "": they do
	// Oldest is the log whose last look is the oldest, at OldestLook; zero: no log is read. Of a
	// log that fails, it is the first look that did.
	Oldest     string
	OldestLook time.Time
	// Failing is how many logs cannot be read although an agent answers, and FailingLogs are
	// the first of them, at most maxFailing, in the order in which they began to fail.
	Failing     int
	FailingLogs []FailingLog
}

// FailingLog is a log that could not be read when it was last looked at.
type FailingLog struct {
	Log, Error string
	Since      time.Time
}

// maxFailing is how many failing logs of a directory are named.
const maxFailing = 10

// States are the values of the label state of the files.
var States = []string{"live", "ended", "excluded", "done"}

// Stats returns what the cluster ships now.
func (c *Cluster) Stats() Stats {
	c.mu.Lock()
	s := c.current
	c.mu.Unlock()
	out := Stats{Files: map[string]int{}, Sources: map[string]map[string]int{}}
	for _, state := range States {
		out.Files[state] = 0
	}
	for _, source := range c.opts.SourceNames() {
		out.Sources[source] = maps.Clone(out.Files)
	}
	if s == nil {
		return out
	}
	for _, d := range s.list() {
		at := d.stats()
		for state, n := range at.Files {
			out.Files[state] += n
		}
		for source, files := range at.Sources {
			for state, n := range files {
				out.Sources[source][state] += n
			}
		}
		out.Directories = append(out.Directories, at)
	}
	out.Directories = append(out.Directories, s.unlistedNodes()...)
	return out
}

func (d *directory) stats() DirectoryStats {
	out := DirectoryStats{Node: d.stored.ID(), Files: map[string]int{}, Sources: map[string]map[string]int{}}
	sources := d.s.c.opts.SourceNames()
	for _, source := range sources {
		out.Sources[source] = map[string]int{}
	}
	count := func(source, state string, n int) {
		out.Files[state] += n
		out.Sources[source][state] += n
	}
	count(sources[0], "done", d.stored.DoneCount())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.describe(&out)
	for _, kind := range d.excluded {
		count(kind.String(), "excluded", 1)
	}
	for _, e := range d.entries {
		source := e.named().Kind.String()
		switch {
		case e.excluded:
			count(source, "excluded", 1)
		case e.dead > 0:
			count(source, "ended", 1)
		default:
			count(source, "live", 1)
		}
	}
	return out
}

// describe adds what fails and what waits longest. The caller holds d.mu.
func (d *directory) describe(out *DirectoryStats) {
	if d.failures > 0 {
		out.Error = d.problem.err.Error()
	}
	for _, e := range d.entries {
		if e.excluded {
			continue
		}
		at := e.lastLook()
		if p, ok := d.failing[e]; ok {
			at = p.since
		}
		if out.OldestLook.IsZero() || at.Before(out.OldestLook) {
			out.Oldest, out.OldestLook = e.name, at
		}
	}
	out.Failing = len(d.failing)
	for e, p := range d.failing {
		out.FailingLogs = append(out.FailingLogs, FailingLog{Log: e.name, Error: p.err.Error(), Since: p.since})
	}
	slices.SortFunc(out.FailingLogs, func(a, b FailingLog) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Log, b.Log))
	})
	out.FailingLogs = out.FailingLogs[:min(len(out.FailingLogs), maxFailing)]
}

// unlistedNodes returns the nodes that could not be listed, as directories without files.
func (s *session) unlistedNodes() []DirectoryStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []DirectoryStats
	for _, node := range slices.Sorted(maps.Keys(s.unlisted)) {
		out = append(out, DirectoryStats{Node: node, Error: s.unlisted[node].Error()})
	}
	return out
}
