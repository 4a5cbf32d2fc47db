package synapsetest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// The endpoints, for Requests, Inject and SetResponse.
const (
	EndpointHealth    = "health/"
	EndpointJobs      = "jobs/"
	EndpointJob       = "jobs/{id}/"
	EndpointLogs      = "jobs/{id}/logs/"
	EndpointStop      = "jobs/{id}/stop/"
	EndpointWebSocket = "jobs/{id}/logs/ (websocket)"
	EndpointSSE       = "jobs/{id}/logs/stream/"
	EndpointNodes     = "nodes/"
	EndpointNode      = "nodes/{id}/"
	EndpointTasks     = "tasks/"
	EndpointTask      = "tasks/{id}/"
	EndpointServe     = "serve_applications/"
	EndpointServeApp  = "serve_applications/{name}/"
	EndpointGPUs      = "gpu_status/"
	EndpointResources = "resources/cluster/"
	EndpointOther     = "other"
)

// LogFormat is the format of a whole log.
type LogFormat int

// A log is a JSON string, a list of its lines without terminators, either of them under
// "logs", or plain text.
const (
	LogString LogFormat = iota
	LogList
	LogWrapped
	LogText
)

// ServeHTTP responds like an agent.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), a.o.prefix+"/")
	if !ok {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	if !strings.HasSuffix(path, "/") { // as in FastAPI
		to := *r.URL
		to.Path += "/"
		w.Header().Set("Location", "http://"+r.Host+to.RequestURI())
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	endpoint, id := a.route(path, isUpgrade(r))
	c := a.matchFault(endpoint, id)
	if c.respond(w, r) {
		return
	}
	if !a.authorized(w, r) {
		return
	}
	switch endpoint {
	case EndpointWebSocket:
		if a.o.noWebSocket != 0 {
			fail(w, a.o.noWebSocket, "")
			return
		}
		a.serveWebSocket(w, r, id, c)
	case EndpointSSE:
		a.serveSSE(w, r, id, c)
	default:
		if isUpgrade(r) { // like a FastAPI server without such a path
			fail(w, http.StatusForbidden, "")
			return
		}
		a.serveResponse(w, r, endpoint, id)
	}
}

// route returns a path's endpoint and the id in it.
func (a *Agent) route(path string, upgrade bool) (endpoint, id string) {
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	legacy := parts[0] == "ray" && len(parts) > 1
	if legacy {
		parts = parts[1:]
	}
	if len(parts) > 1 {
		id, _ = url.PathUnescape(parts[1])
	}
	switch rest := strings.Join(parts[min(2, len(parts)):], "/"); {
	case parts[0] == "jobs" && len(parts) > 2 && (upgrade || strings.HasPrefix(rest, "logs/")):
		right := map[string]string{"logs": EndpointWebSocket, "logs/stream": EndpointSSE}
		if a.o.legacyPaths {
			right = map[string]string{"logs/ws": EndpointWebSocket, "logs/stream": EndpointSSE}
		}
		if e := right[rest]; e != "" && legacy == a.o.legacyPaths && (upgrade == (e == EndpointWebSocket)) {
			return e, id
		}
		if upgrade {
			return EndpointOther, id
		}
	case legacy:
	case parts[0] == "jobs" && rest == "logs":
		return EndpointLogs, id
	case parts[0] == "jobs" && rest == "stop":
		return EndpointStop, id
	case path == EndpointResources && !a.o.withoutResources:
		return path, ""
	case len(parts) == 1 && strings.Contains(" health jobs nodes tasks serve_applications gpu_status ", " "+parts[0]+" "):
		if path == EndpointGPUs && a.o.withoutResources {
			break
		}
		return path, ""
	case len(parts) == 2 && parts[0] == "serve_applications":
		return EndpointServeApp, id
	case len(parts) == 2 && (parts[0] == "jobs" || parts[0] == "nodes" || parts[0] == "tasks"):
		return parts[0] + "/{id}/", id
	}
	return EndpointOther, id
}

func (a *Agent) authorized(w http.ResponseWriter, r *http.Request) bool {
	right := func(header, word, want string) bool { return want == "" || r.Header.Get(header) == word+want }
	switch {
	case !right("Authorization", "", a.o.token):
		fail(w, http.StatusUnauthorized, "Invalid agent token")
	case !right("SYNAPSE-User", "Token ", a.o.user), !right("SYNAPSE-Tenant", "Token ", a.o.tenant):
		fail(w, http.StatusForbidden, "Invalid user or tenant")
	default:
		return true
	}
	return false
}

func (a *Agent) serveResponse(w http.ResponseWriter, r *http.Request, endpoint, id string) {
	a.mu.Lock()
	own := a.responses[endpoint]
	a.mu.Unlock()
	if own != nil {
		status, body := own(r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(body)
		return
	}
	switch endpoint {
	case EndpointJobs, EndpointJob, EndpointLogs, EndpointStop:
		a.serveJobs(w, r, endpoint, id)
	case EndpointHealth:
		reply(w, map[string]any{"status": "healthy"})
	case EndpointNodes:
		reply(w, a.rows(nodes()))
	case EndpointTasks:
		reply(w, a.rows(tasks()))
	case EndpointServe:
		reply(w, a.rows(a.applications()))
	case EndpointNode:
		replyItem(w, nodes(), "node_id", id)
	case EndpointTask:
		replyItem(w, tasks(), "task_id", id)
	case EndpointServeApp:
		a.serveApplication(w, r, id)
	case EndpointGPUs:
		reply(w, map[string]any{"total_gpus": 2, "available_gpus": 1, "nodes": []any{}})
	case EndpointResources:
		reply(w, resources())
	default:
		fail(w, http.StatusNotFound, "Not Found")
	}
}

func (a *Agent) serveJobs(w http.ResponseWriter, r *http.Request, endpoint, id string) {
	if endpoint == EndpointJobs {
		a.mu.Lock()
		jobs := append([]*Job(nil), a.jobs...)
		a.mu.Unlock()
		rows := []any{}
		for _, j := range jobs {
			rows = append(rows, j.object())
		}
		reply(w, a.rows(rows))
		return
	}
	j := a.Job(id)
	switch {
	case j == nil:
		fail(w, http.StatusNotFound, "Job "+id+" not found")
	case endpoint == EndpointJob:
		reply(w, j.object())
	case endpoint == EndpointLogs:
		a.serveLogs(w, j)
	case r.Method != http.MethodPost:
		fail(w, http.StatusMethodNotAllowed, "Method Not Allowed")
	default:
		j.mu.Lock()
		ended := isTerminal(j.status)
		if !ended {
			j.finish("STOPPED", 0)
		}
		j.mu.Unlock()
		if ended {
			fail(w, http.StatusBadRequest, "Job "+id+" has ended already")
			return
		}
		reply(w, map[string]any{"status": "STOPPING", "job_id": id})
	}
}

func (a *Agent) serveLogs(w http.ResponseWriter, j *Job) {
	log := string(j.Log())
	lines := []string{}
	for line := range strings.Lines(log) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	switch a.o.logFormat {
	case LogList:
		reply(w, lines)
	case LogWrapped:
		reply(w, map[string]any{"logs": lines})
	case LogText:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(log))
	default:
		reply(w, log)
	}
}

func (a *Agent) serveApplication(w http.ResponseWriter, r *http.Request, name string) {
	if r.Method != http.MethodDelete {
		replyItem(w, a.applications(), "name", name)
		return
	}
	for _, app := range a.applications() {
		if app.(map[string]any)["name"] == name {
			a.mu.Lock()
			a.deleted = append(a.deleted, name)
			a.mu.Unlock()
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	fail(w, http.StatusNotFound, "Application "+name+" not found")
}

// rows adds invalid rows if the agent has InvalidRows.
func (a *Agent) rows(good []any) []any {
	if !a.o.invalidRows {
		return good
	}
	return append([]any{nil, "row", map[string]any{"status": []int{1}}, []any{}, map[string]any{}}, good...)
}

func replyItem(w http.ResponseWriter, rows []any, key, id string) {
	for _, row := range rows {
		if row.(map[string]any)[key] == id {
			reply(w, row)
			return
		}
	}
	fail(w, http.StatusNotFound, "Not found: "+id)
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// fail responds like FastAPI; without a detail the body is empty.
func fail(w http.ResponseWriter, status int, detail string) {
	if detail == "" {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"detail": detail})
}
