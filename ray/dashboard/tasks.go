package dashboard

import (
	"context"

	"raytap/ray"
)

type taskRow struct {
	ID      string  `json:"task_id"`
	Attempt number  `json:"attempt_number"`
	Name    *string `json:"name"`
	Func    *string `json:"func_or_class_name"`
	State   string  `json:"state"`
	Type    *string `json:"type"`
	JobID   *string `json:"job_id"`
	NodeID  *string `json:"node_id"`
	ActorID *string `json:"actor_id"`
	Error   *string `json:"error_type"`
}

func (r taskRow) task() ray.Task {
	return ray.Task{
		ID: r.ID, Attempt: int(r.Attempt.value), Name: text(r.Name), Func: text(r.Func), State: upper(r.State),
		Type: text(r.Type), JobID: text(r.JobID), NodeID: text(r.NodeID), ActorID: text(r.ActorID), Error: text(r.Error),
	}
}

const taskFinished = "FINISHED"

// Tasks lists the tasks that have not finished well. The filter is applied in
// the GCS and lets Ray answer in 0.1 s where a plain list of 20,000 tasks takes
// 2 s and leaves out the failed and the pending ones (2.60.0).
//
// Where more than 10,000 match, the list is cut arbitrarily, and exact totals
// are asked for state by state, one request after the other.
func (c *Client) Tasks(ctx context.Context) (ray.TaskList, error) {
	list := ray.TaskList{Tasks: []ray.Task{}}
	counts, err := stateRows(ctx, c, "list tasks", "tasks", listQuery(maxRows, filter{"state", "!=", taskFinished}),
		func(row taskRow) { list.Tasks = append(list.Tasks, row.task()) })
	if err != nil {
		return ray.TaskList{}, err
	}
	list.Total, list.Truncated = counts.total, counts.cut()
	if !list.Truncated {
		return list, nil
	}
	list.ByState = map[string]int{}
	for _, state := range ray.TaskStates {
		if state == taskFinished {
			continue
		}
		counts, err := stateRows(ctx, c, "count tasks", "tasks", listQuery(1, filter{"state", "=", state}), func(struct{}) {})
		if err != nil {
			return ray.TaskList{}, err
		}
		if counts.total > 0 {
			list.ByState[state] = counts.total
		}
	}
	return list, nil
}
