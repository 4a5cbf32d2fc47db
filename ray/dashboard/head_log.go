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

// HeadLog returns what Ray wrote on the head of a job that ran on another node: the
// last 8 KiB of a file of the same name as the log's, whole lines where it is cut.
// Ray writes there how it set the job up, and why it ended where its node was lost
// (2.60.0). "" where there is nothing: the job has not ended, it had no node or the
// head (then JobLogs has all there is), or both nodes keep their logs in one place.
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
	// The log is read first: in the same file its end is found again, whatever came.
	log, logErr := c.lastLines(ctx, job.LogRef())
	words, err := c.lastLines(ctx, ref)
	switch {
	case ray.Code(err) == http.StatusNotFound:
		return "", nil
	case err != nil:
		return "", err
	}
	if end := log[max(0, len(log)-maxLastBytes):]; logErr == nil && len(end) > 0 && bytes.Contains(words, end) {
		return "", nil
	}
	return lastText(words, maxHeadLog), nil
}

// lastLines reads the last lines of a log, windowLines and maxWindow bytes at most.
func (c *Client) lastLines(ctx context.Context, ref ray.LogRef) ([]byte, error) {
	body, err := c.LogLines(ctx, ref, windowLines)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, maxWindow))
}

// lastText returns the end of a text, of most bytes at most.
func lastText(text []byte, most int) string {
	text = bytes.TrimSpace(text)
	if over := len(text) - most; over > 0 {
		text = text[over:]
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		}
	}
	return string(bytes.ToValidUTF8(text, []byte("\uFFFD")))
}

// headLogRef names the file on the head in which Ray keeps what it says of a job that
// never had a node: one that failed in its runtime_env, or whose supervisor did not
// start (2.60.0). An error of code 404: the cluster names no live head.
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
		err = &ray.Error{Op: opLines, Code: http.StatusNotFound, Detail: "the list of nodes names no head"}
	}
	return ray.LogRef{SubmissionID: submissionID, NodeID: head}, err
}

// logFileRef names the file of a job's log: on its node, else on the head where the job
// has ended without one. false: there is none yet.
func (c *Client) logFileRef(ctx context.Context, job ray.Job) (ray.LogRef, bool) {
	if job.DriverNodeID != "" || !job.Status.Terminal() {
		return job.LogRef(), job.DriverNodeID != ""
	}
	ref, err := c.headLogRef(ctx, job.SubmissionID)
	return ref, err == nil
}
