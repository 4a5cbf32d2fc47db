package raytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"raytap/ray"
)

func get(t *testing.T, url string) (int, string, []byte) {
	t.Helper()
	return send(t, http.MethodGet, url, "")
}

func send(t *testing.T, method, url, body string, headers ...string) (int, string, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header.Get("Content-Type"), b
}

// shape returns the keys and types of a value. A list has those of its first element;
// keys that name a node, a resource or a mount are omitted.
func shape(v any, at string) []string {
	var s []string
	switch v := v.(type) {
	case map[string]any:
		for k, w := range v {
			if slices.Contains([]string{"resources_total", "resourcesTotal", "labels", "disk", "nodeLogicalResources", "storeStats", "metadata", "runtime_env"}, k) {
				continue
			}
			s = append(s, shape(w, at+"."+k)...)
		}
	case []any:
		if len(v) > 0 {
			s = shape(v[0], at+"[]")
		}
	}
	s = append(s, fmt.Sprintf("%s %T", at, v))
	slices.Sort(s)
	return s
}

func sameShape(t *testing.T, name string, got []byte) {
	t.Helper()
	want, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var w, g any
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v in %q", err, got)
	}
	recorded, here := shape(w, ""), shape(g, "")
	if !slices.Equal(recorded, here) {
		for _, s := range recorded {
			if !slices.Contains(here, s) {
				t.Errorf("%s: recorded, but missing here: %s", name, s)
			}
		}
		for _, s := range here {
			if !slices.Contains(recorded, s) {
				t.Errorf("%s: present here, but not recorded: %s", name, s)
			}
		}
	}
}

func TestRecordings_ResponseShapes(t *testing.T) {
	h := New(t)
	named := map[string]string{"job_name": "train"}
	h.Submit("run", JobOptions{Metadata: named})
	h.Submit("pending", JobOptions{Pending: true})
	h.Submit("good", JobOptions{}).End("SUCCEEDED", 0)
	h.Submit("bad", JobOptions{}).End("FAILED", 3)
	h.Submit("stopped", JobOptions{}).End("STOPPED", 0)
	h.AddDriverJob("03000000", "python3 d.py", time.Now(), time.Time{})
	h.AddDriverJob("04000000", "python3 d.py", time.Now(), time.Now())
	h.Nodes()[0].SetWorkers(ray.Worker{ID: strings.Repeat("a", 56), PID: 100, Type: "WORKER"})
	for path, recording := range map[string]string{
		"/api/version": "version", "/api/jobs/run": "job_get_running", "/api/jobs/pending": "job_get_pending",
		"/api/jobs/good": "job_get_succeeded", "/api/jobs/bad": "job_get_failed", "/api/jobs/stopped": "job_get_stopped",
		"/api/jobs/03000000": "job_get_driver_running", "/api/jobs/04000000": "job_get_driver_finished",
		"/api/jobs/bad/logs": "job_logs", "/api/v0/nodes?detail=1": "nodes_list_detail", "/nodes?view=summary": "nodes_view_summary",
		"/api/cluster_status": "cluster_status", "/api/serve/applications/": "serve_applications_none",
	} {
		status, kind, body := get(t, h.URL()+path)
		if status != 200 || kind != "application/json; charset=utf-8" {
			t.Errorf("%s: %d %s", path, status, kind)
		}
		sameShape(t, recording, body)
	}
	_, _, list := get(t, h.URL()+"/api/jobs/")
	var jobs []struct {
		Type string `json:"type"`
		ID   string `json:"submission_id"`
	}
	if err := json.Unmarshal(list, &jobs); err != nil || len(jobs) != 7 || jobs[4].ID != "stopped" || jobs[6].Type != "DRIVER" {
		t.Errorf("job list: %v %+v", err, jobs)
	}
	if h.Nodes()[0].Kill(); true {
		_, _, body := get(t, h.URL()+"/nodes?view=summary")
		var v map[string]any
		_ = json.Unmarshal(body, &v)
		raylet, _ := lookup(firstRow(lookup(v, "data", "summary")), "raylet").(map[string]any)
		if raylet["state"] != "DEAD" || raylet["deathInfo"] == nil {
			t.Errorf("a dead node: %v", raylet)
		}
	}
}

// TestRecordings_Errors sends the recorded requests and compares status, content type
// and the main part of the body.
func TestRecordings_Errors(t *testing.T) {
	type recording struct {
		Request string            `json:"request"`
		Status  int               `json:"status"`
		Type    string            `json:"content_type"`
		Body    string            `json:"body"`
		Headers map[string]string `json:"request_headers"`
		Sent    string            `json:"request_body"`
	}
	for name, option := range map[string]Option{"errors": PollInterval(time.Millisecond), "auth": Token("<TOKEN>")} {
		b, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var all []recording
		if err := json.Unmarshal(b, &all); err != nil {
			t.Fatal(err)
		}
		h := New(t, option)
		if name == "errors" {
			h.Submit("fail-1", JobOptions{}).End("FAILED", 3)
			h.Submit("run-1", JobOptions{})
		}
		for _, r := range all {
			method, path, _ := strings.Cut(r.Request, " ")
			isSubmit := method == "POST" && path == "/api/jobs/"
			if (isSubmit && r.Status != 500) || strings.HasPrefix(path, "/nodes/") || path == "/api/authenticate" || r.Sent == `{"entrypoint":` {
				continue // the fake does not validate submissions
			}
			var headers []string
			for k, v := range r.Headers {
				headers = append(headers, k+": "+v)
			}
			status, kind, body := send(t, method, h.URL()+path, r.Sent, headers...)
			if status != r.Status || (kind != r.Type && path != "/api/gcs_healthz") {
				t.Errorf("%s %v: recorded %d %s, got %d %s", r.Request, r.Headers, r.Status, r.Type, status, kind)
			}
			if gist := lastLine(r.Body); !strings.HasPrefix(r.Body, "{") && !strings.Contains(string(body), gist) {
				t.Errorf("%s: recorded %q, got %q", r.Request, gist, body)
			}
		}
	}
}

// lastLine returns the last line of a traceback.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimRight(s, ".\n"), "\n")
	return lines[len(lines)-1]
}
