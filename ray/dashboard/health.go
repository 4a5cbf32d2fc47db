package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"raytap/ray"
	"raytap/ray/transport"
)

// Health asks whether the cluster's GCS answers its dashboard. Ray checks no
// token here.
func (c *Client) Health(ctx context.Context) error {
	const path = "/api/gcs_healthz"
	res, err := c.t.Do(ctx, transport.Request{Op: "check health", Endpoint: path, Path: path})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(text)) != "success" { // the same from 2.9.3 to 2.60.0
		return &ray.Error{Op: "check health", Code: http.StatusInternalServerError, Status: res.StatusCode,
			Detail: c.t.Detail(fmt.Sprintf("the answer is not that of a Ray dashboard but begins with %.40q", text))}
	}
	return nil
}

// Resources is what agents tell: always an error of code 501. Nodes and
// ClusterStatus hold what Ray itself tells of its hardware.
func (c *Client) Resources(context.Context) (ray.ClusterResources, error) {
	return ray.ClusterResources{}, synapseOnly("get cluster resources", "nodes and the cluster's status hold them")
}

// GPUStatus is what agents tell: always an error of code 501. The readings of
// Nodes hold the accelerators.
func (c *Client) GPUStatus(context.Context) (json.RawMessage, error) {
	return nil, synapseOnly("get gpu status", "the readings of the nodes hold the accelerators")
}

func synapseOnly(op, instead string) error {
	return &ray.Error{Op: op, Code: http.StatusNotImplemented, Detail: "Ray's dashboard has no such answer: " + instead}
}
