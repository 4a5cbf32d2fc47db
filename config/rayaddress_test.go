package config

import (
	"strings"
	"testing"
)

// RAY_ADDRESS is never ignored: its dashboard is used, with a note if the address is
// derived, or it is an error.
func TestRayDashboard(t *testing.T) {
	for address, tt := range map[string]struct {
		url  URL
		note string // a part of it; "" is none
		fail string // a part of it
	}{
		"":                         {"http://127.0.0.1:8265", "", ""},
		"http://b:1/x/":            {"http://b:1/x", "", ""},
		"HTTPS://b:1":              {"HTTPS://b:1", "", ""},
		"auto":                     {"http://127.0.0.1:8265", "RAY_ADDRESS is auto: using http://127.0.0.1:8265", ""},
		"local":                    {"http://127.0.0.1:8265", "RAY_ADDRESS is local: using http://127.0.0.1:8265", ""},
		"ray-head:6379":            {"http://ray-head:8265", "is the address of a GCS: using http://ray-head:8265", ""},
		"[fd00::1]:6379":           {"http://[fd00::1]:8265", "using http://[fd00::1]:8265", ""},
		"localhost:8265":           {"http://localhost:8265", "RAY_ADDRESS has no http:// prefix: using http://localhost:8265", ""},
		"ray-head:6380":            {"", "", `RAY_ADDRESS: "ray-head:6380": is the address of a GCS at a non-default port`},
		"ray://b:10001":            {"", "", `RAY_ADDRESS: "ray://b:10001": is the address of a Ray client server`},
		"anyscale://cluster":       {"", "", "is not an address that raytap supports; set RAY_API_SERVER_ADDRESS"},
		"ray-head":                 {"", "", "is not an address that raytap supports"},
		":6379":                    {"", "", "is not an address that raytap supports"},
		"x y:6379":                 {"", "", "is not an address that raytap supports"},
		"http://user:hunter2@b:1":  {"", "", "must not contain a user or password"},
		"ray://user:hunter2@b:100": {"", "", "is the address of a Ray client server"},
	} {
		c, err := FromEnvironment(environment("RAY_ADDRESS", address))
		switch {
		case tt.fail != "":
			if err == nil || !strings.Contains(err.Error(), tt.fail) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q: %v, want %q", address, err, tt.fail)
			}
		case err != nil:
			t.Errorf("%q: %v", address, err)
		case c.Clusters[0].URL != tt.url || (c.Note() == "") != (tt.note == "") || !strings.Contains(c.Note(), tt.note):
			t.Errorf("%q: %s, %q; want %s, %q", address, c.Clusters[0].URL, c.Note(), tt.url, tt.note)
		}
	}
	c, err := FromEnvironment(environment("RAY_API_SERVER_ADDRESS", "http://a:1", "RAY_ADDRESS", "ray://b:10001"))
	if err != nil || c.Clusters[0].URL != "http://a:1" || c.Note() != "" {
		t.Errorf("with the API server's address: %v, %q, %v", c.Clusters, c.Note(), err)
	}
}

func TestFromEnvironment_Headers(t *testing.T) {
	for text, tt := range map[string]struct {
		headers map[string]Secret
		fail    string
	}{
		``:                          {nil, ""},
		`{}`:                        {nil, ""},
		`{"X-A": "b", "c": ""}`:     {map[string]Secret{"X-A": "b", "c": ""}, ""},
		`{"X-A": hunter2}`:          {nil, "RAY_JOB_HEADERS: must be a JSON object of strings"},
		`{"X-A": 1}`:                {nil, "RAY_JOB_HEADERS: must be"},
		`{"X-A": null}`:             {nil, "RAY_JOB_HEADERS: must be"},
		`["hunter2"]`:               {nil, "RAY_JOB_HEADERS: must be"},
		`X-A: hunter2`:              {nil, "RAY_JOB_HEADERS: must be"},
		`{"X-A": "hunter2\n"}`:      {nil, "RAY_JOB_HEADERS.X-A: has line breaks"},
		`{"Origin": "hunter2"}`:     {nil, "RAY_JOB_HEADERS.Origin: cannot be set"},
		`{"a": "hunter2", "A": ""}`: {nil, "are the same header"},
	} {
		c, err := FromEnvironment(environment("RAY_JOB_HEADERS", text))
		if tt.fail != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fail) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v, want %q", text, err, tt.fail)
			}
			continue
		}
		if err != nil || len(c.Clusters[0].Headers) != len(tt.headers) || !c.Clusters[0].Auth.Environment {
			t.Errorf("%s: %v, %v", text, c.Clusters, err)
			continue
		}
		for name, value := range tt.headers {
			if c.Clusters[0].Headers[name] != value {
				t.Errorf("%s: the header %s differs", text, name)
			}
		}
		if strings.Contains(c.Redacted(), ": b\n") {
			t.Error("a header is in the redacted configuration")
		}
	}
	// As with Ray's own tools, it replaces the token.
	c, err := FromEnvironment(environment("RAY_JOB_HEADERS", `{"authorization": "Bearer x"}`, "RAY_AUTH_TOKEN", "y"))
	if err != nil || c.Clusters[0].Auth.Environment || c.Clusters[0].Headers["authorization"] != "Bearer x" {
		t.Errorf("an Authorization header: %v", err)
	}
}
