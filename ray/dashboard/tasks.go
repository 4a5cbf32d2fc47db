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

// task returns the domain type; false for a row without an id or a state.
func (r taskRow) task() (ray.Task, bool) {
	t := ray.Task{
		ID: r.ID, Attempt: r.Attempt.whole(), Name: r.Name, Func: r.Func, State: upper(r.State),
		Type: r.Type, JobID: r.JobID, NodeID: r.NodeID, ActorID: r.ActorID, Error: r.Error,
	}
	return t, t.ID != "" && t.State != ""
}

const (
	taskFinished = "FINISHED"
	taskNil      = "NIL" // no reported task has this state
)

// Tasks lists the tasks that are not FINISHED, as far as the GCS keeps them. The
// filter is applied in the GCS: Ray responds in 0.1 s, while an unfiltered list of
// 20,000 tasks takes 2 s and omits the failed and the pending ones (2.60.0).
//
// Ray's total is the number of matching rows plus all attempts, of any state, that
// the GCS has dropped (it keeps 100,000 by default). To separate the two, a state
// without tasks is queried: its total is the dropped ones alone. If more rows are
// missing than were dropped, the list was truncated arbitrarily at 10,000, and exact
// totals are queried state by state, one request after the other.
//
// Ray 2.9.3 and 2.40.0 search for matching rows among the first 10,000 tasks of any
// state: a list that may be incomplete is Truncated, without totals.
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
	if none.afterTruncation > 0 { // counts rows that do not match: the dashboard filters, not the GCS
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
	list.Total = 0 // that of the first response is off by what was dropped since
	for _, n := range list.ByState {
		list.Total += n
	}
	return list, nil
}

// Task returns the last attempt of one task, in any state. An unknown task, or one
// that the GCS no longer keeps, is an error of code 404.
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
		return ray.Task{}, notFound(op, "Ray has no task with this id (it drops old ones)")
	}
	return last, nil
}

// taskTotals counts the tasks of each state except FINISHED. If a state has fewer
// rows than the source's limit, their number is exact, and updates the number of
// dropped attempts, which makes the total of a larger state exact.
func (c *Client) taskTotals(ctx context.Context, limit, dropped int) (map[string]int, error) {
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
		if n < limit {
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
