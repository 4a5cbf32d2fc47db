package collector

import (
	"sync"
	"time"

	"raytap/ray"
)

// This file: the number of jobs that ended while raytap watched. It is the only metric
// with state of its own: a job that is deleted after its end stays counted.

const (
	// forgetAfter is how long a run is remembered after it disappears from the list, so
	// that a run that is missing for a while is not counted twice.
	forgetAfter = 10 * time.Minute
	// clockTolerance is the maximum difference between Ray's clock and raytap's: a run
	// that ended earlier before raytap's start is an old one that was missing in lists.
	clockTolerance = 10 * time.Minute
)

var finishedStatuses = []string{
	string(ray.JobSucceeded), string(ray.JobFailed), string(ray.JobStopped), statusEnded,
}

var finishedTable = table[map[string]int]{
	source: "each job list that raytap fetches.",
	rows: []row[map[string]int]{
		{
			name:    "jobs_finished_total",
			help:    "Jobs that ended since raytap began to watch the cluster, by final status. Each run counts once. A DRIVER ends as ENDED. A job that is deleted before the next job list is missed.",
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

// run is one run of a job id.
type run struct {
	id    string
	start int64
}

// finishedJobs counts the ends of runs. It is safe for concurrent use.
type finishedJobs struct {
	table bound[map[string]int]

	mu     sync.Mutex
	since  time.Time // ends before it are not counted
	began  bool      // a first list was seen
	counts map[string]int
	known  map[run]*knownRun
	last   []ray.Job // the last list
}

// knownRun is the state of a run that was listed.
type knownRun struct {
	ended  bool
	listed bool      // in the last list
	gone   time.Time // time of the first list without it; zero while it is listed
}

// newFinishedJobs returns a counter that starts at 0 now.
func newFinishedJobs(s settings) *finishedJobs {
	return &finishedJobs{
		table: finishedTable.bind(s), since: time.Now(),
		counts: make(map[string]int), known: make(map[run]*knownRun),
	}
}

// observe counts the runs of a list that have ended and were not counted before.
//
// In the first list it counts those that ended, by Ray's clock, after raytap started. In
// later lists it counts each run that was seen before it ended, and each new run unless
// it ended long before: so clocks may differ, and old runs that the first list lacked are
// not counted.
func (f *finishedJobs) observe(jobs []ray.Job, now time.Time) {
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
			s = &knownRun{}
			f.known[r] = s
			at := j.End
			if f.began {
				at = endTime(j)
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
	f.began, f.last = true, jobs
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

func (f *finishedJobs) collect(out *seriesBuffer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.table.emit(out, f.counts)
}

// lastList returns the last job list; false if there was none.
func (f *finishedJobs) lastList() ([]ray.Job, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last, f.began
}
