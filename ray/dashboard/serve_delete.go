package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"

	"raytap/ray"
	"raytap/ray/internal/pyjson"
	"raytap/ray/transport"
)

const (
	opDelete      = "delete serve application"
	endpointServe = "/api/serve/applications/"
)

// deployedConfig is how Serve's applications were deployed.
type deployedConfig struct {
	Capacity     json.RawMessage        `json:"target_capacity"`
	Applications map[string]deployedApp `json:"applications"`
}

type deployedApp struct {
	Source string          `json:"source"`
	Status string          `json:"status"`
	Config json.RawMessage `json:"deployed_app_config"`
}

// DeleteServeApplication deletes one application that was deployed by a
// configuration. Ray has no such request: only one that sets the list of all
// applications, and one that shuts Serve down, which is never sent. So the other
// applications are deployed again with their configurations; Ray does not touch
// replicas whose configuration and code are unchanged (2.60.0). Serve keeps running
// without any application.
//
// The error has code 400, and nothing is sent, if that could change anything else:
// the application or another one was deployed by code (serve.run), or Ray does not
// report all configurations in full (versions that do not report the source do not).
// An unknown name is an error of code 404. A configuration that another client
// deploys at the same time may be undone.
func (c *Client) DeleteServeApplication(ctx context.Context, name string) error {
	now, err := c.deployedConfig(ctx, opDelete)
	if err != nil {
		return err
	}
	body, err := now.without(name)
	if err != nil {
		return err
	}
	res, err := c.t.Do(ctx, transport.Request{Op: opDelete, Endpoint: endpointServe, Method: http.MethodPut, Path: endpointServe, Body: body})
	if err != nil {
		return err
	}
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10)
	return res.Body.Close()
}

// deployedConfig returns how the applications were deployed. It returns an error if
// Ray's response has a value that is not valid JSON or not valid in a configuration:
// it could not be sent again unchanged.
func (c *Client) deployedConfig(ctx context.Context, op string) (deployedConfig, error) {
	var now deployedConfig
	var lost pyjson.Skipped
	err := c.t.Get(ctx, op, endpointServe, endpointServe, nil, func(d *pyjson.Decoder) error {
		err := d.Decode(&now)
		lost = d.Skipped
		if err == nil && now.Applications == nil {
			return &pyjson.ShapeError{Want: "applications"}
		}
		return err
	})
	switch {
	case serveNotInstalled(err):
		return now, notFound(op, "Serve is not running")
	case err == nil && lost != pyjson.Skipped{}:
		err = &ray.Error{Op: op, Code: http.StatusBadRequest, Detail: "nothing was changed: Ray can only set all applications at once, and the configuration of one has a value that cannot be sent again unchanged (such as NaN or Infinity)"}
	}
	return now, err
}

// without returns the configuration of all applications except one, or the reason
// why it must not be sent.
func (d deployedConfig) without(name string) ([]byte, error) {
	if _, ok := d.Applications[name]; !ok {
		return nil, notFound(opDelete, "there is no application with this name")
	}
	names := make([]string, 0, len(d.Applications))
	for other := range d.Applications {
		names = append(names, other)
	}
	sort.Strings(names)
	rest := []json.RawMessage{}
	for _, other := range names {
		app := d.Applications[other]
		if other != name && upper(app.Status) == "DELETING" {
			continue
		}
		if reason := app.whyNotRestorable(other); reason != "" {
			return nil, &ray.Error{Op: opDelete, Code: http.StatusBadRequest, Detail: "nothing was changed: Ray can only set all applications at once, and " + reason}
		}
		if other != name {
			rest = append(rest, app.Config)
		}
	}
	config := map[string]any{"applications": rest}
	if len(d.Capacity) > 0 && string(d.Capacity) != "null" {
		config["target_capacity"] = d.Capacity
	}
	body, err := json.Marshal(config)
	if err != nil {
		return nil, &ray.Error{Op: opDelete, Code: http.StatusInternalServerError, Detail: "the configuration cannot be encoded", Err: err}
	}
	return body, nil
}

// whyNotRestorable returns the reason why an application cannot be deployed again
// unchanged, or "".
func (a deployedApp) whyNotRestorable(name string) string {
	var config struct {
		Name *string `json:"name"`
	}
	switch {
	case strings.EqualFold(a.Source, "imperative"):
		return fmt.Sprintf("%s was deployed by code: delete it by serve.delete", name)
	case !strings.EqualFold(a.Source, "declarative"):
		return fmt.Sprintf("it does not report how %s was deployed", name)
	case json.Unmarshal(a.Config, &config) != nil || len(a.Config) == 0 || a.Config[0] != '{':
		return fmt.Sprintf("it does not report the configuration of %s", name)
	case config.Name != nil && *config.Name != name || config.Name == nil && name != "default":
		return fmt.Sprintf("the configuration that it reports for %s belongs to another application", name)
	case bytes.Contains(a.Config, []byte(`"<redacted>"`)), bytes.Contains(a.Config, []byte(`"\u003credacted\u003e"`)):
		return fmt.Sprintf("it hides parts of the configuration of %s", name)
	}
	return ""
}
