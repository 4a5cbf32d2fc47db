package collector_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"raytap/collector"
	"raytap/ray"
)

// aheadCluster is a cluster whose clock is ahead of ours.
type aheadCluster struct {
	*cluster
	ahead time.Duration
}

func (c aheadCluster) ClockAhead() time.Duration { return c.ahead }

// The law: what Ray reports is compared with Ray's clock. A job that ended a minute ago
// is shown for the retention, one that waits for a minute has waited for a minute.
func TestTheRetentionCountsByTheClustersClock(t *testing.T) {
	for _, ahead := range []time.Duration{-3 * time.Hour, 0, 3 * time.Hour} {
		now := time.Now().Add(ahead)
		c := &cluster{jobs: []ray.Job{
			{Type: ray.JobSubmission, SubmissionID: "ended", Status: ray.JobFailed, Start: now.Add(-time.Hour), End: now.Add(-time.Minute)},
			{Type: ray.JobSubmission, SubmissionID: "old", Status: ray.JobFailed, Start: now.Add(-4 * time.Hour), End: now.Add(-2 * time.Hour)},
			{Type: ray.JobSubmission, SubmissionID: "waits", Status: ray.JobPending, Start: now.Add(-time.Minute)},
		}}
		page := page(t, t.Context(), nil, newCollector(aheadCluster{c, ahead}, collector.Options{Jobs: collector.JobsOptions{Retention: time.Hour}}))
		if !strings.Contains(page, `submission_id="ended"`) || strings.Contains(page, `submission_id="old"`) {
			t.Errorf("Ray's clock is ahead by %s: the page is wrong about the retention", ahead)
		}
		if !regexp.MustCompile(`raytap_job_pending_seconds\{[^}]*\} [6-9]\d(\.|\n)`).MatchString(page) {
			t.Errorf("Ray's clock is ahead by %s: pending seconds are wrong", ahead)
		}
	}
}
