package collector

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"raytap/ray"
)

// This file: the job list. One id names a job everywhere: the submission id,
// and for a driver that merely connected, which has none, its job id.

type jobsSource interface {
	Jobs(context.Context) ([]ray.Job, error)
}

// statusEnded is what a DRIVER job's end is called: Ray says SUCCEEDED
// whatever happened to the script (2.60.0).
const statusEnded = "ENDED"

var (
	submissionStatuses = func() []string {
		var all []string
		for _, s := range ray.JobStatuses {
			all = append(all, string(s))
		}
		return all
	}()
	driverStatuses = []string{string(ray.JobRunning), statusEnded}
)

const jobsFresh = "job list" + fresh + " The shipper's discovery gets it more often."

// jobsView is the whole list.
type jobsView struct {
	jobs     []ray.Job
	overflow int
}

var jobsTable = table[jobsView]{
	source: jobsFresh,
	rows: []row[jobsView]{
		{
			name:   "jobs",
			help:   "Jobs that Ray lists, by type and status. Ray never cuts this list, and has finished ones in it until they are deleted or the head restarts. A DRIVER that is gone has status ENDED.",
			labels: []string{"type", "status"},
			series: countJobs,
		},
		{
			name: "jobs_overflow", help: "Jobs that have no series of their own because more than jobs.max would have some. Running ones are kept first, then failed ones.",
			value: func(v jobsView) (float64, bool) { return float64(v.overflow), true },
		},
	},
}

// jobAt is a job as seen at a moment.
type jobAt struct {
	ray.Job
	now time.Time
}

// newJobTable has job_info carry what stands in a job's metadata under keys.
func newJobTable(keys []string) table[jobAt] {
	keys, labels := extraLabels("metadata_", keys)
	return table[jobAt]{source: jobsFresh, labels: []string{"submission_id"}, rows: slices.Concat([]row[jobAt]{{
		name:   "job_info",
		help:   "A job's ids and names; 1. submission_id is the job id for a DRIVER job, job_id that of the last driver, job_name stands in the job's metadata, node_id is the driver's node. Keys of the metadata that jobs.metadata names are labels metadata_KEY.",
		labels: slices.Concat([]string{"job_id", "type", "job_name", "node_id"}, labels),
		series: func(j jobAt, emit *emitter) {
			emit.series(1, slices.Concat([]string{j.JobID, string(j.Type), j.Name(), j.DriverNodeID}, valuesOf(j.Metadata, keys))...)
		},
	}}, jobRows)}
}

var jobRows = []row[jobAt]{
	{
		name: "job_status", help: "1 for the status that the job is in, 0 for the others of its type.",
		labels: []string{"status"},
		series: func(j jobAt, emit *emitter) { stateSet(statusesOf(j.Type), statusOf(j.Job), emit) },
	},
	{
		name: "job_error_info", help: "1 with Ray's error type of a job that has one (Ray 2.53 has it, 2.40 does not).",
		labels: []string{"error_type"},
		series: func(j jobAt, emit *emitter) {
			if j.ErrorType != "" {
				emit.series(1, j.ErrorType)
			}
		},
	},
	{
		name: "job_submit_timestamp_seconds", help: "Unix time the job was submitted (Ray's start_time; when the driver started is not told). For a DRIVER job, when it connected.",
		value: func(j jobAt) (float64, bool) { return unix(j.Start) },
	},
	{
		name: "job_pending_seconds", help: "Seconds since the job was submitted, by the cluster's clock as the Date of its answers shows it, while it is PENDING; absent otherwise.",
		value: func(j jobAt) (float64, bool) {
			return max(0, j.now.Sub(j.Start).Seconds()), j.Status == ray.JobPending && !j.Start.IsZero()
		},
	},
	{
		name: "job_end_timestamp_seconds", help: "Unix time the job ended; absent until then.",
		value: func(j jobAt) (float64, bool) { return unix(j.End) },
	},
	{
		name: "job_driver_exit_code", help: "Exit code of the job's entrypoint; absent until it ended, and for a job that was stopped or never started.",
		value: func(j jobAt) (float64, bool) {
			if j.DriverExitCode == nil {
				return 0, false
			}
			return float64(*j.DriverExitCode), true
		},
	},
}

func statusesOf(t ray.JobType) []string {
	if t == ray.JobDriver {
		return driverStatuses
	}
	return submissionStatuses
}

func statusOf(j ray.Job) string {
	if j.Type == ray.JobDriver && j.Status == ray.JobSucceeded {
		return statusEnded
	}
	return string(j.Status)
}

func countJobs(v jobsView, emit *emitter) {
	counts := map[ray.JobType]map[string]int{ray.JobSubmission: {}, ray.JobDriver: {}}
	for _, j := range v.jobs {
		if counts[j.Type] == nil {
			counts[j.Type] = make(map[string]int)
		}
		counts[j.Type][statusOf(j)]++
	}
	for _, t := range slices.Sorted(maps.Keys(counts)) {
		known := statusesOf(t)
		if t != ray.JobSubmission && t != ray.JobDriver {
			known = nil
		}
		countStates(known, counts[t], func(n float64, status string) { emit.series(n, string(t), status) })
	}
}

type jobsCollector struct {
	source   jobsSource
	opts     JobsOptions
	finished *finished
	jobs     bound[jobsView]
	job      bound[jobAt]
}

func newJobs(source jobsSource, s settings, o JobsOptions, f *finished) *jobsCollector {
	o.Retention = orDefault(o.Retention, defaultRetention)
	o.Max = orDefault(o.Max, defaultMaxJobs)
	return &jobsCollector{
		source: source, opts: o, finished: f,
		jobs: jobsTable.bind(s), job: newJobTable(o.Metadata).bind(s),
	}
}

func (c *jobsCollector) collect(ctx context.Context, out *sink) error {
	jobs, err := c.source.Jobs(ctx)
	if err != nil {
		return err
	}
	now := clusterNow(c.source)
	c.finished.observe(jobs, time.Now())
	jobs = newestRuns(jobs)
	shown := slices.DeleteFunc(slices.Clone(jobs), func(j ray.Job) bool {
		return j.Status.Terminal() && now.Sub(lastSign(j)) > c.opts.Retention
	})
	fit := importantJobs(shown, c.opts.Max)
	c.jobs.emit(out, jobsView{jobs: jobs, overflow: len(shown) - len(fit)})
	for _, j := range fit {
		c.job.emit(out, jobAt{j, now}, j.Key())
	}
	return nil
}

// importantJobs gives the limit most important jobs, reordering jobs.
func importantJobs(jobs []ray.Job, limit int) []ray.Job {
	if len(jobs) <= limit {
		return jobs
	}
	slices.SortFunc(jobs, byImportance)
	return jobs[:limit]
}

// newestRuns keeps the run that began last where the list names an id twice.
func newestRuns(jobs []ray.Job) []ray.Job {
	at := make(map[string]int, len(jobs))
	kept := make([]ray.Job, 0, len(jobs))
	for _, j := range jobs {
		if i, ok := at[j.Key()]; ok {
			if j.Start.After(kept[i].Start) {
				kept[i] = j
			}
			continue
		}
		at[j.Key()] = len(kept)
		kept = append(kept, j)
	}
	return kept
}

// lastSign is when a terminal job ended, as far as Ray tells.
func lastSign(j ray.Job) time.Time {
	if j.End.IsZero() {
		return j.Start
	}
	return j.End
}

// byImportance orders jobs under the cap: what runs (the oldest first, so that
// a new one does not push it out), what failed (the newest first), what waits,
// and the rest.
func byImportance(a, b ray.Job) int {
	rank := func(j ray.Job) int {
		switch j.Status {
		case ray.JobFailed:
			return 1
		case ray.JobPending:
			return 2
		case ray.JobStopped, ray.JobSucceeded:
			return 3
		}
		return 0
	}
	when := a.Start.Compare(b.Start)
	if a.Status.Terminal() {
		when = lastSign(b).Compare(lastSign(a))
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), when, strings.Compare(a.Key(), b.Key()))
}
