package dashboard

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"raytap/ray"
)

// jobRow is a job as the Jobs API tells it; its 15 keys are the same from Ray
// 2.9.3 to 2.60.0. Its runtime_env, which holds secrets in clear, has no field
// here and must not get one.
type jobRow struct {
	Type         string         `json:"type"`
	SubmissionID *string        `json:"submission_id"`
	JobID        *string        `json:"job_id"`
	Status       string         `json:"status"`
	Entrypoint   *string        `json:"entrypoint"`
	Message      *string        `json:"message"`
	ErrorType    *string        `json:"error_type"`
	Start        number         `json:"start_time"` // ms; when the job was submitted
	End          number         `json:"end_time"`   // ms; null, or 0 for a DRIVER, while it runs
	Metadata     map[string]any `json:"metadata"`
	AgentURL     *string        `json:"driver_agent_http_address"`
	NodeID       *string        `json:"driver_node_id"`
	ExitCode     number         `json:"driver_exit_code"`
}

// job gives the domain type; false for a row that names no job.
func (r jobRow) job() (ray.Job, bool) {
	j := ray.Job{
		Type:           ray.JobType(upper(r.Type)),
		SubmissionID:   text(r.SubmissionID),
		JobID:          text(r.JobID),
		Status:         ray.JobStatus(upper(r.Status)),
		Entrypoint:     text(r.Entrypoint),
		Message:        text(r.Message),
		ErrorType:      text(r.ErrorType),
		Start:          r.Start.millis(),
		End:            r.End.millis(),
		DriverNodeID:   text(r.NodeID),
		DriverAgentURL: strings.TrimRight(text(r.AgentURL), "/"),
	}
	if r.ExitCode.ok {
		code := int(r.ExitCode.value)
		j.DriverExitCode = &code
	}
	for key, value := range r.Metadata {
		// Ray takes only strings (2.60.0); older rows may hold others.
		if s, ok := value.(string); ok {
			if j.Metadata == nil {
				j.Metadata = make(map[string]string, len(r.Metadata))
			}
			j.Metadata[key] = s
		}
	}
	return j, j.Key() != "" && j.Status != ""
}

// Jobs lists all jobs of the session that were not deleted: submissions, whose
// order is arbitrary, then drivers. A row that cannot be decoded is left out,
// logged and counted in SkippedRows.
func (c *Client) Jobs(ctx context.Context) ([]ray.Job, error) {
	jobs := []ray.Job{}
	skipped, nameless := 0, 0
	err := c.t.Get(ctx, "list jobs", "/api/jobs/", "/api/jobs/", nil, func(d *json.Decoder) (err error) {
		skipped, err = eachRow(d, func(row jobRow) {
			if j, ok := row.job(); ok {
				jobs = append(jobs, j)
			} else {
				nameless++
			}
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	c.left.Rows("jobs", skipped+nameless)
	return jobs, nil
}

// Job asks for one job by its submission id or job id. An unknown id is an
// error of code 404.
func (c *Client) Job(ctx context.Context, id string) (ray.Job, error) {
	const op = "get job"
	path, err := jobPath(op, id, "")
	if err != nil {
		return ray.Job{}, err
	}
	var row jobRow
	if err := c.t.GetJSON(ctx, op, "/api/jobs/{id}", path, nil, &row); err != nil {
		return ray.Job{}, err
	}
	j, ok := row.job()
	if !ok {
		return ray.Job{}, &ray.Error{Op: op, Code: http.StatusInternalServerError, Status: http.StatusOK, Detail: "the answer names no job"}
	}
	return j, nil
}

// JobLogs gives the whole driver log as it is when it is asked for. It comes
// from the log's file, unchanged, where Ray gives that (2.40 and later), else
// from the Jobs API, as text: \r becomes \n, and a log that is not UTF-8 is an
// error. The caller closes it; it ends with io.EOF only where the log ended.
//
// A whole log costs Ray 0.4 s of CPU for 200 MB (2.60.0): it is for who asks
// once. A DRIVER job is an error of code 400, an unknown id one of code 404.
func (c *Client) JobLogs(ctx context.Context, id string) (io.ReadCloser, error) {
	job, err := c.Job(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case job.SubmissionID == "":
		return nil, &ray.Error{Op: opJobLogs, Code: http.StatusBadRequest, Detail: "Ray keeps no output of a job of type DRIVER"}
	}
	if job.DriverNodeID != "" {
		file, err := c.LogLines(ctx, job.LogRef(), 0)
		switch ray.Code(err) {
		case http.StatusNotFound, http.StatusNotImplemented:
		default:
			return file, err
		}
	}
	// No file, or none that is given unchanged.
	text, err := c.jobLogsText(ctx, id)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

const opJobLogs = "get job logs"

// jobLogsText asks the Jobs API for a log. It costs Ray's processes more memory
// than the log is long (2.60.0: 200 to 250 MB each for 200 MB), and a log longer
// than the transport's MaxBody is an error.
func (c *Client) jobLogsText(ctx context.Context, id string) (string, error) {
	path, err := jobPath(opJobLogs, id, "/logs")
	if err != nil {
		return "", err
	}
	var answer struct {
		Logs string `json:"logs"`
	}
	err = c.t.GetJSON(ctx, opJobLogs, "/api/jobs/{id}/logs", path, nil, &answer)
	return answer.Logs, err
}

// StopJob asks Ray to stop a job; it does not wait for the end. A job that has
// ended is an error of code 400. On a job that is still PENDING Ray agrees and
// does nothing (2.60.0).
func (c *Client) StopJob(ctx context.Context, id string) error {
	const op = "stop job"
	path, err := jobPath(op, id, "/stop")
	if err != nil {
		return err
	}
	var answer struct {
		Stopped bool `json:"stopped"`
	}
	if err := c.t.PostJSON(ctx, op, "/api/jobs/{id}/stop", path, nil, &answer); err != nil {
		return err
	}
	if !answer.Stopped {
		return &ray.Error{Op: op, Code: http.StatusBadRequest, Status: http.StatusOK, Detail: "the job has ended already"}
	}
	return nil
}

// jobPath gives the path of a job. Ray does not validate ids, so anything may
// stand in one; but "." and ".." vanish from a path however they are escaped.
func jobPath(op, id, rest string) (string, error) {
	switch id {
	case "", ".", "..":
		return "", &ray.Error{Op: op, Code: http.StatusBadRequest, Detail: "the id " + `"` + id + `" cannot be asked for`}
	}
	return "/api/jobs/" + url.PathEscape(id) + rest, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func upper(s string) string { return strings.ToUpper(strings.TrimSpace(s)) }
