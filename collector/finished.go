package collector

import (
	"sync"
	"time"

	"raytap/ray"
)

// This file: how many jobs ended while raytap looked on. It is the one metric
// with a memory: a job that is deleted after its end stays counted.

// forgetAfter is how long an ended run is remembered once Ray no longer lists
// it, so that a list which lacks it for a while does not count it twice.
const forgetAfter = 10 * time.Minute

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
	known  map[run]time.Time // ended runs and when they were last listed
}

// newFinished counts from 0, as of now.
func newFinished(s settings) *finished {
	return &finished{
		table: finishedTable.bind(s), since: time.Now(),
		counts: make(map[string]int), known: make(map[run]time.Time),
	}
}

// observe counts the runs of a list that have ended and were not counted.
//
// In the first list it counts those that ended, by Ray's clock, after raytap
// began; later every one that is new, so that clocks need not agree.
func (f *finished) observe(jobs []ray.Job, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range jobs {
		if !j.Status.Terminal() {
			continue
		}
		r := run{j.Key(), j.Start.UnixNano()}
		if _, ok := f.known[r]; !ok && (f.began || j.End.After(f.since)) {
			f.counts[statusOf(j)]++
		}
		f.known[r] = now
	}
	f.began = true
	for r, seen := range f.known {
		if now.Sub(seen) > forgetAfter {
			delete(f.known, r)
		}
	}
}

func (f *finished) collect(out *sink) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.table.emit(out, f.counts)
}
