package tail

import (
	"testing"

	"raytap/ray"
)

func TestJob_OldResponse(t *testing.T) {
	cl := testCluster(t, Options{Cluster: "test"})
	j := newJob(cl, "s", ray.Job{SubmissionID: "x", Status: ray.JobFailed})
	j.update(ray.Job{SubmissionID: "x", Status: ray.JobRunning})
	if got := j.current().Status; got != ray.JobFailed {
		t.Errorf("status %s after a response from before the end, want %s", got, ray.JobFailed)
	}
}
