package collector_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"raytap/collector"
	"raytap/ray"
)

// aheadCluster is a cluster whose clock is ahead of raytap's.
type aheadCluster struct {
	*cluster
	ahead time.Duration
}

func (c aheadCluster) ClockAhead() time.Duration { return c.ahead }

// Times that Ray reports are compared with Ray's clock: for the retention of a finished job
// and for the time that a job has been pending.
func TestRetention_ClusterClock(t *testing.T) {
	for _, ahead := range []time.Duration{-3 * time.Hour, 0, 3 * time.Hour} {
		now := time.Now().Add(ahead)
		c := &cluster{jobs: []ray.Job{
			{Type: ray.JobSubmission, SubmissionID: "ended", Status: ray.JobFailed, Start: now.Add(-time.Hour), End: now.Add(-time.Minute)},
			{Type: ray.JobSubmission, SubmissionID: "old", Status: ray.JobFailed, Start: now.Add(-4 * time.Hour), End: now.Add(-2 * time.Hour)},
			{Type: ray.JobSubmission, SubmissionID: "waits", Status: ray.JobPending, Start: now.Add(-time.Minute)},
		}}
		got := exposition(t, t.Context(), nil, newCollector(aheadCluster{c, ahead}, collector.Options{Jobs: collector.JobsOptions{Retention: time.Hour}}))
		if !strings.Contains(got, `submission_id="ended"`) || strings.Contains(got, `submission_id="old"`) {
			t.Errorf("Ray's clock is ahead by %s: the retention is wrong", ahead)
		}
		if !regexp.MustCompile(`raytap_job_pending_seconds\{[^}]*\} [6-9]\d(\.|\n)`).MatchString(got) {
			t.Errorf("Ray's clock is ahead by %s: pending seconds are wrong", ahead)
		}
	}
}
