// Package shipper turns the driver logs of a cluster's jobs into records: one
// JSON object a line.
//
// It has three layers, each testable without the next. A stream follows one
// job for ever: it chooses a way to read, waits after failures and decides what
// an end means (stream.go, attempt.go, end.go). A reader makes one connection or one poll
// (agent.go, websocket.go, file.go, text.go; where logs come as messages, messages.go and
// whole.go). Pure functions over bytes make lines, proofs and records of what was
// read (join.go, cutter.go, position.go, record.go). Where lines are joined or
// thinned they are held between cutter and record (shape.go).
//
// Around them: discovery starts the streams (discover.go); one writer gives
// their batches to the sink and saves what is remembered (output.go,
// positions.go); recovery learns from a sink file what was written after the
// last save (recovery.go).
package shipper

import (
	"context"
	"time"

	"raytap/shipper/tail"

	"raytap/namepattern"
	"raytap/ray"
)

// Lists is what discovery needs of a cluster: answers that may be shared with
// others who ask.
type Lists interface {
	// JobsNewerThan lists the jobs as they were at t or later.
	JobsNewerThan(ctx context.Context, t time.Time) ([]ray.Job, error)
	Nodes(ctx context.Context) ([]ray.Node, error)
}

// Backfills: what is shipped of the jobs that a cluster lists when it is first seen.
const (
	BackfillRunning = "running" // those that are not terminal, from their first byte
	BackfillAll     = "all"     // finished ones too
	BackfillNone    = "none"    // no submission listed then
)

// Options are the settings of one cluster's shipping. The zero value of each field means
// its default.
type Options struct {
	tail.Options
	Interval time.Duration // between two requests for the job list; 5 s
	Backfill string        // BackfillRunning
	// Include selects the jobs to ship: all where it is empty, else those that one of
	// them matches. Exclude then excludes those that one of it matches.
	Include, Exclude []Selector
	// Recheck is how long after the end of a run, and after the check before it, its log
	// is checked for what was printed later; 15 s, 1 min, 5 min.
	Recheck []time.Duration
}

// Selector matches jobs by patterns as of package namepattern; an empty field
// matches every job.
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

func (o *Options) wants(j ray.Job) bool {
	any := func(ss []Selector) bool {
		for _, s := range ss {
			if s.match(j) {
				return true
			}
		}
		return false
	}
	return (len(o.Include) == 0 || any(o.Include)) && !any(o.Exclude)
}

func (o Options) withDefaults() Options {
	o.Options = o.Options.WithDefaults()
	if o.Interval == 0 {
		o.Interval = 5 * time.Second
	}
	if o.Recheck == nil {
		o.Recheck = recheckAfter
	}
	if o.Backfill == "" {
		o.Backfill = BackfillRunning
	}
	return o
}
