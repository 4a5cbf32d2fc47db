package raytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// appRemoved as an application's next status removes it from the list.
const appRemoved = "removed"

// serveState is the state of Ray Serve. Guarded by Head.mu.
type serveState struct {
	started  bool
	location any
	http     map[string]any
	capacity any
	apps     map[string]*serveApp
}

type serveApp struct {
	config   map[string]any
	status   string
	next     string // status after the next response; "" unchanged, appRemoved: no longer listed
	deployed time.Time
}

func (s *serveState) start() {
	if !s.started {
		s.started, s.apps = true, map[string]*serveApp{}
		s.location, s.http = "EveryNode", map[string]any{"host": "127.0.0.1", "port": 8000.0}
	}
}

// putServe accepts a declarative configuration like Ray 2.60.0: it responds before
// anything is deployed.
func (h *Head) putServe(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var body any
	if err := json.Unmarshal(b, &body); err != nil {
		text(w, http.StatusInternalServerError, "Traceback (most recent call last):\n  ...\njson.decoder.JSONDecodeError: "+err.Error()+"\n")
		return
	}
	if where, what, kind := invalidServe(body); what != "" {
		text(w, http.StatusBadRequest, "1 validation error for ServeDeploySchema\n"+where+"  "+what+" [type="+kind+", input_value=..., input_type=...]\n"+
			"    For further information visit https://errors.pydantic.dev/2.14/v/"+kind)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serve.deploy(body.(map[string]any))
	w.WriteHeader(http.StatusOK)
}

// invalidServe returns why Ray's schema rejects a configuration: the location line (or
// ""), the message and its type; all "" if it is valid.
func invalidServe(body any) (where, what, kind string) {
	config, ok := body.(map[string]any)
	if !ok {
		return "", "Input should be a valid dictionary or instance of ServeDeploySchema", "model_type"
	}
	value, ok := config["applications"]
	if !ok {
		return "applications\n", "Field required", "missing"
	}
	list, ok := value.([]any)
	if !ok {
		return "applications\n", "Input should be a valid list", "list_type"
	}
	names := map[string]bool{}
	for i, v := range list {
		app, ok := v.(map[string]any)
		if !ok {
			return fmt.Sprintf("applications.%d\n", i), "Input should be a valid dictionary or instance of ServeApplicationSchema", "model_type"
		}
		if _, ok := app["import_path"]; !ok {
			return fmt.Sprintf("applications.%d.import_path\n", i), "Field required", "missing"
		}
		name := serveName(app)
		if names[name] {
			return "applications\n", fmt.Sprintf("Value error, Found multiple configs for application %q. Please remove all duplicates.", name), "value_error"
		}
		names[name] = true
	}
	return "", "", ""
}

func serveName(app map[string]any) string {
	if name, ok := app["name"].(string); ok {
		return name
	}
	return "default"
}

func (s *serveState) deploy(config map[string]any) {
	if !s.started {
		s.start()
		if v, ok := config["proxy_location"]; ok {
			s.location = v
		}
		if options, ok := config["http_options"].(map[string]any); ok {
			for k, v := range options {
				s.http[k] = v
			}
		}
	}
	s.capacity = config["target_capacity"]
	named := map[string]bool{}
	list, _ := config["applications"].([]any) // validated before
	for _, v := range list {
		app, _ := v.(map[string]any)
		name := serveName(app)
		named[name] = true
		s.apps[name] = &serveApp{config: app, status: "DEPLOYING", next: "RUNNING", deployed: time.Now()}
	}
	for name, app := range s.apps {
		if !named[name] {
			app.status, app.next = "DELETING", appRemoved
		}
	}
}

// serveDetails responds with Serve's state. Each response advances pending changes.
func (h *Head) serveDetails(w http.ResponseWriter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &h.serve
	apps := map[string]any{}
	for name, a := range s.apps {
		apps[name] = map[string]any{
			"name": name, "route_prefix": "/" + name, "docs_path": nil, "status": a.status, "message": "", "source": "declarative",
			"last_deployed_time_s": float64(a.deployed.UnixMicro()) / 1e6, "deployed_app_config": a.config, "deployments": map[string]any{},
		}
		switch a.next {
		case "":
		case appRemoved:
			delete(s.apps, name)
		default:
			a.status, a.next = a.next, ""
		}
	}
	reply(w, map[string]any{
		"controller_info": map[string]any{"actor_name": "SERVE_CONTROLLER_ACTOR"}, "proxy_location": s.location, "http_options": s.http,
		"proxies": map[string]any{}, "applications": apps, "target_capacity": s.capacity,
	})
}

func (h *Head) serveApplications(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	started := h.serve.started
	h.mu.Unlock()
	switch {
	case r.Method == http.MethodPut:
		h.putServe(w, r)
	case started:
		h.serveDetails(w)
	default:
		replyRecorded(w, "serve_applications_none")
	}
}
