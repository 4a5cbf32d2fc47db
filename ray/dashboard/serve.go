package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sort"
	"strings"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

// maxMessage limits a message of an application or a deployment, in bytes: it may be
// a whole traceback.
const maxMessage = 4 << 10

type serveProxyRow struct {
	NodeID string `json:"node_id"`
	NodeIP string `json:"node_ip"`
	Status string `json:"status"`
}

type serveAppRow struct {
	Name         string         `json:"name"`
	RoutePrefix  string         `json:"route_prefix"`
	DocsPath     string         `json:"docs_path"`
	Status       string         `json:"status"`
	Message      string         `json:"message"`
	Source       string         `json:"source"`
	LastDeployed number         `json:"last_deployed_time_s"`
	Deployments  deploymentRows `json:"deployments"`
}

type deploymentRow struct {
	Name     string `json:"name"`
	Status   string `json:"status"`
	Message  string `json:"message"`
	Target   number `json:"target_num_replicas"`
	Replicas []struct {
		State string `json:"state"`
	} `json:"replicas"`
	Dead *[]struct{} `json:"recent_dead_replicas"` // 2.60; absent before
}

// deploymentRows is a map by name, or a list.
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
			row.Name = name
		}
		*r = append(*r, row)
	}
	return nil
}

// Serve returns the state of Ray Serve from its controller. If Serve was never
// started, was shut down or is not installed (501), the result is the zero value. If
// the controller is stuck, the request times out; 503 means that the call to the
// controller failed (2.60.0).
func (c *Client) Serve(ctx context.Context) (ray.ServeStatus, error) {
	const op = "get serve applications"
	var out ray.ServeStatus
	request := transport.Request{Op: op, Endpoint: endpointServe, Path: endpointServe}
	err := c.call(ctx, "serve applications", request, func(d *pyjson.Decoder) error { return readServe(d, &out) })
	switch {
	case serveNotInstalled(err):
		return ray.ServeStatus{}, nil
	case err != nil:
		return ray.ServeStatus{}, err
	}
	sort.Slice(out.Applications, func(i, j int) bool { return out.Applications[i].Name < out.Applications[j].Name })
	sort.Slice(out.Proxies, func(i, j int) bool { return out.Proxies[i].NodeID < out.Proxies[j].NodeID })
	return out, nil
}

// ServeApplication returns one application; an unknown name is an error of code 404.
// Ray has no such request: it lists all.
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

// serveNotInstalled reports whether an error is Ray's response when ray[serve] is not
// installed; the text is the same from 2.9.3 to 2.60.0. Other servers return 501, too.
func serveNotInstalled(err error) bool {
	var e *ray.Error
	return errors.As(err, &e) && e.Code == http.StatusNotImplemented && strings.Contains(e.Detail, "Serve dependencies are not installed")
}

func readServe(d *pyjson.Decoder, out *ray.ServeStatus) error {
	apps, proxies := map[string]ray.ServeApplication{}, map[string]ray.ServeProxy{}
	found, controller := false, map[string]json.RawMessage(nil)
	err := eachKey(d, map[string]func(*pyjson.Decoder) error{
		"controller_info": into(&controller),
		"applications": func(d *pyjson.Decoder) error {
			found = true
			return eachEntry(d, func(key string, row serveAppRow) bool {
				app, skipped := row.application(key)
				d.Skipped.Rows += skipped
				ok := app.Name != "" && app.Status != ""
				if ok {
					apps[app.Name] = app
				}
				return ok
			})
		},
		"proxies": func(d *pyjson.Decoder) error {
			err := eachEntry(d, func(id string, row serveProxyRow) bool {
				p := ray.ServeProxy{NodeID: row.NodeID, NodeIP: row.NodeIP, Status: upper(row.Status)}
				if p.NodeID == "" {
					p.NodeID = id
				}
				ok := p.NodeID != "" && p.Status != ""
				if ok {
					proxies[p.NodeID] = p
				}
				return ok
			})
			if pyjson.IsShape(err) {
				d.Skipped.Fields++
				return nil
			}
			return err
		},
	})
	if err == nil && !found {
		return &pyjson.ShapeError{Want: "applications"}
	}
	*out = ray.ServeStatus{Running: len(controller) > 0 || len(apps) > 0 || len(proxies) > 0}
	for _, app := range apps {
		out.Applications = append(out.Applications, app)
	}
	for _, p := range proxies {
		out.Proxies = append(out.Proxies, p)
	}
	return err
}

// application returns the domain type, and how many deployments without a name and
// replicas without a state were skipped.
func (r serveAppRow) application(key string) (app ray.ServeApplication, skipped int) {
	app = ray.ServeApplication{
		Name: r.Name, RoutePrefix: r.RoutePrefix, DocsPath: r.DocsPath, Status: upper(r.Status),
		Message: pyjson.Truncate(r.Message, maxMessage), Source: r.Source, LastDeployed: r.LastDeployed.seconds(),
	}
	if app.Name == "" {
		app.Name = key
	}
	seen := distinct{}
	for _, row := range r.Deployments {
		if row.Name == "" || !seen.first(row.Name) {
			skipped++
			continue
		}
		d, n := row.deployment()
		skipped += n
		app.Deployments = append(app.Deployments, d)
	}
	sort.Slice(app.Deployments, func(i, j int) bool { return app.Deployments[i].Name < app.Deployments[j].Name })
	return app, skipped
}

func (r deploymentRow) deployment() (d ray.ServeDeployment, skipped int) {
	d = ray.ServeDeployment{Name: r.Name, Status: upper(r.Status), Message: pyjson.Truncate(r.Message, maxMessage), Replicas: map[string]int{}}
	if r.Target.ok {
		n := r.Target.whole()
		d.TargetReplicas = &n
	}
	for _, replica := range r.Replicas {
		if state := upper(replica.State); state != "" {
			d.Replicas[state]++
		} else {
			skipped++
		}
	}
	if r.Replicas != nil {
		n := len(r.Replicas)
		d.ReplicaCount = &n
	}
	if r.Dead != nil {
		n := len(*r.Dead)
		d.DeadReplicas = &n
	}
	return d, skipped
}
