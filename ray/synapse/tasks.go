package synapse

import (
	"bytes"
	"context"
	"slices"
	"strconv"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
)

// rayMaxRows is where Ray itself truncates its lists, which the rows do not show.
const rayMaxRows = 10_000

type taskRow struct {
	TaskID  flexString `json:"task_id"`
	ID      flexString `json:"id"`
	Attempt number     `json:"attempt_number"`
	Name    flexString `json:"name"`
	Func    flexString `json:"func_or_class_name"`
	State   flexString `json:"state"`
	Type    flexString `json:"type"`
	JobID   flexString `json:"job_id"`
	NodeID  flexString `json:"node_id"`
	ActorID flexString `json:"actor_id"`
	Error   flexString `json:"error_type"`
}

func (r taskRow) task() (ray.Task, bool) {
	attempt := 0
	if n := r.Attempt.count(); n != nil {
		attempt = *n
	}
	t := ray.Task{
		ID: firstNonEmpty(r.TaskID, r.ID), Attempt: attempt, Name: string(r.Name), Func: string(r.Func), State: upper(r.State),
		Type: string(r.Type), JobID: string(r.JobID), NodeID: string(r.NodeID), ActorID: string(r.ActorID), Error: string(r.Error),
	}
	return t, t.ID != "" && t.State != ""
}

// taskKey identifies one attempt of a task.
func taskKey(t ray.Task) string { return t.ID + " " + strconv.Itoa(t.Attempt) }

const taskFinished = "FINISHED"

// Tasks lists the tasks that are not FINISHED, as the dashboard's client does. An agent
// returns all tasks that Ray lists: with 10,000 rows or more the list is reported as
// truncated, because Ray truncates there and an agent may not report it.
func (c *Client) Tasks(ctx context.Context) (ray.TaskList, error) {
	tasks, found, err := getList(ctx, c, "list tasks", "tasks", taskKey, func(_ string, row taskRow) (ray.Task, bool) { return row.task() })
	if err != nil {
		return ray.TaskList{}, err
	}
	tasks = slices.DeleteFunc(tasks, func(t ray.Task) bool { return t.State == taskFinished })
	out := ray.TaskList{Tasks: tasks}
	out.Total = len(tasks)
	out.Truncated = found.rows >= rayMaxRows || found.total > found.rows
	return out, nil
}

// Task returns one task, in any state; an unknown id is an error of code 404.
func (c *Client) Task(ctx context.Context, id string) (ray.Task, error) {
	const op = "get task"
	path, err := itemPath(op, "tasks", id, "")
	if err != nil {
		return ray.Task{}, err
	}
	raw, err := c.get(ctx, op, "tasks/{id}/", path, nil)
	if err != nil {
		return ray.Task{}, err
	}
	var task ray.Task
	if _, ok := findOne(raw, func(row taskRow) (ok bool) { task, ok = row.task(); return ok }, "task"); ok {
		return task, nil
	}
	// Ray's own response for one task is the list of its attempts.
	attempts := list[taskRow, ray.Task]{resource: []string{"task", "tasks"}, take: func(_ string, row taskRow) (ray.Task, bool) { return row.task() }}
	_, _ = attempts.find(pyjson.NewDecoder(bytes.NewReader(raw)), false, 4)
	task = ray.Task{}
	for _, t := range attempts.items {
		if task.ID == "" || t.Attempt >= task.Attempt {
			task = t
		}
	}
	if task.ID == "" {
		return ray.Task{}, badResponse(op, "the response has no task")
	}
	return task, nil
}
