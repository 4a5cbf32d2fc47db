package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sort"

	"raytap/ray"
)

// maxMessage bounds a message of an application or a deployment, in bytes:
// it may be a whole traceback.
const maxMessage = 4 << 10

type serveAnswer struct {
	Controller   map[string]json.RawMessage `json:"controller_info"`
	Proxies      map[string]serveProxyRow   `json:"proxies"`
	Applications map[string]serveAppRow     `json:"applications"`
}

type serveProxyRow struct {
	NodeID *string `json:"node_id"`
	NodeIP *string `json:"node_ip"`
	Status string  `json:"status"`
}

type serveAppRow struct {
	Name         *string        `json:"name"`
	RoutePrefix  *string        `json:"route_prefix"`
	DocsPath     *string        `json:"docs_path"`
	Status       string         `json:"status"`
	Message      *string        `json:"message"`
	Source       *string        `json:"source"`
	LastDeployed number         `json:"last_deployed_time_s"`
	Deployments  deploymentRows `json:"deployments"`
}

type deploymentRow struct {
	Name     string  `json:"name"`
	Status   string  `json:"status"`
	Message  *string `json:"message"`
	Target   number  `json:"target_num_replicas"`
	Replicas []struct {
		State string `json:"state"`
	} `json:"replicas"`
	Dead *[]struct{} `json:"recent_dead_replicas"` // 2.60; absent before
}

// deploymentRows is a map by name, or a list.
type deploymentRows []deploymentRow

func (r *deploymentRows) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]deploymentRow)(r))
	}
	var byName map[string]deploymentRow
	if err := json.Unmarshal(b, &byName); err != nil {
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

// Serve asks Serve's controller. Where Serve was never started, was shut down
// or is not installed (501), the answer is the zero value. A stuck controller
// makes the request run into its timeout; 503 means that the controller's call
// failed (2.60.0).
func (c *Client) Serve(ctx context.Context) (ray.ServeStatus, error) {
	const path = "/api/serve/applications/"
	var answer serveAnswer
	if err := c.t.GetJSON(ctx, "get serve applications", path, path, nil, &answer); err != nil {
		if ray.Code(err) == http.StatusNotImplemented {
			return ray.ServeStatus{}, nil
		}
		return ray.ServeStatus{}, err
	}
	out := ray.ServeStatus{Running: len(answer.Controller) > 0 || len(answer.Applications) > 0 || len(answer.Proxies) > 0}
	for name, row := range answer.Applications {
		app := row.application()
		if app.Name == "" {
			app.Name = name
		}
		out.Applications = append(out.Applications, app)
	}
	sort.Slice(out.Applications, func(i, j int) bool { return out.Applications[i].Name < out.Applications[j].Name })
	for id, row := range answer.Proxies {
		p := ray.ServeProxy{NodeID: text(row.NodeID), NodeIP: text(row.NodeIP), Status: upper(row.Status)}
		if p.NodeID == "" {
			p.NodeID = id
		}
		out.Proxies = append(out.Proxies, p)
	}
	sort.Slice(out.Proxies, func(i, j int) bool { return out.Proxies[i].NodeID < out.Proxies[j].NodeID })
	return out, nil
}

func (r serveAppRow) application() ray.ServeApplication {
	app := ray.ServeApplication{
		Name: text(r.Name), RoutePrefix: text(r.RoutePrefix), DocsPath: text(r.DocsPath), Status: upper(r.Status),
		Message: head(text(r.Message), maxMessage), Source: text(r.Source), LastDeployed: r.LastDeployed.seconds(),
	}
	for _, row := range r.Deployments {
		app.Deployments = append(app.Deployments, row.deployment())
	}
	sort.Slice(app.Deployments, func(i, j int) bool { return app.Deployments[i].Name < app.Deployments[j].Name })
	return app
}

func (r deploymentRow) deployment() ray.ServeDeployment {
	d := ray.ServeDeployment{Name: r.Name, Status: upper(r.Status), Message: head(text(r.Message), maxMessage), Replicas: map[string]int{}}
	if r.Target.ok {
		n := int(r.Target.value)
		d.TargetReplicas = &n
	}
	if r.Replicas != nil {
		n := len(r.Replicas)
		d.ReplicaCount = &n
	}
	for _, replica := range r.Replicas {
		d.Replicas[upper(replica.State)]++
	}
	if r.Dead != nil {
		n := len(*r.Dead)
		d.DeadReplicas = &n
	}
	return d
}

// head gives the first n bytes of a text, or less to end at a rune.
func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
