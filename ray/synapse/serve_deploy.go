package synapse

import (
	"context"
	"net/http"

	"raytap/ray"
)

// PlanServe is what agents do not offer: always an error of code 501.
func (c *Client) PlanServe(context.Context, []byte) (ray.ServePlan, error) {
	return ray.ServePlan{}, notOffered("plan serve deployment")
}

// DeployServe is what agents do not offer: always an error of code 501.
func (c *Client) DeployServe(context.Context, []byte) error {
	return notOffered("deploy serve applications")
}

func notOffered(op string) error {
	return &ray.Error{Op: op, Code: http.StatusNotImplemented, Detail: "a Synapse agent deploys no applications: use Ray's own API (api: ray)"}
}
