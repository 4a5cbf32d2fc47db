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

// This file: the job list. The same id identifies a job in all metrics: the submission
// id, or the job id of a driver that only connected and has no submission id.

type jobsSource interface {
	Jobs(context.Context) ([]ray.Job, error)
}

// statusEnded is the final status of a DRIVER job: Ray reports SUCCEEDED whether or not
// the script failed (2.60.0).
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

const jobsFresh = "job list" + fresh + " The shipper's discovery refreshes it more often."

// jobsView is the complete list.
type jobsView struct {
	jobs     []ray.Job
	overflow int
}

var jobsTable = table[jobsView]{
	source: jobsFresh,
	rows: []row[jobsView]{
		{
			name:   "jobs",
			help:   "Jobs that Ray lists, by type and status. Ray never truncates this list, and keeps finished jobs until they are deleted or the head restarts. A DRIVER that has ended has status ENDED.",
			labels: []string{"type", "status"},
			series: countJobs,
		},
		{
			name: "jobs_overflow", help: "Jobs without series of their own because there are more than collector.jobs.max. Running jobs are kept first, then failed ones.",
			value: func(v jobsView) (float64, bool) { return float64(v.overflow), true },
		},
	},
}

// jobAt is a job at a point in time.
type jobAt struct {
	ray.Job
	now time.Time
}

// newJobTable returns the table of a job, with labels of job_info for the given keys of
// the job's metadata.
func newJobTable(keys []string) table[jobAt] {
	keys, labels := extraLabels("metadata_", keys)
	return table[jobAt]{source: jobsFresh, labels: []string{"submission_id"}, rows: slices.Concat([]row[jobAt]{{
		name:   "job_info",
		help:   "A job's ids and names; always 1. submission_id is the job id for a DRIVER job, job_id that of the last driver, job_name comes from the job's metadata, node_id is the driver's node. Metadata keys listed in collector.jobs.metadata are labels metadata_KEY.",
		labels: slices.Concat([]string{"job_id", "type", "job_name", "node_id"}, labels),
		series: func(j jobAt, emit *emitter) {
			emit.series(1, slices.Concat([]string{j.JobID, string(j.Type), j.Name(), j.DriverNodeID}, valuesOf(j.Metadata, keys))...)
		},
	}}, jobRows)}
}

var jobRows = []row[jobAt]{
	{
		name: "job_status", help: "1 for the job's current status, 0 for the other statuses of its type.",
		labels: []string{"status"},
		series: func(j jobAt, emit *emitter) { stateSet(statusesOf(j.Type), statusOf(j.Job), emit) },
	},
	{
		name: "job_error_info", help: "Ray's error type of a failed job; always 1. Absent without one (Ray 2.53 reports it, 2.40 does not).",
		labels: []string{"error_type"},
		series: func(j jobAt, emit *emitter) {
			if j.ErrorType != "" {
				emit.series(1, j.ErrorType)
			}
		},
	},
	{
		name: "job_submit_timestamp_seconds", help: "Unix time when the job was submitted (Ray's start_time; Ray does not report when the driver started). For a DRIVER job, when it connected.",
		value: func(j jobAt) (float64, bool) { return unix(j.Start) },
	},
	{
		name: "job_pending_seconds", help: "Seconds since the job was submitted, while it is PENDING, by the cluster's clock (the Date header of its responses). Absent otherwise.",
		value: func(j jobAt) (float64, bool) {
			return max(0, j.now.Sub(j.Start).Seconds()), j.Status == ray.JobPending && !j.Start.IsZero()
		},
	},
	{
		name: "job_end_timestamp_seconds", help: "Unix time when the job ended. Absent until then.",
		value: func(j jobAt) (float64, bool) { return unix(j.End) },
	},
	{
		name: "job_driver_exit_code", help: "Exit code of the job's entrypoint. Absent until it has ended, and for a job that was stopped or never started.",
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
	finished *finishedJobs
	jobs     bound[jobsView]
	job      bound[jobAt]
}

func newJobs(source jobsSource, s settings, o JobsOptions, f *finishedJobs) *jobsCollector {
	o.Retention = cmp.Or(o.Retention, defaultRetention)
	o.Max = cmp.Or(o.Max, defaultMaxJobs)
	return &jobsCollector{
		source: source, opts: o, finished: f,
		jobs: jobsTable.bind(s), job: newJobTable(o.Metadata).bind(s),
	}
}

func (c *jobsCollector) collect(ctx context.Context, out *seriesBuffer) error {
	jobs, err := c.source.Jobs(ctx)
	if err != nil {
		return err
	}
	now := clusterNow(c.source)
	c.finished.observe(jobs, time.Now())
	jobs = newestRuns(jobs)
	overflow := c.emitJobs(out, jobs, now)
	c.jobs.emit(out, jobsView{jobs: jobs, overflow: overflow})
	return nil
}

// emitJobs adds the series of each job, and returns how many jobs are too many.
func (c *jobsCollector) emitJobs(out *seriesBuffer, jobs []ray.Job, now time.Time) (overflow int) {
	shown := slices.DeleteFunc(slices.Clone(jobs), func(j ray.Job) bool {
		return j.Status.Terminal() && now.Sub(endTime(j)) > c.opts.Retention
	})
	fit := importantJobs(shown, c.opts.Max)
	for _, j := range fit {
		c.job.emit(out, jobAt{j, now}, j.Key())
	}
	return len(shown) - len(fit)
}

// collectEnds adds the jobs of the last list that had ended, and how many have ended at all.
func (c *jobsCollector) collectEnds(out *seriesBuffer) {
	jobs, ok := c.finished.lastList()
	if !ok {
		return
	}
	ended := slices.DeleteFunc(newestRuns(jobs), func(j ray.Job) bool { return !j.Status.Terminal() })
	c.emitJobs(out, ended, clusterNow(c.source))
	c.finished.collect(out)
}

// importantJobs returns the limit most important jobs. It reorders jobs.
func importantJobs(jobs []ray.Job, limit int) []ray.Job {
	if len(jobs) <= limit {
		return jobs
	}
	slices.SortFunc(jobs, byImportance)
	return jobs[:limit]
}

// newestRuns returns the jobs with only the latest run of each id.
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

// endTime returns when a terminal job ended, or its start if Ray does not report the end.
func endTime(j ray.Job) time.Time {
	if j.End.IsZero() {
		return j.Start
	}
	return j.End
}

// byImportance compares jobs by what is kept first under a limit: running (oldest first,
// so that a new job does not displace it), failed (newest first), pending, others.
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
		when = endTime(b).Compare(endTime(a))
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), when, strings.Compare(a.Key(), b.Key()))
}
