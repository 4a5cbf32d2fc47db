package dashboard

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

// jobRow is a job of the Jobs API; its 15 keys are the same from Ray 2.9.3 to
// 2.60.0. Its runtime_env, which holds secrets in clear text, has no field here
// and must not get one.
type jobRow struct {
	Type         string            `json:"type"`
	SubmissionID string            `json:"submission_id"`
	JobID        string            `json:"job_id"`
	Status       string            `json:"status"`
	Entrypoint   string            `json:"entrypoint"`
	Message      string            `json:"message"`
	ErrorType    string            `json:"error_type"`
	Start        number            `json:"start_time"` // ms; when the job was submitted
	End          number            `json:"end_time"`   // ms; null, or 0 for a DRIVER, while it runs
	Metadata     map[string]string `json:"metadata"`
	AgentURL     string            `json:"driver_agent_http_address"`
	NodeID       string            `json:"driver_node_id"`
	ExitCode     number            `json:"driver_exit_code"`
}

// job returns the domain type; false for a row without an id or a status.
func (r jobRow) job() (ray.Job, bool) {
	j := ray.Job{
		Type:           ray.JobType(upper(r.Type)),
		SubmissionID:   r.SubmissionID,
		JobID:          r.JobID,
		Status:         ray.JobStatus(upper(r.Status)),
		Entrypoint:     r.Entrypoint,
		Message:        r.Message,
		ErrorType:      r.ErrorType,
		Start:          r.Start.millis(),
		End:            r.End.millis(),
		DriverNodeID:   r.NodeID,
		DriverAgentURL: strings.TrimRight(r.AgentURL, "/"),
	}
	if r.ExitCode.ok && math.Abs(r.ExitCode.value) <= math.MaxInt32 {
		code := int(r.ExitCode.value)
		j.DriverExitCode = &code
	}
	if len(r.Metadata) > 0 { // values that are not strings, as in older rows, are already dropped
		j.Metadata = r.Metadata
	}
	return j, j.Key() != "" && j.Status != ""
}

// The job list grows until the head restarts, by 20 kB and more for a failed job.
// It is read row by row, so that its length costs time but no memory.
const (
	maxJobList = 1 << 30 // bytes
	maxJobs    = 1 << 20
	// maxListMessage limits the message of a job in the list, in bytes: Ray puts the
	// last 20,000 characters of a log into it. Job returns it in full.
	maxListMessage = 4 << 10
)

// Jobs lists all jobs of the session that were not deleted: submissions in
// arbitrary order, then drivers. A row that cannot be decoded, has no id or repeats
// one is skipped, logged and counted in SkippedRows. A long Message is shortened in
// its middle.
//
// The list may have up to a GiB, whatever the transport's MaxBody, and a million jobs.
func (c *Client) Jobs(ctx context.Context) ([]ray.Job, error) { return c.JobsWithTimeout(ctx, 0) }

var _ ray.TimeoutSource = (*Client)(nil)

// JobsWithTimeout is Jobs with a request timeout of d instead of the transport's
// Timeout; 0 uses the transport's. Ray needs about 0.11 s for 1,000 jobs (2.60.0).
func (c *Client) JobsWithTimeout(ctx context.Context, d time.Duration) ([]ray.Job, error) {
	const op = "list jobs"
	jobs := []ray.Job{}
	seen, over := distinct{}, false
	request := transport.Request{Op: op, Endpoint: "/api/jobs/", Path: "/api/jobs/", MaxBody: maxJobList, Timeout: d}
	err := c.call(ctx, "jobs", request, func(d *pyjson.Decoder) error {
		_, err := eachRow(d, func(row jobRow) bool {
			row.Message = pyjson.Shorten(row.Message, maxListMessage)
			j, ok := row.job()
			if !ok || !seen.first(j.Key()) {
				return false
			}
			if over = len(jobs) == maxJobs; !over {
				jobs = append(jobs, j)
			}
			return !over
		})
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case over:
		return nil, &ray.Error{Op: op, Code: http.StatusInternalServerError, Status: http.StatusOK, Detail: fmt.Sprintf("the list has more than %d jobs: delete ended ones from Ray", maxJobs)}
	}
	return jobs, nil
}

// Job returns one job by its submission id or job id. An unknown id is an error of
// code 404.
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
		return ray.Job{}, &ray.Error{Op: op, Code: http.StatusInternalServerError, Status: http.StatusOK, Detail: "the response has no job"}
	}
	return j, nil
}

// JobLogs returns the whole driver log as of the time of the request. It is the
// unchanged content of the log file if Ray serves it (2.40 and later), otherwise
// the text that LogText returns. The caller closes it; it ends with io.EOF only at
// the end of the log.
//
// A whole log of 200 MB costs Ray 0.4 s of CPU (2.60.0): do not poll it. A DRIVER
// job is an error of code 400, an unknown id one of code 404.
func (c *Client) JobLogs(ctx context.Context, id string) (io.ReadCloser, error) {
	job, err := c.Job(ctx, id)
	switch {
	case err != nil:
		return nil, err
	case job.SubmissionID == "":
		return nil, &ray.Error{Op: opJobLogs, Code: http.StatusBadRequest, Detail: "Ray keeps no output of a job of type DRIVER"}
	}
	if ref, ok := c.logFileRef(ctx, job); ok {
		file, err := c.LogLines(ctx, ref, 0)
		switch ray.Code(err) {
		case http.StatusNotFound, http.StatusNotImplemented:
		default:
			return file, err
		}
	}
	// No file, or Ray does not serve it unchanged.
	return c.LogText(ctx, ray.LogRef{SubmissionID: id})
}

const opJobLogs = "get job logs"

// jobLogsText returns a log from the Jobs API. Ray's processes need more memory for
// it than the log is long (2.60.0: 200 to 250 MB each for 200 MB). A log longer than
// the transport's MaxBody is an error.
func (c *Client) jobLogsText(ctx context.Context, id string) (string, error) {
	path, err := jobPath(opJobLogs, id, "/logs")
	if err != nil {
		return "", err
	}
	var logs string
	err = c.t.Get(ctx, opJobLogs, "/api/jobs/{id}/logs", path, nil, within("logs", func(d *pyjson.Decoder) (err error) {
		var ok bool
		if logs, ok, err = d.Text(); err == nil && !ok {
			err = &pyjson.ShapeError{Want: "a log", Got: "null"}
		}
		return err
	}))
	return logs, err
}

// StopJob requests that Ray stop a job; it does not wait for the end. A job that has
// already ended is an error of code 400. For a PENDING job Ray reports success and
// does nothing (2.60.0).
func (c *Client) StopJob(ctx context.Context, id string) error {
	const op = "stop job"
	path, err := jobPath(op, id, "/stop")
	if err != nil {
		return err
	}
	var response struct {
		Stopped *bool `json:"stopped"`
	}
	if err := c.t.PostJSON(ctx, op, "/api/jobs/{id}/stop", path, nil, &response); err != nil {
		return err
	}
	if response.Stopped == nil {
		return &ray.Error{Op: op, Code: http.StatusInternalServerError, Status: http.StatusOK, Detail: "the response does not state whether the job was stopped"}
	}
	if !*response.Stopped {
		return &ray.Error{Op: op, Code: http.StatusBadRequest, Status: http.StatusOK, Detail: "the job has already ended"}
	}
	return nil
}

// jobPath returns the path of a job. Ray does not validate ids, so an id may contain
// anything; but "." and ".." disappear from a path even when escaped.
func jobPath(op, id, rest string) (string, error) {
	switch id {
	case "", ".", "..":
		return "", &ray.Error{Op: op, Code: http.StatusBadRequest, Detail: `the id "` + id + `" cannot be used in a request`}
	}
	return "/api/jobs/" + url.PathEscape(id) + rest, nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func upper(s string) string { return strings.ToUpper(strings.TrimSpace(s)) }
