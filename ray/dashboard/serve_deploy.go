package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"raytap/ray"
	"raytap/ray/transport"
)

const (
	opPlan   = "plan serve deployment"
	opDeploy = "deploy serve applications"
	// defaultApp is the name of an application whose configuration has no name.
	defaultApp = "default"
	// deployTimeout is how long Ray may take to respond to a deployment: the first one
	// starts Serve's controller and proxies before the response (2.60.0).
	deployTimeout = 90 * time.Second
)

// serveConfig is the parsed part of a configuration in Ray's declarative schema.
type serveConfig struct {
	top  map[string]json.RawMessage
	apps map[string]json.RawMessage // by name
}

// parseServeConfig parses the parts of a configuration that a plan needs; Ray checks
// the rest. Its errors have code 400.
func parseServeConfig(op string, config []byte) (serveConfig, error) {
	wrong := func(format string, args ...any) error {
		return &ray.Error{Op: op, Code: http.StatusBadRequest, Detail: "the configuration " + fmt.Sprintf(format, args...)}
	}
	c := serveConfig{apps: map[string]json.RawMessage{}}
	if err := json.Unmarshal(config, &c.top); err != nil || c.top == nil {
		return c, wrong("is not a JSON object in Ray's multi-application schema")
	}
	var list []json.RawMessage
	if err := json.Unmarshal(c.top["applications"], &list); err != nil || list == nil {
		return c, wrong("has no list of applications: Ray deploys {\"applications\": [...]}, and [] removes all")
	}
	for i, raw := range list {
		var app struct {
			Name *string `json:"name"`
		}
		if err := json.Unmarshal(raw, &app); err != nil || !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
			return c, wrong("has an invalid application at applications[%d]", i)
		}
		name := defaultApp
		if app.Name != nil {
			name = *app.Name
		}
		if _, ok := c.apps[name]; ok {
			return c, wrong("has two applications named %q", name)
		}
		c.apps[name] = raw
	}
	return c, nil
}

// PlanServe returns what DeployServe with the same configuration would do now.
// It changes nothing. config is JSON in Ray's declarative schema. The error has code
// 400 if config is invalid, and code 501 if Serve is not installed.
//
// Configurations are compared with what Ray reports, which lacks fields that Ray does
// not know: a field that Ray ignores appears as a change.
func (c *Client) PlanServe(ctx context.Context, config []byte) (ray.ServePlan, error) {
	wanted, err := parseServeConfig(opPlan, config)
	if err != nil {
		return ray.ServePlan{}, err
	}
	var now struct {
		deployedConfig
		Controller map[string]json.RawMessage `json:"controller_info"`
		Location   json.RawMessage            `json:"proxy_location"`
		HTTP       map[string]json.RawMessage `json:"http_options"`
	}
	if err := c.t.GetJSON(ctx, opPlan, endpointServe, endpointServe, nil, &now); err != nil {
		return ray.ServePlan{}, err
	}
	var plan ray.ServePlan
	for name, app := range wanted.apps {
		plan.Changes = append(plan.Changes, now.Applications[name].plan(name, app))
	}
	for name, app := range now.Applications {
		if _, ok := wanted.apps[name]; ok || upper(app.Status) == "DELETING" {
			continue
		}
		action := ray.ServeRemove
		if app.deployedByCode() {
			action = ray.ServeKeep
		}
		plan.Changes = append(plan.Changes, ray.ServePlanned{Name: name, Action: action})
	}
	slices.SortFunc(plan.Changes, func(a, b ray.ServePlanned) int {
		return cmp.Or(cmp.Compare(slices.Index(ray.ServeActions, a.Action), slices.Index(ray.ServeActions, b.Action)), cmp.Compare(a.Name, b.Name))
	})
	before, after := orNone(now.Capacity), orNone(wanted.top["target_capacity"])
	if !sameJSON(before, after) {
		plan.Notes = append(plan.Notes, fmt.Sprintf("the target capacity is %s and will be %s", before, after))
	}
	if len(now.Controller) > 0 { // Serve is running, and ignores options of its start
		if v, ok := wanted.top["proxy_location"]; ok && len(now.Location) > 0 && !sameJSON(v, now.Location) {
			plan.Notes = append(plan.Notes, fmt.Sprintf("Serve is already running: proxy_location stays %s", now.Location))
		}
		plan.Notes = append(plan.Notes, ignoredOptions(wanted.top["http_options"], now.HTTP)...)
	}
	return plan, nil
}

// plan returns what a configuration does to an application; the zero value of a is an
// application that does not exist.
func (a deployedApp) plan(name string, wanted json.RawMessage) ray.ServePlanned {
	p := ray.ServePlanned{Name: name, Action: ray.ServeUnchanged}
	switch {
	case a.Status == "" || upper(a.Status) == "DELETING":
		p.Action = ray.ServeAdd
		return p
	case a.deployedByCode():
		p.Action = ray.ServeTakeOver
		return p
	}
	var before, after map[string]json.RawMessage
	_ = json.Unmarshal(a.Config, &before) // if missing, all fields differ
	_ = json.Unmarshal(wanted, &after)    // parsed before
	keys := map[string]bool{}
	for k := range before {
		keys[k] = true
	}
	for k := range after {
		keys[k] = true
	}
	delete(keys, "name")
	for k := range keys {
		switch {
		case bytes.Contains(before[k], []byte("<redacted>")), bytes.Contains(before[k], []byte(`\u003credacted\u003e`)):
			p.Hidden = true
		case !sameJSON(before[k], after[k]):
			p.Fields = append(p.Fields, k)
		}
	}
	if len(p.Fields) > 0 || p.Hidden {
		p.Action = ray.ServeChange
	}
	slices.Sort(p.Fields)
	return p
}

// deployedByCode reports whether code deployed an application (serve.run). Ray before
// 2.40 does not report that, but reports no configuration then (2.9.3).
func (a deployedApp) deployedByCode() bool {
	if a.Source != "" {
		return upper(a.Source) == "IMPERATIVE"
	}
	return len(a.Config) == 0 || string(a.Config) == "null"
}

// ignoredOptions returns a note for each HTTP option that a running Serve ignores.
func ignoredOptions(wanted json.RawMessage, now map[string]json.RawMessage) []string {
	var options map[string]json.RawMessage
	_ = json.Unmarshal(wanted, &options) // Ray refuses anything but an object
	var notes []string
	for k, v := range options {
		if is, ok := now[k]; ok && !sameJSON(is, v) {
			notes = append(notes, fmt.Sprintf("Serve is already running: http_options.%s stays %s", k, is))
		}
	}
	slices.Sort(notes)
	return notes
}

func orNone(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || string(raw) == "null" {
		return json.RawMessage("none")
	}
	return raw
}

// sameJSON reports whether two values are equal; numbers are compared by value.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// DeployServe sets Serve's applications: those of config are deployed, and all others
// that a configuration deployed before are removed; see PlanServe. config is JSON in
// Ray's declarative schema. It starts Serve if it is not running, and returns when Ray
// has accepted the configuration; Ray deploys the applications after that, and Serve
// returns their state. If the configuration is invalid, the error has code 400 and
// Ray's message, and nothing was changed.
func (c *Client) DeployServe(ctx context.Context, config []byte) error {
	if _, err := parseServeConfig(opDeploy, config); err != nil {
		return err
	}
	res, err := c.t.Do(ctx, transport.Request{Op: opDeploy, Endpoint: endpointServe, Method: http.MethodPut, Path: endpointServe,
		Body: config, Timeout: deployTimeout, AllowStatus: []int{http.StatusBadRequest}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	message, _ := io.ReadAll(io.LimitReader(res.Body, maxConfigError)) // shown even if incomplete
	if res.StatusCode != http.StatusBadRequest {
		return nil
	}
	return &ray.Error{Op: opDeploy, Code: http.StatusBadRequest, Status: http.StatusBadRequest,
		Detail: "Ray refused the configuration: " + c.configError(string(message))}
}

// maxConfigError (bytes) and maxConfigErrorLines limit Ray's message about an invalid
// configuration.
const (
	maxConfigError      = 64 << 10
	maxConfigErrorLines = 20
)

// configError returns Ray's message about an invalid configuration as one line. The
// message has pairs of lines, a field and what is wrong with it (2.60.0). The values
// that it repeats are omitted, as they may be secrets.
func (c *Client) configError(message string) string {
	var b strings.Builder
	lines := 0
	for line := range strings.Lines(message) {
		if text := strings.TrimSpace(line); text == "" || strings.HasPrefix(text, "For further information") {
			continue
		}
		if lines++; lines > maxConfigErrorLines {
			b.WriteString("; …")
			break
		}
		switch {
		case b.Len() == 0:
		case strings.HasPrefix(line, " "):
			b.WriteString(": ")
		default:
			b.WriteString("; ")
		}
		if before, _, ok := strings.Cut(line, ", input_value="); ok {
			line = before + "]"
		}
		b.WriteString(c.t.Detail(line))
	}
	return b.String()
}
