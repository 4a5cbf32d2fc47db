package deploy

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// schemaFile is the schema of raytap's configuration.
const schemaFile = "docs/configuration.schema.json"

// validator returns what validates a configuration in YAML against the schema.
func validator(t *testing.T) func(text string) error {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(filepath.Join(root, schemaFile))
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		js, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			return err
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(js)))
		if err != nil {
			return err
		}
		return s.Validate(v)
	}
}

func TestSchema_ShippedConfigurations(t *testing.T) {
	validate := validator(t)
	for _, file := range []string{"config.example.yaml", "deploy/systemd/raytap.yaml", "deploy/compose/raytap.yaml"} {
		if err := validate(read(t, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(root, "deploy/kubernetes/values-*.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, filepath.Join(root, chart, "values.yaml")) {
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		var values struct {
			Config map[string]any `json:"config"`
		}
		if err := yaml.Unmarshal([]byte(read(t, name)), &values); err != nil {
			t.Fatal(err)
		}
		if values.Config == nil {
			continue // only other values
		}
		if values.Config["clusters"] == nil { // merged with values.yaml
			values.Config["clusters"] = []any{map[string]any{"url": "http://ray:8265"}}
		}
		text, err := yaml.Marshal(values.Config)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(string(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The schema and raytap agree on these configurations.
func TestSchema_SameAsConfigCheck(t *testing.T) {
	const cluster = "clusters: [{url: 'http://ray:8265'}]\n"
	validate := validator(t)
	for name, tt := range map[string]struct {
		text  string
		valid bool
	}{
		"one cluster":             {cluster, true},
		"every kind of value":     {cluster + "shipper: {timeout: 1m30s, memory: 128MiB, labels: {team: a, n: 1}, include: [{job_name: 'a*'}]}\nlog: {format: json}\n", true},
		"size without unit":       {cluster + "shipper: {memory: 67108864}\n", true},
		"duration in days":        {cluster + "collector: {jobs: {retention: 7d}}\n", true},
		"empty sections":          {cluster + "collector:\nshipper:\n", true},
		"stdout":                  {cluster + "sink: {stdout: {}}\n", true},
		"file with fsync":         {cluster + "sink: {file: {path: /tmp/x.jsonl, fsync: always}}\n", true},
		"variables":               {"clusters: [{url: 'http://${HOST}', max_concurrent: '${N}', tls: {}, node_agents: {mode: '${MODE}'}}]\n", true},
		"proxy":                   {"clusters: [{url: 'http://ray:8265', proxy_url: 'socks5://proxy:1080'}]\n", true},
		"modules only":            {"modules: {default: {targets: ['*.ray.svc']}}\n", true},
		"cluster files":           {"cluster_files: [{files: ['*.json'], module: m}]\nmodules: {m: {targets: ['10.0.0.0/8'], cluster: {timeout: 5s}}}\n", true},
		"Kubernetes only":         {"kubernetes: {rules: [{namespaces: [ray], cluster_labels: {team: team}}]}\n", true},
		"shards":                  {cluster + "sharding: {shard: 1, generations: [{shards: 2}, {shards: 3, from: 2026-12-01T12:00:00Z}]}\n", true},
		"shards by a variable":    {cluster + "sharding: {shard: '${N}', generations: [{shards: '${N}'}, {shards: 5, from: '2026-12-01T13:00:00+01:00'}]}\n", true},
		"a shard without number":  {cluster + "sharding: {shard: first, generations: [{shards: 2}]}\n", false},
		"a generation without":    {cluster + "sharding: {generations: [{from: 2026-12-01T12:00:00Z}]}\n", false},
		"a time without zone":     {cluster + "sharding: {generations: [{shards: 1}, {shards: 2, from: '2026-12-01T12:00:00'}]}\n", false},
		"no cluster":              {"log: {level: info}\n", false},
		"no URL":                  {"clusters: [{name: a}]\n", false},
		"URL without scheme":      {"clusters: [{url: 'ray:8265'}]\n", false},
		"unknown key":             {cluster + "shiper: {}\n", false},
		"unknown nested key":      {cluster + "shipper: {websocket: {max_tail: 1}}\n", false},
		"unknown key of a module": {"modules: {m: {targets: ['*'], cluster: {url: 'http://ray:8265'}}}\n", false},
		"duration without unit":   {cluster + "shipper: {timeout: 30}\n", false},
		"invalid duration":        {cluster + "shipper: {timeout: soon}\n", false},
		"invalid size":            {cluster + "shipper: {memory: 64XB}\n", false},
		"invalid network":         {"clusters: [{url: 'http://ray:8265', node_agents: {allow: [everywhere]}}]\n", false},
		"unknown value":           {cluster + "shipper: {protocol: sse}\n", false},
		"text for a boolean":      {cluster + "collector: {enabled: maybe}\n", false},
		"text for a number":       {cluster + "max_clusters: many\n", false},
		"text for a mapping":      {cluster + "shipper: yes please\n", false},
		"text for a list":         {cluster + "web: {listen_addresses: ':1'}\n", false},
		"mapping for a list":      {"clusters: {url: 'http://ray:8265'}\n", false},
		"mapping for a text":      {cluster + "log: {level: {a: b}}\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := validate(tt.text)
			if (err == nil) != tt.valid {
				t.Errorf("the schema: %v", err)
			}
			file := write(t, "raytap.yaml", tt.text)
			if out, err := command(t, []string{"HOST=ray:8265", "N=4", "MODE=auto"}, binary, "config", "check", file); (err == nil) != tt.valid {
				t.Errorf("config check: %v\n%s", err, out)
			}
		})
	}
}
