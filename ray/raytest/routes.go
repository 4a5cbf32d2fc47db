package raytest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The endpoints, for Requests, Inject and SetResponse.
const (
	EndpointVersion         = "/api/version"
	EndpointAuthMode        = "/api/authentication_mode"
	EndpointHealth          = "/api/gcs_healthz"
	EndpointJobs            = "/api/jobs/"
	EndpointJob             = "/api/jobs/{id}"
	EndpointStop            = "/api/jobs/{id}/stop"
	EndpointJobLogs         = "/api/jobs/{id}/logs"
	EndpointTail            = "/api/jobs/{id}/logs/tail"
	EndpointLogFile         = "/api/v0/logs/file"
	EndpointLogStream       = "/api/v0/logs/stream"
	EndpointLogList         = "/api/v0/logs"
	EndpointNodes           = "/api/v0/nodes"
	EndpointTasks           = "/api/v0/tasks"
	EndpointActors          = "/api/v0/actors"
	EndpointActorsSummary   = "/api/v0/actors/summarize"
	EndpointPlacementGroups = "/api/v0/placement_groups"
	EndpointNodesSummary    = "/nodes"
	EndpointClusterStatus   = "/api/cluster_status"
	EndpointServe           = "/api/serve/applications/"
	EndpointNodeAgent       = "agent /logs/{file}"       // of a node agent
	EndpointAgentStat       = "agent HEAD /logs/{file}"  // of a node agent
	EndpointAgentIndex      = "agent /logs/{directory}/" // of a node agent
	EndpointOther           = "other"
)

// route returns a path's endpoint and the job id in it. Paths must match exactly, as in
// Ray: "/api/jobs" is not an endpoint.
func route(u *url.URL) (endpoint, id string) {
	path := u.EscapedPath()
	rest, isJob := strings.CutPrefix(path, "/api/jobs/")
	if !isJob || rest == "" {
		switch path {
		case EndpointVersion, EndpointAuthMode, EndpointHealth, EndpointJobs, EndpointLogFile,
			EndpointLogStream, EndpointLogList, EndpointNodes, EndpointTasks, EndpointActors, EndpointActorsSummary,
			EndpointPlacementGroups, EndpointNodesSummary, EndpointClusterStatus, EndpointServe:
			return path, ""
		}
		return EndpointOther, ""
	}
	escaped, tail, _ := strings.Cut(rest, "/")
	id, err := url.PathUnescape(escaped)
	if err != nil {
		return EndpointOther, ""
	}
	switch {
	case strings.HasSuffix(rest, "/") || tail == "" && rest != escaped:
		return EndpointOther, ""
	case tail == "":
		return EndpointJob, id
	case tail == "stop" || tail == "logs" || tail == "logs/tail":
		return "/api/jobs/{id}/" + tail, id
	}
	return EndpointOther, ""
}

func (h *Head) serveDashboard(w http.ResponseWriter, r *http.Request) {
	endpoint, id := route(r.URL)
	job := id
	if endpoint == EndpointLogFile {
		job = logFileJob(r.URL.Query())
	}
	w, ok := h.applyFault(w, r, endpoint, job)
	if !ok {
		return
	}
	w.Header().Set("Server", "Python/3.11 aiohttp/3.14.5")
	if h.minor() < 60 && r.Header.Get("User-Agent") == "" {
		text(w, http.StatusInternalServerError, "500 Internal Server Error\n\nServer got itself in trouble")
		return
	}
	if endpoint != EndpointAuthMode && endpoint != EndpointHealth && !h.authorized(w, r) {
		return
	}
	switch endpoint {
	case EndpointTail:
		h.serveTail(w, r, id)
	case EndpointVersion, EndpointJobs, EndpointJob, EndpointStop, EndpointJobLogs:
		release, ok := h.acquireSlot(r.Context())
		if !ok {
			return
		}
		defer release()
		h.serveJobs(w, r, endpoint, id)
	case EndpointLogFile:
		h.serveLogFile(w, r)
	case EndpointLogList:
		h.serveLogList(w, r)
	case EndpointAuthMode:
		h.serveAuthMode(w)
	case EndpointHealth:
		text(w, http.StatusOK, "success")
	case EndpointOther:
		text(w, http.StatusNotFound, "404: Not Found")
	default:
		h.serveResponse(w, r, endpoint)
	}
}

func (h *Head) serveAuthMode(w http.ResponseWriter) {
	switch {
	case h.minor() < 60:
		text(w, http.StatusNotFound, "404: Not Found")
	case h.o.token != "":
		reply(w, map[string]string{"authentication_mode": "token"})
	default:
		reply(w, map[string]string{"authentication_mode": "disabled"})
	}
}

// authorized responds with 401 or 403 like Ray if the token is wrong.
func (h *Head) authorized(w http.ResponseWriter, r *http.Request) bool {
	if h.o.token == "" {
		return true
	}
	got := r.Header.Get("Authorization")
	if got == "" {
		got = r.Header.Get("X-Ray-Authorization")
	}
	if got == "" {
		if c, err := r.Cookie("ray-authentication-token"); err == nil {
			got = "Bearer " + c.Value
		}
	}
	switch got {
	case "":
		text(w, http.StatusUnauthorized, "Unauthorized: Missing authentication token")
	case "Bearer " + h.o.token:
		return true
	default:
		text(w, http.StatusForbidden, "Forbidden: Invalid authentication token")
	}
	return false
}

func (h *Head) serveJobs(w http.ResponseWriter, r *http.Request, endpoint, id string) {
	switch {
	case endpoint == EndpointVersion:
		h.serveVersion(w)
		return
	case endpoint == EndpointJobs && r.Method == http.MethodPost:
		h.serveSubmit(w, r)
		return
	case endpoint == EndpointJobs:
		h.serveJobList(w)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.isDriver(id) {
		if endpoint != EndpointJob {
			text(w, http.StatusBadRequest, "Can only get logs of submission type jobs")
			return
		}
		for _, d := range h.drivers {
			if *d.JobID == id {
				reply(w, d)
			}
		}
		return
	}
	j := h.job(id)
	switch {
	case j == nil:
		text(w, http.StatusNotFound, "Job "+id+" does not exist")
	case endpoint == EndpointJobLogs:
		h.serveJobLogs(w, j)
	case endpoint == EndpointStop:
		h.serveStop(w, j)
	case r.Method == http.MethodDelete && !j.terminal():
		text(w, http.StatusInternalServerError, "RuntimeError: Attempted to delete job '"+id+"', but it is in a non-terminal state "+j.status+".")
	case r.Method == http.MethodDelete:
		h.removeJob(j.ID)
		reply(w, map[string]bool{"deleted": true})
	default:
		reply(w, j.object())
	}
}

func (h *Head) serveVersion(w http.ResponseWriter) {
	v := map[string]string{"version": "4", "ray_version": h.o.ray, "ray_commit": "b7f4259e944bf6959f721b106adc366ddfa0c356"}
	if h.minor() >= 40 {
		v["session_name"] = h.Session()
	}
	reply(w, v)
}

func (h *Head) serveJobList(w http.ResponseWriter) {
	h.mu.Lock()
	list := make([]jobObject, 0, len(h.jobs)+len(h.drivers))
	for _, j := range h.jobs {
		list = append(list, j.object())
	}
	list = append(list, h.drivers...)
	h.mu.Unlock()
	reply(w, list)
}

func (h *Head) isDriver(id string) bool {
	for _, d := range h.drivers {
		if *d.JobID == id {
			return true
		}
	}
	return false
}

// serveSubmit adds a job whose log has Ray's header lines; nothing runs in it.
func (h *Head) serveSubmit(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Entrypoint   string            `json:"entrypoint"`
		SubmissionID string            `json:"submission_id"`
		Metadata     map[string]string `json:"metadata"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Entrypoint == "" || body.SubmissionID == "" {
		text(w, http.StatusBadRequest, "Traceback (most recent call last):\nTypeError: JobSubmitRequest.__init__() missing 1 required positional argument: 'entrypoint'\n")
		return
	}
	if h.Job(body.SubmissionID) != nil {
		text(w, http.StatusInternalServerError, "ValueError: Job with submission_id "+body.SubmissionID+" already exists. Please use a different submission_id.")
		return
	}
	h.Submit(body.SubmissionID, JobOptions{Entrypoint: body.Entrypoint, Metadata: body.Metadata})
	reply(w, map[string]string{"job_id": body.SubmissionID, "submission_id": body.SubmissionID})
}

// serveStop responds immediately; the job is STOPPED four polls later (4 s in Ray).
func (h *Head) serveStop(w http.ResponseWriter, j *Job) {
	if j.terminal() {
		reply(w, map[string]bool{"stopped": false})
		return
	}
	reply(w, map[string]bool{"stopped": true})
	if j.node == nil {
		return
	}
	time.AfterFunc(4*h.o.pollInterval, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !j.terminal() {
			j.finish(time.Now(), "STOPPED", 0)
		}
	})
}

func (h *Head) serveJobLogs(w http.ResponseWriter, j *Job) {
	var all strings.Builder
	var f *file
	if j.node != nil {
		f = j.node.files[logName(j.ID)]
	}
	if f != nil {
		t := &textReader{read: f.at}
		for {
			line, err := t.readline()
			if err != nil {
				text(w, http.StatusInternalServerError, "Traceback (most recent call last):\nUnicodeDecodeError: 'utf-8' codec can't decode byte\n")
				return
			}
			if line == "" {
				break
			}
			all.WriteString(line)
		}
	}
	reply(w, map[string]string{"logs": all.String()})
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func reply(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		text(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(b)
}
