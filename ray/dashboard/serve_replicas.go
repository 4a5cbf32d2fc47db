package dashboard

import (
	"context"
	"strings"

	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

// replicaRow is a replica in the response of Serve.
type replicaRow struct {
	Actor  string `json:"actor_name"` // SERVE_REPLICA::APPLICATION#DEPLOYMENT#REPLICA (2.9.3 to 2.60.0)
	Worker string `json:"worker_id"`
	Node   string `json:"node_id"`
	PID    number `json:"pid"`
}

// ServeReplicas returns the ids of the replicas of Ray Serve that the controller lists, by the
// ids of their workers: those that start, run and stop.
func (c *Client) ServeReplicas(ctx context.Context) (map[string]string, error) {
	replicas := map[string]string{}
	err := c.eachReplica(ctx, func(_ string, rows []replicaRow) {
		for _, r := range rows {
			if i := strings.LastIndexByte(r.Actor, '#'); i >= 0 && r.Worker != "" {
				replicas[r.Worker] = r.Actor[i+1:]
			}
		}
	})
	if serveNotInstalled(err) {
		return nil, nil
	}
	return replicas, err
}

// eachReplica calls do for each application, and then with the replicas of each of its
// deployments.
func (c *Client) eachReplica(ctx context.Context, do func(application string, rows []replicaRow)) error {
	request := transport.Request{Op: "list replicas", Endpoint: endpointServe, Path: endpointServe}
	return c.call(ctx, "serve replicas", request, func(d *pyjson.Decoder) error {
		return eachKey(d, map[string]func(*pyjson.Decoder) error{"applications": func(d *pyjson.Decoder) error {
			return eachEntry(d, func(name string, app struct {
				Deployments map[string]struct {
					Replicas []replicaRow `json:"replicas"`
				} `json:"deployments"`
			}) bool {
				do(name, nil)
				for _, deployment := range app.Deployments {
					do(name, deployment.Replicas)
				}
				return true
			})
		}})
	})
}
