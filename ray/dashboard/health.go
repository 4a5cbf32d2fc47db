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

// Health checks that the cluster's GCS answers its dashboard. Ray does not check
// the token here.
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
			Detail: c.t.Detail(fmt.Sprintf("the response is not from a Ray dashboard: it begins with %.40q", text))}
	}
	return nil
}

// Resources always returns an error of code 501: only Synapse agents report
// resources. Nodes and ClusterStatus have what Ray itself reports.
func (c *Client) Resources(context.Context) (ray.ClusterResources, error) {
	return ray.ClusterResources{}, synapseOnly("get cluster resources", "query nodes and cluster status instead")
}

// GPUStatus always returns an error of code 501: only Synapse agents report it. The
// stats of Nodes have the accelerators.
func (c *Client) GPUStatus(context.Context) (json.RawMessage, error) {
	return nil, synapseOnly("get gpu status", "query node stats instead")
}

func synapseOnly(op, instead string) error {
	return &ray.Error{Op: op, Code: http.StatusNotImplemented, Detail: "Ray's dashboard does not report it: " + instead}
}
