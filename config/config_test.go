package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// environment is a fixed environment for ${VAR}.
func environment(pairs ...string) Env {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

const oneCluster = "clusters: [{url: 'http://ray:8265'}]\n"

func load(t *testing.T, text string, env Env) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "raytap.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, env)
	if p, ok := err.(*Problems); ok {
		p.File = "" // a temporary name says nothing
		for i, q := range p.List {
			p.List[i].Message = fmt.Sprintf("line %d: %s", q.Line, q.Message)
		}
	}
	return c, err
}

func TestLoad(t *testing.T) {
	c, err := load(t, `
clusters:
  - name: prod
    url: ${URL}/prefix
    auth: {token_file: secrets/token}
    tls: {ca_file: /etc/ca.pem}
    headers: {X-Scope: "a$${b}${EMPTY}"}
    timeout: 1m
    node_agents: {mode: on, allow: [10.0.0.0/8, fd00::1]}
  - &base {name: b, url: 'http://b:8265', timeout: 2s}
  - {<<: *base, name: c}
collector:
shipper:
  limits: {max_bytes: 100MB, interval: 1h30m, on_exceeded: pause}
  discovery: {interval: 7s}
  metadata: [a, "1"]
`, environment("URL", "https://ray:8265", "EMPTY", ""))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	var p, b, cc Cluster
	p.setDefaults()
	b.setDefaults()
	p.Name, p.URL, p.TLS.CAFile = "prod", "https://ray:8265/prefix", "/etc/ca.pem"
	p.Headers, p.Timeout, p.NodeAgents.Mode = map[string]Secret{"X-Scope": "a${b}"}, Duration(time.Minute), "on"
	p.Auth.TokenFile = c.Clusters[0].Auth.TokenFile
	p.NodeAgents.Allow = make([]CIDR, 2)
	for i, s := range []string{"10.0.0.0/8", "fd00::1/128"} {
		if err := p.NodeAgents.Allow[i].UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	b.Name, b.URL, b.Timeout = "b", "http://b:8265", Duration(2*time.Second)
	cc = b
	cc.Name = "c"
	want.Clusters = []Cluster{p, b, cc}
	want.Shipper.Limits.MaxBytes, want.Shipper.Limits.Interval = 100e6, Duration(90*time.Minute)
	want.Shipper.Limits.OnExceeded, want.Shipper.Discovery.Interval = "pause", Duration(7*time.Second)
	want.Shipper.Metadata = []string{"a", "1"}
	want.hash, want.stateDir = c.hash, c.stateDir
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%s\nwant\n%s", c.Redacted(), want.Redacted())
	}
	if f := string(p.Auth.TokenFile); !filepath.IsAbs(f) || !strings.HasSuffix(f, "/secrets/token") {
		t.Errorf("token_file %q is not relative to the file's directory", f)
	}
	if len(c.Hash()) != 64 {
		t.Errorf("hash %q", c.Hash())
	}
}

func TestSecret_NeverPrints(t *testing.T) {
	const secret = "hunter2"
	c := Default()
	c.Clusters = []Cluster{{
		Auth:     Auth{Token: secret},
		Headers:  map[string]Secret{"X-Key": secret},
		ProxyURL: "http://user:" + secret + "@proxy:1",
		URL:      "http://" + secret + "@ray",
	}}
	js, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	ym, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{string(js), string(ym), c.Redacted(), fmt.Sprint(c.Clusters[0].Auth.Token)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all = append(all, fmt.Sprintf(verb, c), fmt.Sprintf(verb, c.Clusters), fmt.Sprintf(verb, c.Clusters[0].Auth.Token), fmt.Sprintf(verb, c.Clusters[0].URL))
	}
	for _, s := range all {
		if strings.Contains(s, secret) || strings.Contains(s, fmt.Sprintf("%x", secret)) {
			t.Errorf("the secret is in %s", s)
		}
	}
	if !strings.Contains(c.Redacted(), "token: <secret>") {
		t.Errorf("a token that is set does not show as set:\n%s", c.Redacted())
	}
}

func TestFromEnvironment(t *testing.T) {
	for name, tt := range map[string]struct {
		env  Env
		url  URL
		fail string
	}{
		"nothing set":                     {environment(), "http://127.0.0.1:8265", ""},
		"the API server's address":        {environment("RAY_API_SERVER_ADDRESS", "https://a:1/", "RAY_ADDRESS", "http://b:1"), "https://a:1", ""},
		"Ray's address, if it is http":    {environment("RAY_ADDRESS", "http://b:1/x/"), "http://b:1/x", ""},
		"Ray's address auto":              {environment("RAY_ADDRESS", "auto"), "http://127.0.0.1:8265", ""},
		"an API address that is not http": {environment("RAY_API_SERVER_ADDRESS", "ray:8265"), "", `RAY_API_SERVER_ADDRESS: "ray:8265": must be an http or https URL with a host, such as http://ray-head:8265`},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := FromEnvironment(tt.env)
			if tt.fail != "" {
				if err == nil || err.Error() != tt.fail {
					t.Errorf("got %v, want %s", err, tt.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Clusters[0]; got.URL != tt.url || got.Name != "default" || !got.Auth.Environment {
				t.Errorf("got %+v, want url %s", got, tt.url)
			}
		})
	}
}

func TestTypes_RoundTrip(t *testing.T) {
	for _, s := range []string{"500ms", "10s", "1h30m", "1h", "90ms", "1m1s", "0s", "168h"} {
		var d Duration
		if err := d.UnmarshalText([]byte(s)); err != nil || d.String() != s {
			t.Errorf("%s: got %s, %v", s, d, err)
		}
	}
	for s, want := range map[string]Size{"8MiB": 8 << 20, "100MB": 100e6, "1.5KiB": 1536, "4096": 4096, "7 B": 7, "1GiB": 1 << 30} {
		var z Size
		if err := z.UnmarshalText([]byte(s)); err != nil || z != want {
			t.Errorf("%s: got %d, %v", s, z, err)
		}
		var back Size
		if err := back.UnmarshalText([]byte(z.String())); err != nil || back != z {
			t.Errorf("%s reads back as %d, %v", z, back, err)
		}
	}
	for _, s := range []string{"", "MiB", "1e3", "0x10", "1.0001KiB", "9999999TiB", "NaN", "-Inf", "1_000"} {
		var z Size
		if err := z.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("size %q is accepted as %d", s, z)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(oneCluster))
	f.Add([]byte("clusters: [&a {url: x, <<: *a}]\nsink: {stdout: }\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, problems := parse(data, "/", environment("A", "b"))
		if len(problems) == 0 && c.Validate() != nil {
			t.Error("a configuration without problems is not valid")
		}
		_ = (&Problems{List: sorted(problems)}).Error()
	})
}

func TestLoad_SinkFileDefaults(t *testing.T) {
	c, err := load(t, oneCluster+"sink: {file: {path: out/x.jsonl, rotate: {max_files: 3}, fsync: never}}\n", environment())
	if err != nil {
		t.Fatal(err)
	}
	var want File
	want.setDefaults()
	want.Rotate.MaxFiles, want.Fsync, want.Path = 3, FsyncNever, c.Sink.File.Path
	if *c.Sink.File != want || want.Rotate.MaxSize != 100<<20 {
		t.Errorf("got %+v, want %+v", *c.Sink.File, want)
	}
	if p := string(want.Path); !filepath.IsAbs(p) || !strings.HasSuffix(p, "/out/x.jsonl") {
		t.Errorf("path %q is not relative to the file's directory", p)
	}
	for _, s := range []string{"always", "never", "1s", "10ms"} {
		var f Fsync
		if err := f.UnmarshalText([]byte(s)); err != nil || f.String() != s {
			t.Errorf("fsync %s reads back as %s, %v", s, f, err)
		}
	}
}

func TestPositionsFile(t *testing.T) {
	const file = "sink: {file: {path: /data/x.jsonl}}\n"
	for name, tt := range map[string]struct {
		text   string
		env    Env
		want   string
		chosen bool
	}{
		"configured":                     {"shipper: {positions: {file: /p}}\n" + file, environment("HOME", "/h"), "/p", true},
		"next to the sink's file":        {file, environment("HOME", "/h"), "/data/x.jsonl.positions.db", true},
		"in the state directory":         {"", environment("HOME", "/h", "XDG_STATE_HOME", "/s"), "/s/raytap/positions.db", false},
		"in the default state directory": {"", environment("HOME", "/h", "XDG_STATE_HOME", "relative"), "/h/.local/state/raytap/positions.db", false},
		"no home directory":              {"", environment(), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := load(t, oneCluster+tt.text, tt.env)
			if err != nil {
				t.Fatal(err)
			}
			if file, chosen := c.PositionsFile(); file != tt.want || chosen != tt.chosen {
				t.Errorf("got %q, %v", file, chosen)
			}
		})
	}
	c, err := FromEnvironment(environment("HOME", "/h"))
	if file, chosen := c.PositionsFile(); err != nil || file != "/h/.local/state/raytap/positions.db" || chosen {
		t.Errorf("without a configuration: %q, %v, %v", file, chosen, err)
	}
}
