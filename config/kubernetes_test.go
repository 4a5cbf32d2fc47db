package config

import (
	"strings"
	"testing"
)

func TestLoad_Kubernetes(t *testing.T) {
	for name, tt := range map[string]struct {
		text string // of the key kubernetes
		want string // path and a part of the problem; "": none
	}{
		"nothing but the key":        {"", ""},
		"every key":                  {"{kubeconfig: k, drain_timeout: 1m, rules: [{namespaces: [a, b], selector: 'x=y,z!=w', module: plain, auth: none, cluster_labels: {example.com/team: team}}, {}]}", ""},
		"all namespaces":             {`{rules: [{namespaces: ["*"]}]}`, ""},
		"no rules":                   {"{rules: []}", "kubernetes.rules|needs at least one rule"},
		"a pattern":                  {`{rules: [{namespaces: ["ray-*"]}]}`, "kubernetes.rules[0].namespaces[0]|is not the name of a namespace"},
		"all and another":            {`{rules: [{namespaces: ["*", a]}]}`, "kubernetes.rules[0].namespaces|has * and other namespaces"},
		"a namespace twice":          {"{rules: [{namespaces: [a, a]}]}", "kubernetes.rules[0].namespaces[1]|is listed twice"},
		"an invalid selector":        {"{rules: [{selector: 'a=b=c'}]}", "kubernetes.rules[0].selector|is not a label selector"},
		"an unknown module":          {"{rules: [{module: none}]}", "kubernetes.rules[0].module|must be the name of one of modules"},
		"an unknown auth":            {"{rules: [{auth: token}]}", "kubernetes.rules[0].auth|must be one of secret, none, module"},
		"no time to drain":           {"{drain_timeout: 0s}", "kubernetes.drain_timeout|must be at least 1s"},
		"a typo":                     {"{rules: [{namespace: [a]}]}", "kubernetes.rules[0].namespace|did you mean namespaces?"},
		"credentials for a tenant":   {"{rules: [{namespaces: [a], module: token, auth: module}]}", ""},
		"credentials for all":        {`{rules: [{namespaces: ["*"], module: token, auth: module}]}`, "kubernetes.rules[0].namespaces|must name the namespaces: the module has credentials"},
		"credentials for its own":    {"{rules: [{module: token, auth: module}]}", "kubernetes.rules[0].namespaces|must name the namespaces"},
		"a header for all":           {`{rules: [{namespaces: ["*"], module: header}]}`, "kubernetes.rules[0].namespaces|must name the namespaces"},
		"a certificate for all":      {`{rules: [{namespaces: ["*"], module: certificate}]}`, "kubernetes.rules[0].namespaces|must name the namespaces"},
		"two tokens":                 {"{rules: [{namespaces: [a], module: token}]}", "kubernetes.rules[0].auth|is secret, but the module has credentials"},
		"a module without any":       {"{rules: [{module: plain, auth: module}]}", "kubernetes.rules[0].auth|is module, but the module has no credentials"},
		"auth: module and no module": {"{rules: [{auth: module}]}", "kubernetes.rules[0].module|is required with auth: module"},
		"a module of Synapse":        {"{rules: [{module: synapse}]}", "kubernetes.rules[0].module|names a module with api: synapse"},
		"a module with a proxy":      {"{rules: [{module: proxy}]}", "kubernetes.rules[0].module|names a module with proxy_url"},
		"no name of a label":         {"{rules: [{cluster_labels: {'a b': c}}]}", "kubernetes.rules[0].cluster_labels.a b|is not the name of a label"},
		"a key that is no label":     {"{rules: [{cluster_labels: {a: b-c}}]}", "kubernetes.rules[0].cluster_labels.a|must be a key of letters"},
		"a reserved key":             {"{rules: [{cluster_labels: {a: message}}]}", "kubernetes.rules[0].cluster_labels.a|is a reserved key"},
		"a key of raytap":            {"{rules: [{cluster_labels: {a: owner_name}}]}", "kubernetes.rules[0].cluster_labels.a|is a reserved key"},
		"a key of all records":       {"{rules: [{cluster_labels: {a: env}}]}", "kubernetes.rules[0].cluster_labels.a|is a key of shipper.labels"},
		"a key twice":                {"{rules: [{cluster_labels: {a: k, b: k}}]}", "kubernetes.rules[0].cluster_labels.b|is the key of the label a"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, `
shipper: {sources: [driver, worker], labels: {env: x}}
modules:
  plain: {cluster: {timeout: 5s}}
  token: {cluster: {auth: {token: t}}}
  header: {cluster: {headers: {X-Org: a}}}
  certificate: {cluster: {tls: {cert_file: c, key_file: k}}}
  proxy: {cluster: {proxy_url: "http://proxy:1"}}
  synapse: {targets: ["a:1"], cluster: {api: synapse}}
`[1:]+"kubernetes: "+tt.text+"\n", environment())
			path, problem, _ := strings.Cut(tt.want, "|")
			// The modules that a case does not use have no targets, or another API.
			var got []string
			if err != nil {
				for line := range strings.SplitSeq(err.Error(), "\n") {
					if !strings.HasPrefix(line, "modules.") {
						got = append(got, line)
					}
				}
			}
			if (len(got) > 0) != (tt.want != "") || len(got) > 1 || len(got) == 1 && !(strings.HasPrefix(got[0], path+":") && strings.Contains(got[0], problem)) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A module for RayClusters alone needs no targets, and no networks for node agents.
func TestLoad_KubernetesModule(t *testing.T) {
	const module = `
shipper: {sources: [worker]}
modules: {m: {cluster: {auth: {token: t}}}}
`
	if _, err := load(t, module+"kubernetes: {rules: [{namespaces: [a], module: m, auth: module}]}\n", environment()); err != nil {
		t.Error(err)
	}
	_, err := load(t, module+"kubernetes: {rules: [{namespaces: [a], module: m, auth: module}]}\ncluster_files: [{files: [f], module: m}]\n", environment())
	if err == nil || !strings.Contains(err.Error(), "modules.m.targets") || !strings.Contains(err.Error(), "node_agents.allow") {
		t.Errorf("got %v", err)
	}
}

func TestConfig_RayCluster(t *testing.T) {
	c, err := load(t, `
modules:
  m: {cluster: {timeout: 3s, shard: 1, auth: {token: secret}, tls: {insecure_skip_verify: true}}}
kubernetes: {rules: [{}, {namespaces: [a], module: m, auth: module}]}
sharding: {generations: [{shards: 2}]}
`, environment())
	if err != nil {
		t.Fatal(err)
	}
	plain, own := c.RayCluster(c.Kubernetes.Rules[0], "ns", "dev"), c.RayCluster(c.Kubernetes.Rules[1], "a", "dev")
	if plain.Name != "ns/dev" || plain.URL != "http://dev.ns" || plain.API != APIRay || plain.Auth != (Auth{}) || plain.MaxConcurrent != 8 {
		t.Errorf("without a module: %+v", plain)
	}
	if own.Name != "a/dev" || own.URL != "https://dev.a" || own.Auth.Token != "secret" || own.Timeout.String() != "3s" || own.Shard != ShardAuto {
		t.Errorf("with a module: %+v", own)
	}
}
