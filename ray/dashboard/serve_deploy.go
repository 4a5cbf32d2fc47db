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
	// defaultApp is the name of an application whose configuration has none.
	defaultApp = "default"
	// deployTimeout is how long Ray may take to answer a deployment: the first one
	// starts Serve's controller and its proxies before the answer (2.60.0).
	deployTimeout = 90 * time.Second
)

// serveConfig is what is read of a configuration in Ray's declarative schema.
type serveConfig struct {
	top  map[string]json.RawMessage
	apps map[string]json.RawMessage // by name
}

// parseServeConfig reads a configuration as far as a plan needs it; Ray checks
// the rest. Its errors are of code 400.
func parseServeConfig(op string, config []byte) (serveConfig, error) {
	wrong := func(format string, args ...any) error {
		return &ray.Error{Op: op, Code: http.StatusBadRequest, Detail: "the configuration " + fmt.Sprintf(format, args...)}
	}
	c := serveConfig{apps: map[string]json.RawMessage{}}
	if err := json.Unmarshal(config, &c.top); err != nil || c.top == nil {
		return c, wrong("is not a JSON object in Ray's schema of several applications")
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
			return c, wrong("has in applications[%d] what is no application", i)
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
// It changes nothing. config is JSON in Ray's declarative schema. The error is
// of code 400 where config is none, and of code 501 where Serve is not installed.
//
// Configurations are compared as Ray reports them, without fields that it does
// not know: a field that Ray ignores shows as a change.
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
	if len(now.Controller) > 0 { // it runs, and ignores what is about its start
		if v, ok := wanted.top["proxy_location"]; ok && len(now.Location) > 0 && !sameJSON(v, now.Location) {
			plan.Notes = append(plan.Notes, fmt.Sprintf("Serve runs already: proxy_location stays %s", now.Location))
		}
		plan.Notes = append(plan.Notes, ignoredOptions(wanted.top["http_options"], now.HTTP)...)
	}
	return plan, nil
}

// plan says what a configuration does to an application, whose zero value is
// none.
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
	_ = json.Unmarshal(a.Config, &before) // one that is not told differs in all
	_ = json.Unmarshal(wanted, &after)    // it was read before
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
// 2.40 does not report that, but then there is no configuration (2.9.3).
func (a deployedApp) deployedByCode() bool {
	if a.Source != "" {
		return upper(a.Source) == "IMPERATIVE"
	}
	return len(a.Config) == 0 || string(a.Config) == "null"
}

// ignoredOptions says which HTTP options of a configuration a running Serve ignores.
func ignoredOptions(wanted json.RawMessage, now map[string]json.RawMessage) []string {
	var options map[string]json.RawMessage
	_ = json.Unmarshal(wanted, &options) // Ray refuses what is no object
	var notes []string
	for k, v := range options {
		if is, ok := now[k]; ok && !sameJSON(is, v) {
			notes = append(notes, fmt.Sprintf("Serve runs already: http_options.%s stays %s", k, is))
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

// sameJSON compares two values; numbers by what they are worth.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// DeployServe declares Serve's applications: those of config are deployed, and
// all others that a configuration deployed before are removed; see PlanServe.
// config is JSON in Ray's declarative schema. It returns when Ray has accepted
// it, and starts Serve where it does not run; the applications are deployed
// after that: see Serve for how it goes. The error is of code 400 with Ray's
// words where the configuration is wrong, and nothing was changed then.
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
	said, _ := io.ReadAll(io.LimitReader(res.Body, maxConfigError)) // what came of it is shown
	if res.StatusCode != http.StatusBadRequest {
		return nil
	}
	return &ray.Error{Op: opDeploy, Code: http.StatusBadRequest, Status: http.StatusBadRequest,
		Detail: "Ray refused the configuration: " + c.configError(string(said))}
}

// maxConfigError and maxConfigErrorLines bound what is read and shown of a refusal.
const (
	maxConfigError      = 64 << 10
	maxConfigErrorLines = 20
)

// configError makes one line of what Ray says of a wrong configuration: pairs of
// lines that name a place and say what is wrong there (2.60.0). The values that
// it repeats are left out, as they may hold secrets.
func (c *Client) configError(said string) string {
	var b strings.Builder
	lines := 0
	for line := range strings.Lines(said) {
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
