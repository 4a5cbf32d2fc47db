package synapse

import (
	"context"
	"net/http"
	"sort"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
)

// maxMessage limits a message of an application or a deployment, in bytes: it may be
// a whole traceback.
const maxMessage = 4 << 10

type serveAppRow struct {
	Name         flexString     `json:"name"`
	Status       flexString     `json:"status"`
	RoutePrefix  flexString     `json:"route_prefix"`
	DocsPath     flexString     `json:"docs_path"`
	Message      flexString     `json:"message"`
	Source       flexString     `json:"source"`
	LastDeployed flexTime       `json:"last_deployed_time_s"`
	Deployments  deploymentRows `json:"deployments"`
}

type deploymentRow struct {
	Name       flexString `json:"name"`
	Status     flexString `json:"status"`
	Message    flexString `json:"message"`
	Count      number     `json:"replica_count"`
	Target     number     `json:"target_replica_count"`
	RayTarget  number     `json:"target_num_replicas"` // as Ray calls it
	ByReplicas []struct {
		State flexString `json:"state"`
	} `json:"replicas"`
}

// deploymentRows is a list, or a map by name.
type deploymentRows []deploymentRow

// ReadJSON reads either form.
func (r *deploymentRows) ReadJSON(d *pyjson.Decoder) error {
	if k, err := d.Kind(); err != nil {
		return err
	} else if k == pyjson.Array || k == pyjson.Null {
		return d.Decode((*[]deploymentRow)(r))
	}
	var byName map[string]deploymentRow
	if err := d.Decode(&byName); err != nil {
		return err
	}
	for name, row := range byName {
		if row.Name == "" {
			row.Name = flexString(name)
		}
		*r = append(*r, row)
	}
	return nil
}

// application returns the domain type, and adds to skipped the number of deployments
// without a name and of replicas without a state.
func (r serveAppRow) application(name string, skipped *int) (ray.ServeApplication, bool) {
	app := ray.ServeApplication{
		Name: firstNonEmpty(r.Name, flexString(name)), RoutePrefix: string(r.RoutePrefix), DocsPath: string(r.DocsPath), Status: upper(r.Status),
		Message: pyjson.Truncate(string(r.Message), maxMessage), Source: string(r.Source), LastDeployed: r.LastDeployed.Time,
	}
	seen := map[flexString]bool{}
	for _, row := range r.Deployments {
		if row.Name == "" || seen[row.Name] {
			*skipped++
			continue
		}
		seen[row.Name] = true
		d := ray.ServeDeployment{Name: string(row.Name), Status: upper(row.Status), Message: pyjson.Truncate(string(row.Message), maxMessage),
			TargetReplicas: row.Target.count(), ReplicaCount: row.Count.count(), Replicas: map[string]int{}}
		if d.TargetReplicas == nil {
			d.TargetReplicas = row.RayTarget.count()
		}
		for _, replica := range row.ByReplicas {
			if state := upper(replica.State); state != "" {
				d.Replicas[state]++
			} else {
				*skipped++
			}
		}
		if d.ReplicaCount == nil && row.ByReplicas != nil {
			n := len(row.ByReplicas)
			d.ReplicaCount = &n
		}
		app.Deployments = append(app.Deployments, d)
	}
	sort.Slice(app.Deployments, func(i, j int) bool { return app.Deployments[i].Name < app.Deployments[j].Name })
	return app, app.Name != "" && app.Status != ""
}

// Serve lists the applications. An agent does not report proxies, nor whether Serve
// runs without an application.
func (c *Client) Serve(ctx context.Context) (ray.ServeStatus, error) {
	skipped := 0
	apps, _, err := getList(ctx, c, "get serve applications", "serve_applications", func(a ray.ServeApplication) string { return a.Name },
		func(name string, row serveAppRow) (ray.ServeApplication, bool) {
			return row.application(name, &skipped)
		}, "applications")
	if err != nil {
		return ray.ServeStatus{}, err
	}
	c.partial.AddRows("serve applications", skipped)
	sort.Slice(apps, func(i, j int) bool { return apps[i].Name < apps[j].Name })
	return ray.ServeStatus{Applications: apps, Running: len(apps) > 0}, nil
}

// ServeApplication returns one application; an unknown name is an error of code 404.
func (c *Client) ServeApplication(ctx context.Context, name string) (ray.ServeApplication, error) {
	const op = "get serve application"
	path, err := itemPath(op, "serve_applications", name, "")
	if err != nil {
		return ray.ServeApplication{}, err
	}
	raw, err := c.get(ctx, op, "serve_applications/{name}/", path, nil)
	if err != nil {
		return ray.ServeApplication{}, err
	}
	var app ray.ServeApplication
	if _, ok := findOne(raw, func(row serveAppRow) (ok bool) { app, ok = row.application("", new(int)); return ok }, "serve_application", "application"); !ok {
		return ray.ServeApplication{}, badResponse(op, "the response has no application")
	}
	return app, nil
}

// DeleteServeApplication deletes one application; an unknown name is an error of
// code 404.
func (c *Client) DeleteServeApplication(ctx context.Context, name string) error {
	const op = "delete serve application"
	path, err := itemPath(op, "serve_applications", name, "")
	if err != nil {
		return err
	}
	return c.send(ctx, op, http.MethodDelete, "serve_applications/{name}/", path)
}
