package dashboard

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"raytap/ray"
)

// maxHeadLog bounds what HeadLog returns, in bytes.
const maxHeadLog = 8 << 10

// HeadLog returns what Ray logged on the head about a job that ran on another node:
// the last 8 KiB of the file there that has the same name as the job's log, cut at a
// line. Ray logs there how it set up the job, and why the job ended if its node was
// lost (2.60.0). It returns "" if the job has not ended, if it had no node or ran on
// the head (JobLogs then has everything), or if both nodes share one log directory.
//
// An unknown id is an error of code 404, a Ray before 2.40 one of code 501. Safe for
// concurrent use.
func (c *Client) HeadLog(ctx context.Context, id string) (string, error) {
	job, err := c.Job(ctx, id)
	if err != nil || job.SubmissionID == "" || job.DriverNodeID == "" || !job.Status.Terminal() {
		return "", err
	}
	ref, err := c.headLogRef(ctx, job.SubmissionID)
	switch {
	case ray.Code(err) == http.StatusNotFound:
		return "", nil
	case err != nil || ref.NodeID == job.DriverNodeID:
		return "", err
	}
	// The job's log is read first: if both are one file, its end is found in the second
	// read even if the file has grown.
	log, logErr := c.lastLines(ctx, job.LogRef())
	headText, err := c.lastLines(ctx, ref)
	switch {
	case ray.Code(err) == http.StatusNotFound:
		return "", nil
	case err != nil:
		return "", err
	}
	if end := log[max(0, len(log)-maxLastBytes):]; logErr == nil && len(end) > 0 && bytes.Contains(headText, end) {
		return "", nil
	}
	return lastText(headText, maxHeadLog), nil
}

// lastLines returns the last lines of a log, at most windowLines and maxWindow bytes.
func (c *Client) lastLines(ctx context.Context, ref ray.LogRef) ([]byte, error) {
	body, err := c.LogLines(ctx, ref, windowLines)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, maxWindow))
}

// lastText returns the last whole lines of a text, at most limit bytes.
func lastText(text []byte, limit int) string {
	text = bytes.TrimSpace(text)
	if over := len(text) - limit; over > 0 {
		text = text[over:]
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
	}
	return string(bytes.ToValidUTF8(text, []byte("\uFFFD")))
}

// headLogRef returns the file on the head in which Ray logs about a job that never
// had a node: its runtime_env failed, or its supervisor did not start (2.60.0). The
// error has code 404 if the cluster lists no live head.
func (c *Client) headLogRef(ctx context.Context, submissionID string) (ray.LogRef, error) {
	head := ""
	_, err := stateRows(ctx, c, "list nodes for their logs", "nodes", listQuery(maxRows, filter{"state", "=", "ALIVE"}), func(row struct {
		ID    string `json:"node_id"`
		State string `json:"state"`
		Head  bool   `json:"is_head_node"`
	}) bool {
		if row.Head && ray.NodeState(upper(row.State)) == ray.NodeAlive {
			head = row.ID
		}
		return row.ID != ""
	})
	if err == nil && head == "" {
		err = &ray.Error{Op: opLines, Code: http.StatusNotFound, Detail: "the node list has no live head"}
	}
	return ray.LogRef{SubmissionID: submissionID, NodeID: head}, err
}

// logFileRef returns the file of a job's log: on its node, or on the head if the job
// ended without a node. false: there is none yet.
func (c *Client) logFileRef(ctx context.Context, job ray.Job) (ray.LogRef, bool) {
	if job.DriverNodeID != "" || !job.Status.Terminal() {
		return job.LogRef(), job.DriverNodeID != ""
	}
	ref, err := c.headLogRef(ctx, job.SubmissionID)
	return ref, err == nil
}
