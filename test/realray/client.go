//go:build linux

package realray

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// A Client is a client of a head's Jobs API. It shares no code with raytap, so that the
// tests compare two implementations.
type Client struct {
	URL   string
	Token string // "" sends none
}

// Submission is the body of a submit.
type Submission struct {
	ID         string            `json:"submission_id,omitempty"`
	Entrypoint string            `json:"entrypoint"`
	Metadata   map[string]string `json:"metadata,omitempty"`
	CPUs       float64           `json:"entrypoint_num_cpus,omitempty"`
	GPUs       float64           `json:"entrypoint_num_gpus,omitempty"`
}

// JobInfo is a job in the job list.
type JobInfo struct {
	Type         string  `json:"type"`
	SubmissionID string  `json:"submission_id"`
	JobID        string  `json:"job_id"`
	Status       string  `json:"status"`
	Message      string  `json:"message"`
	ExitCode     *int    `json:"driver_exit_code"`
	StartMillis  float64 `json:"start_time"`
	EndMillis    float64 `json:"end_time"`
}

// Terminal reports whether the job has ended.
func (j JobInfo) Terminal() bool {
	return j.Status == "SUCCEEDED" || j.Status == "FAILED" || j.Status == "STOPPED"
}

// Submit submits a job and returns its submission ID.
func (c *Client) Submit(ctx context.Context, s Submission) (string, error) {
	var res struct {
		ID string `json:"submission_id"`
	}
	err := c.Do(ctx, http.MethodPost, "/api/jobs/", s, &res)
	return res.ID, err
}

// StopJob requests the stop of a job.
func (c *Client) StopJob(ctx context.Context, id string) error {
	return c.Do(ctx, http.MethodPost, "/api/jobs/"+url.PathEscape(id)+"/stop", nil, nil)
}

// Job returns one job.
func (c *Client) Job(ctx context.Context, id string) (JobInfo, error) {
	var j JobInfo
	err := c.Do(ctx, http.MethodGet, "/api/jobs/"+url.PathEscape(id), nil, &j)
	return j, err
}

// Jobs returns all jobs.
func (c *Client) Jobs(ctx context.Context) ([]JobInfo, error) {
	var jobs []JobInfo
	err := c.Do(ctx, http.MethodGet, "/api/jobs/", nil, &jobs)
	return jobs, err
}

// Version returns Ray's version and the name of the head's session.
func (c *Client) Version(ctx context.Context) (version, session string, err error) {
	var v struct {
		Ray     string `json:"ray_version"`
		Session string `json:"session_name"`
	}
	err = c.Do(ctx, http.MethodGet, "/api/version", nil, &v)
	return v.Ray, v.Session, err
}

// WaitJob polls a job until ok returns true for it.
func (c *Client) WaitJob(ctx context.Context, id string, ok func(JobInfo) bool) (JobInfo, error) {
	for {
		j, err := c.Job(ctx, id)
		if err == nil && ok(j) {
			return j, nil
		}
		select {
		case <-ctx.Done():
			return j, fmt.Errorf("job %s is %q (last error: %v): %w", id, j.Status, err, ctx.Err())
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// WaitReady polls until the head returns its version and its job list.
func (c *Client) WaitReady(ctx context.Context) error {
	var last error
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, _, last = c.Version(one)
		if last == nil {
			_, last = c.Jobs(one)
		}
		cancel()
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the dashboard is not ready: %w (%w)", last, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Do sends a request to the head. It sends in as JSON unless in is nil, and decodes the
// response into out unless out is nil.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "raytap-tests")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: HTTP %d: %s", method, path, res.StatusCode, tail(b, 500))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// DeployServe deploys one Serve application, whose proxy listens on a loopback port. It
// returns before the application is running.
func (c *Client) DeployServe(ctx context.Context, port int, name, importPath string) error {
	config := map[string]any{
		"proxy_location": "HeadOnly",
		"http_options":   map[string]any{"host": "127.0.0.1", "port": port},
		"applications":   []any{map[string]any{"name": name, "route_prefix": "/", "import_path": importPath}},
	}
	return c.Do(ctx, http.MethodPut, "/api/serve/applications/", config, nil)
}
