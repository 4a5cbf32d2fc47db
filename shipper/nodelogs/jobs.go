package nodelogs

import (
	"context"
	"sync"

	"raytap/ray"
)

// jobs knows the jobs of a session by their job ids. Ray's list names only the last driver
// of a submission: earlier ones are known if a list named them before. It is safe for
// concurrent use. The zero value is empty.
type jobs struct {
	mu   sync.Mutex
	byID map[string]ray.Job
}

// observe adds the jobs of a list.
func (j *jobs) observe(list []ray.Job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.byID == nil {
		j.byID = map[string]ray.Job{}
	}
	for _, job := range list {
		if job.JobID == "" {
			continue
		}
		if known, ok := j.byID[job.JobID]; ok && known.SubmissionID != "" && job.SubmissionID == "" {
			continue
		}
		j.byID[job.JobID] = ray.Job{Type: job.Type, Status: job.Status, SubmissionID: job.SubmissionID, JobID: job.JobID, Metadata: job.Metadata}
	}
}

// find returns a job by its job id.
func (j *jobs) find(jobID string) (ray.Job, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	job, ok := j.byID[jobID]
	return job, ok
}

// isOver reports whether a job has ended; false also if it is not known, or "".
func (j *jobs) isOver(jobID string) bool {
	job, ok := j.find(jobID)
	return ok && job.Status.Terminal()
}

// reset forgets all jobs: job ids belong to a session.
func (j *jobs) reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.byID = nil
}

// replicas knows the replicas of Ray Serve by the ids of their workers. Serve lists those that
// live: it is asked while a log waits for one. It is safe for concurrent use. The zero value is
// empty.
type replicas struct {
	mu     sync.Mutex
	byID   map[string]string
	wanted bool
}

// find returns the id of the replica that a worker is.
func (r *replicas) find(workerID string) (id string, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, known = r.byID[workerID]
	r.wanted = r.wanted || !known
	return id, known
}

// observe asks for the replicas, if one was looked for that is not known.
func (r *replicas) observe(ctx context.Context, client Client) error {
	r.mu.Lock()
	wanted := r.wanted
	r.mu.Unlock()
	if !wanted {
		return nil
	}
	list, err := client.ServeReplicas(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID, r.wanted = list, false
	return nil
}
