package connect

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"raytap/config"
)

func TestTarget_Resolve(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := file("token", "secret")
	one := file("one.yaml", "clusters: [{name: only, url: 'http://one:8265', auth: {token_file: token}}]\n")
	two := file("two.yaml", "clusters: [{name: a, url: 'http://a:8265'}, {name: b, url: 'http://b:8000', api: synapse}]\n")
	var many strings.Builder
	many.WriteString("clusters:\n")
	for i := range 12 {
		many.WriteString("  - {name: c" + string(rune('a'+i)) + ", url: 'http://c:8265'}\n")
	}
	dozen := file("many.yaml", many.String())
	for name, tt := range map[string]struct {
		target Target
		env    map[string]string
		url    string
		api    string
		auth   config.Auth
		err    string // substring
	}{
		"defaults":                         {url: "http://127.0.0.1:8265", api: "ray", auth: config.Auth{Environment: true}},
		"the environment":                  {env: map[string]string{"RAY_API_SERVER_ADDRESS": "http://env:1"}, url: "http://env:1", api: "ray", auth: config.Auth{Environment: true}},
		"an address":                       {target: Target{URL: "http://u:1/p/"}, env: map[string]string{"RAY_API_SERVER_ADDRESS": "http://env:1"}, url: "http://u:1/p", api: "ray", auth: config.Auth{Environment: true}},
		"an address and a token":           {target: Target{URL: "http://u:1", TokenFile: token}, url: "http://u:1", api: "ray", auth: config.Auth{TokenFile: config.Path(token)}},
		"a token for the default address":  {target: Target{TokenFile: token}, url: "http://127.0.0.1:8265", api: "ray", auth: config.Auth{TokenFile: config.Path(token)}},
		"an agent gets no token of Ray":    {target: Target{URL: "http://u:1", API: config.APISynapse}, env: map[string]string{"RAY_AUTH_TOKEN": "ray's"}, url: "http://u:1", api: config.APISynapse},
		"an agent and its token":           {target: Target{URL: "http://u:1", API: config.APISynapse, TokenFile: token}, url: "http://u:1", api: config.APISynapse, auth: config.Auth{TokenFile: config.Path(token)}},
		"the only cluster of a file":       {target: Target{ConfigFile: one}, url: "http://one:8265", api: "ray", auth: config.Auth{TokenFile: config.Path(token)}},
		"a cluster by its name":            {target: Target{ConfigFile: two, Cluster: "b"}, url: "http://b:8000", api: config.APISynapse},
		"the only cluster by another name": {target: Target{ConfigFile: one, Cluster: "b"}, err: `has no cluster "b": set --cluster to one of only`},
		"no name, two clusters":            {target: Target{ConfigFile: two}, err: "has 2 clusters: set --cluster to one of a, b"},
		"no name, many clusters":           {target: Target{ConfigFile: dozen}, err: "cj, …"},
		"a name without a file":            {target: Target{Cluster: "b"}, err: "--cluster requires --config.file"},
		"a file and an address":            {target: Target{ConfigFile: one, URL: "http://u:1"}, err: "cannot be combined with --config.file"},
		"a file and a token":               {target: Target{ConfigFile: one, TokenFile: token}, err: "cannot be combined with --config.file"},
		"an invalid address":               {target: Target{URL: "u:1"}, err: "--url: "},
		"an invalid environment":           {env: map[string]string{"RAY_API_SERVER_ADDRESS": "u:1"}, err: "RAY_API_SERVER_ADDRESS: "},
		"no such token file":               {target: Target{TokenFile: filepath.Join(dir, "none")}, err: "--token-file: "},
		"no such file":                     {target: Target{ConfigFile: filepath.Join(dir, "none.yaml")}, err: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tt.target.Resolve(t.Context(), func(key string) (string, bool) { v, ok := tt.env[key]; return v, ok })
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q in it", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(c.URL) != tt.url || c.API != tt.api || c.Auth != tt.auth {
				t.Errorf("got %s, %s, %#v; want %s, %s, %#v", c.URL, c.API, c.Auth, tt.url, tt.api, tt.auth)
			}
		})
	}
}

// Headers of the environment are sent to Ray only, and a token file replaces an
// Authorization header among them.
func TestTarget_EnvironmentHeaders(t *testing.T) {
	env := func(key string) (string, bool) {
		return `{"Authorization": "Basic x", "X-Tenant": "a"}`, key == "RAY_JOB_HEADERS"
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		target  Target
		headers []string
	}{
		"of Ray":       {Target{URL: "http://u:1"}, []string{"Authorization", "X-Tenant"}},
		"with a token": {Target{URL: "http://u:1", TokenFile: token}, []string{"X-Tenant"}},
		"of an agent":  {Target{URL: "http://u:1", API: config.APISynapse}, nil},
	} {
		c, err := tt.target.Resolve(t.Context(), env)
		if got := slices.Sorted(maps.Keys(c.Headers)); err != nil || !slices.Equal(got, tt.headers) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tt.headers)
			continue
		}
		if c.API == "ray" {
			d, err := Dashboard(c.Cluster, Options{})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			d.Close()
		}
	}
}

func TestTarget_Client(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	c, err := Target{URL: "http://u:1"}.Resolve(t.Context(), none)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Dashboard(c.Cluster, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if c, err = (Target{URL: "http://u:1/agents/a1", API: config.APISynapse}).Resolve(t.Context(), none); err != nil {
		t.Fatal(err)
	}
	a, err := Synapse(c.Cluster, Options{Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
}
