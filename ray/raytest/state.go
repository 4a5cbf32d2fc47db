package raytest

import (
	"embed"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

//go:embed testdata/nodes_list_detail.json testdata/nodes_view_summary.json testdata/cluster_status.json testdata/serve_applications_none.json testdata/actors_summarize.json
var recordings embed.FS

// serveResponse sends the test's response for an endpoint, or the default one.
func (h *Head) serveResponse(w http.ResponseWriter, r *http.Request, endpoint string) {
	switch endpoint {
	case EndpointNodes, EndpointTasks, EndpointActors, EndpointActorsSummary, EndpointPlacementGroups, EndpointLogStream:
		leave, ok := h.acquireStateSlot(w)
		if !ok {
			return
		}
		defer leave()
	}
	h.mu.Lock()
	own := h.responses[endpoint]
	h.mu.Unlock()
	if own != nil {
		status, body := own(r)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write(body)
		return
	}
	switch endpoint {
	case EndpointNodes:
		reply(w, listEnvelope(h.nodeRows()))
	case EndpointTasks, EndpointActors, EndpointPlacementGroups:
		reply(w, listEnvelope(nil))
	case EndpointActorsSummary:
		replyRecorded(w, "actors_summarize")
	case EndpointNodesSummary:
		h.serveSummary(w, r)
	case EndpointClusterStatus:
		replyRecorded(w, "cluster_status")
	case EndpointServe:
		h.serveApplications(w, r)
	default:
		// /api/v0/logs/stream leaks a slot in Ray: clients must not use it.
		text(w, http.StatusInternalServerError, "500 Internal Server Error\n\nServer got itself in trouble")
	}
}

func replyRecorded(w http.ResponseWriter, name string) {
	b, err := recordings.ReadFile("testdata/" + name + ".json")
	if err != nil {
		text(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(b)
}

// listEnvelope returns the State API's response for a list that is not truncated.
func listEnvelope(rows []any) any {
	if rows == nil {
		rows = []any{}
	}
	return map[string]any{"result": true, "msg": "", "data": map[string]any{"result": map[string]any{
		"total": len(rows), "num_after_truncation": len(rows), "num_filtered": len(rows),
		"result": rows, "partial_failure_warning": "", "warnings": nil,
	}}}
}

// template decodes a recorded response.
func template(name string) map[string]any {
	var v map[string]any
	if b, err := recordings.ReadFile("testdata/" + name + ".json"); err == nil {
		_ = json.Unmarshal(b, &v)
	}
	return v
}

// lookup returns the value at a path of nested maps.
func lookup(v any, path ...string) any {
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// firstRow returns a list's first object, or an empty one.
func firstRow(v any) map[string]any {
	if l, ok := v.([]any); ok && len(l) > 0 {
		if m, ok := l[0].(map[string]any); ok {
			return m
		}
	}
	return map[string]any{}
}

const deathMessage = "Unexpected termination: health check failed due to missing too many heartbeats"

// nodeRows returns the rows of /api/v0/nodes with detail.
func (h *Head) nodeRows() []any {
	var rows []any
	for _, n := range h.Nodes() {
		row := firstRow(lookup(template("nodes_list_detail"), "data", "result", "result"))
		h.mu.Lock()
		row["node_id"], row["node_ip"], row["node_name"], row["is_head_node"] = n.ID, n.IP, n.IP, n.isHead
		row["labels"] = map[string]any{"ray.io/node-id": n.ID}
		row["start_time_ms"], row["end_time_ms"] = n.start.UnixMilli(), 0
		total := map[string]any{"CPU": 4.0, "memory": 16647568180.0, "object_store_memory": 7134672076.0, "node:" + n.IP: 1.0}
		if n.isHead {
			total["node:__internal_head__"] = 1.0
		}
		row["resources_total"] = total
		if !n.dead.IsZero() {
			row["state"], row["state_message"], row["end_time_ms"] = "DEAD", deathMessage, n.dead.UnixMilli()
		}
		h.mu.Unlock()
		rows = append(rows, row)
	}
	return rows
}

func (h *Head) serveSummary(w http.ResponseWriter, r *http.Request) {
	if view := r.URL.Query().Get("view"); view != "summary" {
		if view == "" {
			view = "None"
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusInternalServerError)
		reply(w, map[string]any{"result": false, "msg": "Unknown view " + view, "data": map[string]any{}})
		return
	}
	response := template("nodes_view_summary")
	data, _ := lookup(response, "data").(map[string]any)
	var rows []any
	logical := map[string]any{}
	for _, n := range h.Nodes() {
		row := firstRow(lookup(template("nodes_view_summary"), "data", "summary"))
		h.summarize(row, n)
		rows = append(rows, row)
		logical[n.ID] = "0.0/4.0 CPU\n0B/15.50GiB memory\n0B/6.64GiB object_store_memory"
	}
	data["summary"], data["nodeLogicalResources"] = rows, logical
	reply(w, response)
}

// summarize sets the values of a node; a dead node keeps its last stats.
func (h *Head) summarize(row map[string]any, n *Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	raylet, _ := row["raylet"].(map[string]any)
	row["ip"], row["now"] = n.IP, float64(time.Now().UnixMilli())/1000
	raylet["nodeId"], raylet["isHeadNode"], raylet["nodeName"] = n.ID, n.isHead, n.IP
	raylet["nodeManagerAddress"] = n.IP
	raylet["labels"] = map[string]any{"ray.io/node-id": n.ID}
	raylet["rayletSocketName"] = "/tmp/ray/" + h.session + "/sockets/raylet"
	raylet["sessionDir"] = "/tmp/ray/" + h.session
	raylet["startTimeMs"] = strconv.FormatInt(n.start.UnixMilli(), 10)
	raylet["state"] = "ALIVE"
	workers := n.workerStats(firstRow(raylet["coreWorkersStats"]))
	delete(raylet, "coreWorkersStats")
	if workers != nil {
		raylet["coreWorkersStats"] = workers
	}
	if u, err := url.Parse(n.agentURL); err == nil {
		raylet["dashboardAgentListenPort"], _ = strconv.Atoi(u.Port())
	}
	if !n.dead.IsZero() {
		row["now"] = float64(n.dead.UnixMilli()) / 1000
		raylet["state"], raylet["stateMessage"] = "DEAD", deathMessage
		raylet["endTimeMs"] = strconv.FormatInt(n.dead.UnixMilli(), 10)
		raylet["deathInfo"] = map[string]any{"reason": "UNEXPECTED_TERMINATION", "reasonMessage": "health check failed due to missing too many heartbeats"}
		raylet["nodeManagerAddress"], raylet["rayletSocketName"], raylet["sessionDir"] = "", "", ""
		raylet["isHeadNode"], raylet["labels"], raylet["resourcesTotal"] = false, map[string]any{}, map[string]any{}
	}
}
