package synapse

import (
	"context"
	"net/http"

	"raytap/ray"
)

// PlanServe always returns an error of code 501: agents do not support it.
func (c *Client) PlanServe(context.Context, []byte) (ray.ServePlan, error) {
	return ray.ServePlan{}, notOffered("plan serve deployment")
}

// DeployServe always returns an error of code 501: agents do not support it.
func (c *Client) DeployServe(context.Context, []byte) error {
	return notOffered("deploy serve applications")
}

func notOffered(op string) error {
	return &ray.Error{Op: op, Code: http.StatusNotImplemented, Detail: "Synapse agents cannot deploy applications: use Ray's own API (api: ray)"}
}
