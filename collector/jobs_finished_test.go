package collector

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"raytap/ray"
)

// T is when raytap begins to watch; the lists follow 1, 2, … minutes later. A job's start
// and end are in seconds after T.
func TestFinishedJobs_EachRunOnce(t *testing.T) {
	type job struct {
		id         string
		status     ray.JobStatus
		start, end float64
	}
	driver := job{"01000000", ray.JobSucceeded, -100, 5}
	for name, row := range map[string]struct {
		lists [][]job
		want  map[string]int
	}{
		"an end before raytap's start is not counted": {
			lists: [][]job{{{"a", ray.JobFailed, -100, -1}}, {{"a", ray.JobFailed, -100, -1}}},
		},
		"an end between raytap's start and its first list is": {
			lists: [][]job{{{"a", ray.JobFailed, -100, 1}}},
			want:  map[string]int{"FAILED": 1},
		},
		"a run is counted once": {
			lists: [][]job{{{"a", ray.JobRunning, 0, 0}}, {{"a", ray.JobSucceeded, 0, 70}}, {{"a", ray.JobSucceeded, 0, 70}}},
			want:  map[string]int{"SUCCEEDED": 1},
		},
		"a job that ran between two lists is counted": {
			lists: [][]job{{}, {{"a", ray.JobStopped, 61, 62}}},
			want:  map[string]int{"STOPPED": 1},
		},
		"clocks may differ after the first list": {
			lists: [][]job{{{"a", ray.JobRunning, -5000, 0}}, {{"a", ray.JobFailed, -5000, -4000}}},
			want:  map[string]int{"FAILED": 1},
		},
		"an id submitted again is another run": {
			lists: [][]job{{{"a", ray.JobFailed, 0, 1}}, {{"a", ray.JobRunning, 61, 0}}, {{"a", ray.JobFailed, 61, 62}}},
			want:  map[string]int{"FAILED": 2},
		},
		"a deleted job stays counted": {
			lists: [][]job{{}, {{"a", ray.JobFailed, 1, 2}}, {}},
			want:  map[string]int{"FAILED": 1},
		},
		"a run that is missing for a while is not counted again": {
			lists: [][]job{{}, {{"a", ray.JobFailed, 1, 2}}, {}, {}, {{"a", ray.JobFailed, 1, 2}}},
			want:  map[string]int{"FAILED": 1},
		},
		"old runs that the first list lacked are not counted": {
			lists: [][]job{{}, {{"a", ray.JobFailed, -5000, -4000}}},
		},
		"a driver has status ENDED": {
			lists: [][]job{{driver}},
			want:  map[string]int{"ENDED": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
				f := newFinishedJobs(settings{cluster: "prod"})
				for _, list := range row.lists {
					time.Sleep(time.Minute)
					var jobs []ray.Job
					for _, j := range list {
						job := ray.Job{Type: ray.JobSubmission, SubmissionID: j.id, Status: j.status, Start: at(j.start)}
						if j.id == driver.id {
							job.Type, job.SubmissionID, job.JobID = ray.JobDriver, "", j.id
						}
						if j.status.Terminal() {
							job.End = at(j.end)
						}
						jobs = append(jobs, job)
					}
					f.observe(jobs, time.Now())
					f.observe(jobs, time.Now()) // a scrape sees the list that the shipper had fetched
				}
				if !maps.Equal(f.counts, row.want) {
					t.Errorf("got %v, want %v", f.counts, row.want)
				}
			})
		})
	}
}

func TestFinishedJobs_Forgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFinishedJobs(settings{cluster: "prod"})
		for i := range 100 {
			f.observe([]ray.Job{{SubmissionID: fmt.Sprint(i), Status: ray.JobFailed, End: time.Now()}}, time.Now())
			time.Sleep(time.Minute)
		}
		if n := len(f.known); n > 12 {
			t.Errorf("%d runs remembered", n)
		}
	})
}

// Runs that are missing in one list, after any time without a list, do not count as new.
func TestFinishedJobs_EmptyListAfterOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFinishedJobs(settings{cluster: "prod"})
		f.observe(nil, time.Now())
		time.Sleep(time.Second)
		jobs := []ray.Job{{Type: ray.JobSubmission, SubmissionID: "a", Status: ray.JobFailed, Start: time.Now(), End: time.Now()}}
		f.observe(jobs, time.Now())
		time.Sleep(time.Hour) // the cluster does not answer
		f.observe(nil, time.Now())
		f.observe(jobs, time.Now())
		if n := f.counts["FAILED"]; n != 1 {
			t.Errorf("an end was counted %d times", n)
		}
	})
}
