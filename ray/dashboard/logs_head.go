package dashboard

import (
	"context"
	"net/http"

	"raytap/ray"
)

// headLog names the file on the head in which Ray keeps what it says of a job that
// never had a node: one that failed in its runtime_env, or whose supervisor did not
// start (2.60.0). An error of code 404: the cluster names no live head.
func (c *Client) headLog(ctx context.Context, submissionID string) (ray.LogRef, error) {
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

// fileOf names the file of a job's log: on its node, else on the head where the job
// has ended without one. false: there is none yet.
func (c *Client) fileOf(ctx context.Context, job ray.Job) (ray.LogRef, bool) {
	if job.DriverNodeID != "" || !job.Status.Terminal() {
		return job.LogRef(), job.DriverNodeID != ""
	}
	ref, err := c.headLog(ctx, job.SubmissionID)
	return ref, err == nil
}
