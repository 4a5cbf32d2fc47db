package raytest

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// stateLimit is the maximum of concurrent requests to /api/v0 in Ray.
const stateLimit = 100

// logFileJob returns the submission id of a request for a log file.
func logFileJob(q url.Values) string {
	if id := q.Get("submission_id"); id != "" {
		return id
	}
	return strings.TrimSuffix(strings.TrimPrefix(q.Get("filename"), "job-driver-"), ".log")
}

// acquireStateSlot counts a State API request; false: the response was 429.
func (h *Head) acquireStateSlot(w http.ResponseWriter) (leave func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stateRequests >= stateLimit {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte(`{"result": false, "msg": "Max number of in-progress requests=100 reached. To set a higher limit, set environment variable: export RAY_STATE_SERVER_MAX_HTTP_REQUEST='xxx'.", "data": {}}`))
		return nil, false
	}
	h.stateRequests++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.stateRequests--
	}, true
}

// serveLogList implements GET /api/v0/logs?node_id&glob (2.60.0): the names of a node's
// files that match, by kind.
func (h *Head) serveLogList(w http.ResponseWriter, r *http.Request) {
	leave, ok := h.acquireStateSlot(w)
	if !ok {
		return
	}
	defer leave()
	q := r.URL.Query()
	pattern := strings.ReplaceAll(q.Get("glob"), "[!", "[^") // Python's form
	if pattern == "" {
		pattern = "*"
	}
	byKind := map[string][]string{}
	h.mu.Lock()
	found := false
	for _, n := range h.nodes {
		if n.ID != q.Get("node_id") || n.agent == nil {
			continue
		}
		found = true
		for _, name := range n.matching(pattern) {
			kind := logKind(name)
			byKind[kind] = append(byKind[kind], name)
		}
	}
	h.mu.Unlock()
	if !found {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusInternalServerError)
		reply(w, map[string]any{"result": false, "msg": "Agent for node id: " + q.Get("node_id") + " doesn't exist.", "data": map[string]any{"result": nil}})
		return
	}
	reply(w, map[string]any{"result": true, "msg": "", "data": map[string]any{"result": byKind}})
}

// matching lists the files and directories of the node that match a pattern, directories
// with a slash.
func (n *Node) matching(pattern string) []string {
	names := map[string]bool{}
	add := func(name, suffix string) {
		if ok, _ := path.Match(pattern, name); ok {
			names[name+suffix] = true
		}
	}
	for _, dir := range []string{"old", "events", "export_events"} {
		add(dir, "/")
	}
	for file := range n.files {
		add(file, "")
		if dir, _, ok := strings.Cut(file, "/"); ok {
			add(dir, "/")
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// logKind returns Ray's kind of a file, as far as tests need it.
func logKind(name string) string {
	switch {
	case strings.Contains(name, "worker") && strings.HasSuffix(name, ".out"):
		return "worker_out"
	case strings.Contains(name, "worker") && strings.HasSuffix(name, ".err"):
		return "worker_err"
	case strings.Contains(name, "raylet."):
		return "raylet"
	}
	return "internal"
}

// serveLogFile implements GET /api/v0/logs/file of each known version.
func (h *Head) serveLogFile(w http.ResponseWriter, r *http.Request) {
	leave, ok := h.acquireStateSlot(w)
	if !ok {
		return
	}
	defer leave()
	q := r.URL.Query()
	lines, bad := 1000, false
	for key, into := range map[string]*int{"lines": &lines, "timeout": new(int)} {
		if s := q.Get(key); s != "" {
			n, err := strconv.Atoi(s)
			bad = bad || err != nil
			*into = n
		}
	}
	if lines == 0 {
		lines = 1000
	}
	if bad || (q.Get("node_id") == "") == (q.Get("node_ip") == "") || logFileJob(q) == "" {
		text(w, http.StatusInternalServerError, "500 Internal Server Error\n\nServer got itself in trouble")
		return
	}
	data, problem := h.logFile(q)
	if problem != "" {
		h.logFileProblem(w, q, problem)
		return
	}
	switch {
	case lines > 0:
		data = data[tailOffset(data, lines):]
	case lines < -1:
		data = nil // measured on 2.60.0 with -7
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Disposition", `attachment; filename="file.txt"`)
	w.WriteHeader(http.StatusOK)
	h.writeChunks(w, q, data)
}

// writeChunks writes blocks of 64 KiB, each as an HTTP chunk; older versions put an
// additional byte before each.
func (h *Head) writeChunks(w http.ResponseWriter, q url.Values, data []byte) {
	prefix := h.minor() < 40 || (h.minor() < 60 && q.Get("format") != "text")
	flush := http.NewResponseController(w)
	_ = flush.Flush()
	for len(data) > 0 {
		n := min(len(data), 1<<16)
		block := data[:n]
		if prefix {
			block = append([]byte{'1'}, block...)
		}
		if _, err := w.Write(block); err != nil {
			return
		}
		_ = flush.Flush()
		data = data[n:]
	}
}

func (h *Head) logFileProblem(w http.ResponseWriter, q url.Values, problem string) {
	switch {
	case h.minor() < 40 || (h.minor() < 60 && q.Get("format") != "text"):
		_, _ = w.Write([]byte("0Closing HTTP stream due to internal server error.\n" + problem))
	case h.minor() < 60:
		_, _ = w.Write([]byte("[get_logs] Fetch log error: " + problem))
	default:
		text(w, http.StatusInternalServerError, problem)
	}
}

// logFile returns the requested bytes, or Ray's message why there are none.
func (h *Head) logFile(q url.Values) (data []byte, problem string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id, name := q.Get("node_id"), q.Get("filename")
	if sub := q.Get("submission_id"); sub != "" {
		j := h.job(sub)
		switch {
		case j == nil:
			return nil, fmt.Sprintf("Could not find a log file. Please make sure the given option exists in the cluster.\n\tnode_id: None\n\tfilename: None\n\tactor_id: None\n\ttask_id: None\n\tpid: None\n\tsuffix: out\n\tsubmission_id: %s\n\tattempt_number: 0\n", sub)
		case j.node == nil:
			return nil, "Job " + sub + " has no driver node id info. This is likely a bug. Please file an issue."
		}
		id, name = j.node.ID, logName(sub) // the node in the request is ignored
	}
	for _, n := range h.nodes {
		if n.agent == nil || (n.ID != id && n.IP != q.Get("node_ip")) {
			continue
		}
		f := n.files[name]
		if f == nil {
			return nil, "A file is not found at: /tmp/ray/" + h.session + "/logs/" + name
		}
		return f.data, ""
	}
	return nil, "Agent for node id: " + id + " doesn't exist."
}
