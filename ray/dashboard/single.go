package dashboard

import (
	"context"
	"net/http"

	"raytap/ray"
)

// This file: one of a list. Ray has no request for one application of Serve,
// and those for one node and one task tell less than the lists do.

// Node gives one node with its readings; an unknown id is an error of code 404.
func (c *Client) Node(ctx context.Context, id string) (ray.Node, error) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return ray.Node{}, err
	}
	for _, n := range nodes {
		if n.ID == id {
			return n, nil
		}
	}
	return ray.Node{}, notFound("get node", "there is no node of this id")
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

// ServeApplication gives one application; an unknown name is an error of code 404.
func (c *Client) ServeApplication(ctx context.Context, name string) (ray.ServeApplication, error) {
	status, err := c.Serve(ctx)
	if err != nil {
		return ray.ServeApplication{}, err
	}
	for _, app := range status.Applications {
		if app.Name == name {
			return app, nil
		}
	}
	return ray.ServeApplication{}, notFound("get serve application", "there is no application of this name")
}

func notFound(op, detail string) error {
	return &ray.Error{Op: op, Code: http.StatusNotFound, Detail: detail}
}
