package shipper

import (
	"testing"
	"time"

	"raytap/ray"
)

func TestTrackedJob_IsRun(t *testing.T) {
	first, later := time.UnixMilli(1000), time.UnixMilli(2000)
	for name, row := range map[string]struct {
		known trackedJob
		job   ray.Job
		want  bool
	}{
		"same start time":                    {trackedJob{startTime: first}, ray.Job{Start: first}, true},
		"another start time":                 {trackedJob{startTime: first}, ray.Job{Start: later}, false},
		"start time missing now":             {trackedJob{startTime: first}, ray.Job{}, true},
		"start time missing before":          {trackedJob{}, ray.Job{Start: first}, true},
		"read before, missing, still ended":  {trackedJob{startTime: first, readBefore: true}, ray.Job{Status: ray.JobSucceeded}, true},
		"read before, missing, runs":         {trackedJob{startTime: first, readBefore: true}, ray.Job{Status: ray.JobRunning}, false},
		"read before without one, runs":      {trackedJob{readBefore: true}, ray.Job{Start: first, Status: ray.JobRunning}, false},
		"read before, same start time, runs": {trackedJob{startTime: first, readBefore: true}, ray.Job{Start: first, Status: ray.JobRunning}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := row.known.isRun(row.job); got != row.want {
				t.Errorf("isRun is %v, want %v", got, row.want)
			}
			if got := row.known.withStartTime(row.job).Start; !row.job.Start.IsZero() && !got.Equal(row.job.Start) {
				t.Errorf("withStartTime changed the start time to %s", got)
			}
		})
	}
}
