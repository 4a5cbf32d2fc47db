package synapse

import (
	"context"
	"net/http"
	"strings"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
)

// jobRow is a job as an agent forwards it from Ray. Its runtime_env, which may hold
// secrets, has no field here and must not get one.
type jobRow struct {
	Type         flexString        `json:"type"`
	SubmissionID flexString        `json:"submission_id"`
	ID           flexString        `json:"id"` // older agents
	JobID        flexString        `json:"job_id"`
	Status       flexString        `json:"status"`
	Entrypoint   flexString        `json:"entrypoint"`
	Message      flexString        `json:"message"`
	ErrorType    flexString        `json:"error_type"`
	Start        flexTime          `json:"start_time"`
	End          flexTime          `json:"end_time"`
	Metadata     map[string]string `json:"metadata"`
	AgentURL     flexString        `json:"driver_agent_http_address"`
	NodeID       flexString        `json:"driver_node_id"`
	ExitCode     number            `json:"driver_exit_code"`
}

// job returns the domain type; false for a row without an id or a status.
func (r jobRow) job() (ray.Job, bool) {
	j := ray.Job{
		Type:           ray.JobType(upper(r.Type)),
		SubmissionID:   string(r.SubmissionID),
		JobID:          string(r.JobID),
		Status:         ray.JobStatus(upper(r.Status)),
		Entrypoint:     string(r.Entrypoint),
		Message:        string(r.Message),
		ErrorType:      string(r.ErrorType),
		Start:          r.Start.Time,
		End:            r.End.Time,
		Metadata:       nonEmptyMap(r.Metadata),
		DriverNodeID:   string(r.NodeID),
		DriverAgentURL: strings.TrimRight(string(r.AgentURL), "/"),
		DriverExitCode: r.ExitCode.count(),
	}
	if j.SubmissionID == "" && j.Type != ray.JobDriver {
		j.SubmissionID = string(r.ID)
	}
	if j.Type == "" {
		j.Type = ray.JobSubmission
		if j.SubmissionID == "" {
			j.Type = ray.JobDriver
		}
	}
	return j, j.Key() != "" && j.Status != ""
}

// maxListed limits the message of a job in the list, in bytes; Ray's messages have up
// to 20,000 characters.
const maxListed = 4 << 10

// Jobs lists all jobs that the agent reports, in its order. A long Message is shortened
// in its middle; Job returns it in full.
func (c *Client) Jobs(ctx context.Context) ([]ray.Job, error) {
	jobs, _, err := getList(ctx, c, "list jobs", "jobs", ray.Job.Key, func(_ string, row jobRow) (ray.Job, bool) {
		row.Message = flexString(pyjson.Shorten(string(row.Message), maxListed))
		return row.job()
	})
	return jobs, err
}

// Job returns one job by its submission id. An unknown id is an error of code 404.
func (c *Client) Job(ctx context.Context, id string) (ray.Job, error) {
	const op = "get job"
	path, err := itemPath(op, "jobs", id, "")
	if err != nil {
		return ray.Job{}, err
	}
	raw, err := c.get(ctx, op, "jobs/{id}/", path, nil)
	if err != nil {
		return ray.Job{}, err
	}
	var job ray.Job
	if _, ok := findOne(raw, func(row jobRow) (ok bool) { job, ok = row.job(); return ok }, "job"); !ok {
		return ray.Job{}, badResponse(op, "the response has no job")
	}
	return job, nil
}

// StopJob requests that the agent stop a job; it does not wait for the end, and never
// repeats the request. A job that has already ended is an error of code 400, an unknown
// id one of code 404.
func (c *Client) StopJob(ctx context.Context, id string) error {
	const op = "stop job"
	path, err := itemPath(op, "jobs", id, "stop/")
	if err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodPost, "jobs/{id}/stop/", path)
}
