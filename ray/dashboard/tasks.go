package dashboard

import (
	"context"
	"strconv"

	"raytap/ray"
)

type taskRow struct {
	ID      string `json:"task_id"`
	Attempt number `json:"attempt_number"`
	Name    string `json:"name"`
	Func    string `json:"func_or_class_name"`
	State   string `json:"state"`
	Type    string `json:"type"`
	JobID   string `json:"job_id"`
	NodeID  string `json:"node_id"`
	ActorID string `json:"actor_id"`
	Error   string `json:"error_type"`
}

// task returns the domain type; false for a row that names no task, or no state.
func (r taskRow) task() (ray.Task, bool) {
	t := ray.Task{
		ID: r.ID, Attempt: r.Attempt.whole(), Name: r.Name, Func: r.Func, State: upper(r.State),
		Type: r.Type, JobID: r.JobID, NodeID: r.NodeID, ActorID: r.ActorID, Error: r.Error,
	}
	return t, t.ID != "" && t.State != ""
}

const (
	taskFinished = "FINISHED"
	taskNil      = "NIL" // no task that is reported is in this state
)

// Tasks lists the tasks that have not finished well, as far as the GCS keeps
// them. The filter is applied in the GCS and lets Ray answer in 0.1 s where a
// plain list of 20,000 tasks takes 2 s and leaves out the failed and the
// pending ones (2.60.0).
//
// The total that Ray tells is the rows that match plus all attempts, of any
// state, that the GCS has dropped (it keeps 100,000 by default), so that it
// says nothing by itself: an empty state is asked for first, whose total is the
// dropped ones alone. Where rows are missing beyond those, the list was cut
// arbitrarily at 10,000, and exact totals are asked for state by state, one
// request after the other.
//
// Ray 2.9.3 and 2.40.0 look for the matching rows among the first 10,000 tasks
// of any state: a list that may lack some is Truncated, without totals.
func (c *Client) Tasks(ctx context.Context) (ray.TaskList, error) {
	list, seen := ray.TaskList{Tasks: []ray.Task{}}, distinct{}
	counts, err := stateRows(ctx, c, "list tasks", "tasks", listQuery(maxRows, filter{"state", "!=", taskFinished}),
		func(row taskRow) bool {
			task, ok := row.task()
			if !ok || !seen.first(task.ID+" "+strconv.Itoa(task.Attempt)) {
				return false
			}
			list.Tasks = append(list.Tasks, task)
			return true
		})
	if err != nil {
		return ray.TaskList{}, err
	}
	list.Total = counts.matched
	if !counts.truncated() {
		return list, nil
	}
	none, err := c.countTasks(ctx, taskNil)
	if err != nil {
		return ray.TaskList{}, err
	}
	if none.afterTruncation > 0 { // rows that do not match are counted: filtered by the dashboard, not by the GCS
		list.Truncated = counts.afterTruncation >= maxRows
		return list, nil
	}
	list.Dropped = none.total
	list.Total = max(counts.matched, counts.total-list.Dropped)
	list.Truncated = list.Total > len(list.Tasks)+counts.skipped || counts.afterTruncation >= maxRows
	if !list.Truncated {
		return list, nil
	}
	if list.ByState, err = c.taskTotals(ctx, counts.afterTruncation, list.Dropped); err != nil {
		return ray.TaskList{}, err
	}
	list.Total = 0 // the first answer's may be off by what was dropped since
	for _, n := range list.ByState {
		list.Total += n
	}
	return list, nil
}

// Task gives the last attempt of one task, whatever its state. A task that the
// GCS does not keep any more is an error of code 404, as an unknown one.
func (c *Client) Task(ctx context.Context, id string) (ray.Task, error) {
	const op = "get task"
	var last ray.Task
	found := false
	_, err := stateRows(ctx, c, op, "tasks", listQuery(maxRows, filter{"task_id", "=", id}), func(row taskRow) bool {
		t, ok := row.task()
		if ok && t.ID == id && (!found || t.Attempt >= last.Attempt) {
			last, found = t, true
		}
		return ok
	})
	switch {
	case err != nil:
		return ray.Task{}, err
	case !found:
		return ray.Task{}, notFound(op, "Ray keeps no task of this id (it forgets old ones)")
	}
	return last, nil
}

// taskTotals counts the tasks of each state but FINISHED. A state with fewer
// rows than the source gives at most is counted by them, and tells anew how
// many were dropped, which makes the total of a bigger one exact.
func (c *Client) taskTotals(ctx context.Context, most, dropped int) (map[string]int, error) {
	totals := map[string]int{}
	for _, state := range ray.TaskStates {
		if state == taskFinished || state == taskNil {
			continue
		}
		counts, err := c.countTasks(ctx, state)
		if err != nil {
			return nil, err
		}
		n := counts.afterTruncation
		if n < most {
			dropped = counts.total - n
		} else {
			n = max(n, counts.total-dropped)
		}
		if n > 0 {
			totals[state] = n
		}
	}
	return totals, nil
}

func (c *Client) countTasks(ctx context.Context, state string) (listCounts, error) {
	return stateRows(ctx, c, "count tasks", "tasks", listQuery(1, filter{"state", "=", state}), countOnly)
}
