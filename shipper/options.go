// Package shipper decides which logs of a Ray cluster are shipped. It starts and stops the
// tails of driver logs; package nodelogs ships the logs of workers.
//
// Run requests the job list again and again (discover.go) and keeps a trackedJob for each
// submission id (trackedjob.go). A new run gets a tail, unless the backfill or the
// selectors exclude it. If an id is submitted again on another node, the old log is read
// to its end first (resubmit.go). A log that was read to its end is checked again later
// (recheck.go), and read on if it has grown (reopen.go).
//
// The packages below it:
//
//   - tail reads one driver log from its start to the end of its run
//   - nodelogs reads the logs that lie on nodes; rotation reads one through its rotations
//   - aggregate joins the lines of a traceback and thins progress bars
//   - parse finds level, timestamp and colours of a line; record encodes a line as JSON
//   - writer is the one writer of a process: batches, memory limit, saving of positions
//   - checkpoint is the positions file, and the recovery of what only the sink has
//   - sink writes to stdout or to a rotated file
//   - slots counts the WebSockets that Ray limits
//   - metrics holds the shipper's metrics
//   - clock measures durations across clock steps, and absences across single responses
package shipper

import (
	"cmp"
	"context"
	"slices"
	"time"

	"raytap/shipper/nodelogs"
	"raytap/shipper/tail"

	"raytap/namepattern"
	"raytap/ray"
)

// Lists is what discovery requests of a cluster. Its responses may be cached ones.
type Lists interface {
	// JobsNewerThan returns the jobs as they were at t or later.
	JobsNewerThan(ctx context.Context, t time.Time) ([]ray.Job, error)
	Nodes(ctx context.Context) ([]ray.Node, error)
}

// Values of Options.Backfill: which jobs of the first list of a cluster are shipped.
const (
	BackfillRunning = "running" // those that have no terminal status, from their first byte
	BackfillAll     = "all"     // all, finished ones too
	BackfillNone    = "none"    // none
)

// Options are the settings of one cluster's shipping. The zero value of each field means
// its default.
type Options struct {
	tail.Options
	// ID is what identifies the cluster while it lives: its positions are kept under it. The
	// default is its name.
	ID       string
	Interval time.Duration // between two requests for the job list; 5 s
	Backfill string        // BackfillRunning
	// A job is shipped if Include is empty or one of its selectors matches, and no
	// selector of Exclude does.
	Include, Exclude []Selector
	// Recheck is how long after the end of a run, and after the previous check, its log
	// is checked for lines that were printed later; 15 s, 1 min, 5 min.
	Recheck []time.Duration
	// DrainSilence is how long nothing may answer before a cluster that is being deleted
	// counts as gone; 5 s.
	DrainSilence time.Duration
	// NodeLogs reads the logs on nodes; nil: they are not shipped. Sources are which of
	// them, by source; none: those of workers.
	NodeLogs nodelogs.Client
	Sources  map[string]nodelogs.Files
	// NoDrivers: driver logs are not shipped.
	NoDrivers bool
}

// Selector matches jobs by patterns of package namepattern. An empty field matches
// every job.
type Selector struct {
	SubmissionID string
	JobName      string
	Metadata     map[string]string
}

func (s Selector) match(j ray.Job) bool {
	if !matches(s.SubmissionID, j.SubmissionID) || !matches(s.JobName, j.Name()) {
		return false
	}
	for k, pattern := range s.Metadata {
		if v, ok := j.Metadata[k]; !ok || !matches(pattern, v) {
			return false
		}
	}
	return true
}

func matches(pattern, s string) bool { return pattern == "" || namepattern.Match(pattern, s) }

// selects reports whether the selectors let the job be shipped.
func (o *Options) selects(j ray.Job) bool {
	match := func(s Selector) bool { return s.match(j) }
	return (len(o.Include) == 0 || slices.ContainsFunc(o.Include, match)) && !slices.ContainsFunc(o.Exclude, match)
}

// nodeLogs returns the settings of package nodelogs.
func (o *Options) nodeLogs() nodelogs.Options {
	backfill := map[string]nodelogs.Backfill{BackfillAll: nodelogs.BackfillAll, BackfillNone: nodelogs.BackfillNone}
	return nodelogs.Options{
		Cluster: o.Cluster, ID: o.ID, Sources: o.Sources, Backfill: backfill[o.Backfill], Selects: o.selects, Record: o.Record, Aggregate: o.Aggregate, Limits: o.Limits, Log: o.Log,
	}
}

func (o Options) withDefaults() Options {
	o.Options = o.Options.WithDefaults()
	o.ID = cmp.Or(o.ID, o.Cluster)
	if o.Interval == 0 {
		o.Interval = 5 * time.Second
	}
	if o.Recheck == nil {
		o.Recheck = defaultRecheck
	}
	if o.Backfill == "" {
		o.Backfill = BackfillRunning
	}
	if o.DrainSilence == 0 {
		o.DrainSilence = defaultDrainSilence
	}
	return o
}
