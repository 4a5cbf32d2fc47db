package dashboard

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"raytap/ray"
)

func TestDeleteServeApplication(t *testing.T) {
	const (
		a    = `"a":{"source":"declarative","status":"RUNNING","deployed_app_config":{"name":"a","import_path":"m:a","args":{"x":1.50}}}`
		b    = `"b":{"source":"declarative","status":"UNHEALTHY","deployed_app_config":{"name":"b","import_path":"m:b","runtime_env":{"env_vars":{"K":"v"}}}}`
		gone = `"gone":{"source":"declarative","status":"DELETING","deployed_app_config":{"name":"gone"}}`
		code = `"c":{"source":"imperative","status":"RUNNING","deployed_app_config":null}`
		old  = `"d":{"status":"RUNNING","deployed_app_config":{"name":"d"}}`
		hid  = `"e":{"source":"declarative","status":"RUNNING","deployed_app_config":{"name":"e","runtime_env":{"env_vars":{"K":"<redacted>"}}}}`
		none = `"f":{"source":"declarative","status":"RUNNING","deployed_app_config":null}`
	)
	for _, row := range []struct {
		name, apps, capacity, drop string
		code                       int
		put                        string
	}{
		{"the others are set again, byte for byte", a + "," + b, "null", "a", 0,
			`{"applications":[{"name":"b","import_path":"m:b","runtime_env":{"env_vars":{"K":"v"}}}]}`},
		{"the target capacity stays", a + "," + b, "50", "b", 0, `{"applications":[{"name":"a","import_path":"m:a","args":{"x":1.50}}],"target_capacity":50}`},
		{"one that is being deleted is not set again", a + "," + b + "," + gone, "null", "b", 0, `{"applications":[{"name":"a","import_path":"m:a","args":{"x":1.50}}]}`},
		{"the last one", a, "null", "a", 0, `{"applications":[]}`},
		{"an unknown one", a, "null", "x", 404, ""},
		{"one that was deployed by code", a + "," + code, "null", "c", 400, ""},
		{"another was deployed by code", a + "," + code, "null", "a", 400, ""},
		{"a version without a source", a + "," + old, "null", "a", 400, ""},
		{"a hidden configuration", a + "," + hid, "null", "a", 400, ""},
		{"a configuration that is not returned", a + "," + none, "null", "a", 400, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			put := ""
			c := serveClient(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = io.WriteString(w, `{"target_capacity":`+row.capacity+`,"applications":{`+row.apps+`}}`)
					return
				}
				b, _ := io.ReadAll(r.Body)
				put += r.Method + " " + r.URL.Path + " " + string(b)
			})
			err := c.DeleteServeApplication(t.Context(), row.drop)
			want := ""
			if row.put != "" {
				want = "PUT " + endpointServe + " " + row.put
			}
			if ray.Code(err) != row.code || put != want {
				t.Errorf("%v, sent %s", err, put)
			}
			if err != nil && strings.Contains(err.Error(), "env_vars") {
				t.Errorf("the error contains a configuration: %v", err)
			}
		})
	}
}
