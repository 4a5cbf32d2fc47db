package collector

import (
	"sync"
	"time"

	"raytap/ray"
)

// This file: how many jobs ended while raytap looked on. It is the one metric
// with a memory: a job that is deleted after its end stays counted.

const (
	// forgetAfter is how long a run is remembered after the first list that lacks
	// it, so that lists which lack it for a while do not count it twice.
	forgetAfter = 10 * time.Minute
	// clockTolerance bounds how far Ray's clock may differ from ours: a run that
	// ended longer before raytap began is an old one that lists have lacked.
	clockTolerance = 10 * time.Minute
)

var finishedStatuses = []string{
	string(ray.JobSucceeded), string(ray.JobFailed), string(ray.JobStopped), statusEnded,
}

var finishedTable = table[map[string]int]{
	source: "each job list that raytap gets.",
	rows: []row[map[string]int]{
		{
			name:    "jobs_finished_total",
			help:    "Ends of jobs seen since raytap began to watch the cluster, by status, each run once. A DRIVER's end is ENDED. A job that is deleted before the next list is missed.",
			counter: true,
			labels:  []string{"status"},
			series: func(counts map[string]int, emit *emitter) {
				for _, status := range finishedStatuses {
					emit.series(float64(counts[status]), status)
				}
			},
		},
	},
}

// run is one life of a job id.
type run struct {
	id    string
	start int64
}

// finished counts ends of runs. Safe for concurrent use.
type finished struct {
	table bound[map[string]int]

	mu     sync.Mutex
	since  time.Time // ends before it are not counted
	began  bool      // a first list was seen
	counts map[string]int
	known  map[run]*sighting
}

// sighting is what is remembered of a run.
type sighting struct {
	ended  bool
	listed bool      // in the last list
	gone   time.Time // when a list lacked it first; zero while it is listed
}

// newFinished counts from 0, as of now.
func newFinished(s settings) *finished {
	return &finished{
		table: finishedTable.bind(s), since: time.Now(),
		counts: make(map[string]int), known: make(map[run]*sighting),
	}
}

// observe counts the runs of a list that have ended and were not counted.
//
// In the first list it counts those that ended, by Ray's clock, after raytap
// began; later every one that was seen before it ended, and new ones unless they
// ended long before, so that clocks need not agree, and a first list that lacked
// old runs does not make them new ones.
func (f *finished) observe(jobs []ray.Job, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.known {
		s.listed = false
	}
	since := f.since
	if f.began {
		since = since.Add(-clockTolerance)
	}
	for _, j := range jobs {
		r := run{j.Key(), j.Start.UnixNano()}
		s := f.known[r]
		fresh := s != nil
		if s == nil {
			s = &sighting{}
			f.known[r] = s
			at := j.End
			if f.began {
				at = lastSign(j)
			}
			fresh = at.After(since)
		}
		if j.Status.Terminal() && !s.ended {
			s.ended = true
			if fresh {
				f.counts[statusOf(j)]++
			}
		}
		s.listed, s.gone = true, time.Time{}
	}
	f.began = true
	for r, s := range f.known {
		switch {
		case s.listed:
		case s.gone.IsZero():
			s.gone = now
		case now.Sub(s.gone) > forgetAfter:
			delete(f.known, r)
		}
	}
}

func (f *finished) collect(out *sink) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.table.emit(out, f.counts)
}
