package dashboard

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"

	"raytap/ray"
	"raytap/ray/raytest"
)

// A plan lists exactly what a deployment adds, changes and removes, and contains no
// values of the configuration.
func TestPlanServe(t *testing.T) {
	const now = `{"controller_info":{"node_id":"n"},"proxy_location":"HeadOnly","http_options":{"host":"127.0.0.1","port":8000},"target_capacity":50.0,"applications":{
		"same":{"source":"declarative","status":"RUNNING","deployed_app_config":{"name":"same","import_path":"m:a","args":{"x":1.0}}},
		"other":{"source":"declarative","status":"UNHEALTHY","deployed_app_config":{"name":"other","import_path":"m:a","runtime_env":{"env_vars":{"K":"secret"}}}},
		"hidden":{"source":"declarative","status":"RUNNING","deployed_app_config":{"name":"hidden","import_path":"m:a","runtime_env":{"env_vars":{"K":"<redacted>"}}}},
		"left":{"source":"declarative","status":"RUNNING","deployed_app_config":{"name":"left","import_path":"m:a"}},
		"going":{"source":"declarative","status":"DELETING","deployed_app_config":{"name":"going","import_path":"m:a"}},
		"code":{"source":"imperative","status":"RUNNING","deployed_app_config":null},
		"old-code":{"status":"RUNNING","deployed_app_config":null},
		"taken":{"source":"imperative","status":"RUNNING","deployed_app_config":null}}}`
	c := serveClient(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Errorf("the plan sent a %s request", r.Method)
		}
		_, _ = io.WriteString(w, now)
	})
	plan, err := c.PlanServe(t.Context(), []byte(`{"proxy_location":"HeadOnly","http_options":{"port":9000},"applications":[
		{"name":"same","import_path":"m:a","args":{"x":1}},
		{"name":"other","import_path":"m:b","runtime_env":{"env_vars":{"K":"new"}}},
		{"name":"hidden","import_path":"m:a","runtime_env":{"env_vars":{"K":"v"}}},
		{"import_path":"m:new"}, {"name":"going","import_path":"m:a"}, {"name":"taken","import_path":"m:a"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range plan.Changes {
		got = append(got, fmt.Sprintf("%s %s %v %t", p.Action, p.Name, p.Fields, p.Hidden))
	}
	want := []string{
		"remove left [] false", "take_over taken [] false", "change hidden [] true", "change other [import_path runtime_env] false",
		"add default [] false", "add going [] false", "unchanged same [] false", "keep code [] false", "keep old-code [] false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	notes := []string{"the target capacity is 50.0 and will be none", "Serve is already running: http_options.port stays 8000"}
	if !slices.Equal(plan.Notes, notes) {
		t.Errorf("notes %q", plan.Notes)
	}
}

// An invalid configuration is not sent, and a rejection by Ray returns Ray's message.
func TestDeployServe_InvalidConfig(t *testing.T) {
	head := raytest.New(t)
	c := headClient(t, head.URL())
	for _, config := range []string{"", "[]", "null", "{}", `{"applications":null}`, `{"applications":{}}`, `{"applications":["x"]}`,
		`{"applications":[null]}`, `{"applications":[{"name":1}]}`, `{"applications":[{"name":"a"},{"name":"a"}]}`, `{"import_path":"m:a"}`} {
		if err := c.DeployServe(t.Context(), []byte(config)); ray.Code(err) != http.StatusBadRequest {
			t.Errorf("%s: %v", config, err)
		}
		if _, err := c.PlanServe(t.Context(), []byte(config)); ray.Code(err) != http.StatusBadRequest {
			t.Errorf("plan of %s: %v", config, err)
		}
	}
	if n := head.Requests(raytest.EndpointServe); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	err := c.DeployServe(t.Context(), []byte(`{"applications":[{"name":"a"}]}`))
	const want = "deploy serve applications: 400 Ray refused the configuration: 1 validation error for ServeDeploySchema; applications.0.import_path: Field required [type=missing]"
	if ray.Code(err) != http.StatusBadRequest || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
