package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad_Problems(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"record": {`
clusters: [{url: "http://ray:8265"}]
shipper: {record: {timezone: Mars/North, multiline: {enabled: java, max_lines: 1, max_wait_time: 1ms}, progress_interval: -1s}}
`, []string{
			`shipper.record.timezone: "Mars/North": line 3: "Mars/North" is not a time zone, such as UTC or Europe/Berlin`,
			`shipper.record.multiline.enabled: "java": line 3: must be true or false`,
			`shipper.record.multiline.max_wait_time: "1ms": line 3: must be at least 100ms`,
			`shipper.record.multiline.max_lines: "1": line 3: must be 2 to 10000`,
			`shipper.record.progress_interval: "-1s": line 3: must be at least 0s`,
		}},
		"several, in the order of the file": {`
clusters:
  - name: a
    url: ftp://ray
    timeout: 10
    auth: {token: x, token_file: y}
  - name: a
    ulr: http://ray:8265
    node_agents: {allow: [10.0.0.0/8, 10.0.0.1/8, nonsense]}
collector: {jobs: {max: many}}
shiper: {}
`, []string{
			`clusters[0].url: "ftp://ray": line 4: must be an http or https URL with a host, such as http://ray-head:8265`,
			`clusters[0].timeout: "10": line 5: needs a unit, such as 10s or 10m`,
			`clusters[0].auth: line 6: token and token_file are both set; keep one`,
			`clusters[1].url: line 7: is required: the address of Ray's dashboard, such as http://ray-head:8265, or of a Synapse agent`,
			`clusters[1].name: "a": line 7: clusters[0] has the same name "a"; names must be unique`,
			`clusters[1].ulr: line 8: unknown key; did you mean url?`,
			`clusters[1].node_agents.allow[1]: "10.0.0.1/8": line 9: has address bits beyond its mask; the network is 10.0.0.0/8`,
			`clusters[1].node_agents.allow[2]: "nonsense": line 9: is not a network, such as 10.0.0.0/8 or fd00::/8`,
			`collector.jobs.max: "many": line 10: must be a whole number`,
			`shiper: line 11: unknown key; did you mean shipper?`,
		}},
		"wrong types": {`
clusters: {url: x}
shipper: [1]
web: {listen_addresses: ":1"}
log: {level: [a], format: }
collector: {enabled: yes}
`, []string{
			`clusters: line 2: must be a list, not a mapping`,
			`shipper: line 3: must be a mapping (key: value), not a list`,
			`web.listen_addresses: line 4: must be a list, not a single value`,
			`log.level: line 5: must be a single value, not a list`,
			`log.format: line 5: has no value; omit the key to use its default`,
			`collector.enabled: "yes": line 6: must be true or false`,
		}},
		"keys of one API only": {`
clusters:
  - {name: a, url: 'http://a:1', auth: {user_token: u, tenant_file: f}}
  - name: b
    url: http://b:1
    api: synapse
    auth: {environment: true, user_token: u, user_token_file: f, tenant: "a\nb"}
    headers: {synapse-tenant: x}
    node_agents: {mode: "off"}
  - {name: c, url: 'http://c:1', api: agent}
`, []string{
			`clusters[0].auth: line 3: user_token is only for api: synapse`,
			`clusters[0].auth: line 3: tenant is only for api: synapse`,
			`clusters[1].auth: line 7: user_token and user_token_file are both set; keep one`,
			`clusters[1].auth.tenant: line 7: has leading or trailing spaces, line breaks or other characters that are invalid in a header`,
			`clusters[1].auth.environment: "true": line 7: is only for api: ray: a token for Ray must not be sent to a Synapse agent; use token_file for the agent's token`,
			`clusters[1].headers.synapse-tenant: line 8: and auth.tenant are both set; keep one`,
			`clusters[1].node_agents: line 9: is only for api: ray: a Synapse agent serves logs itself`,
			`clusters[2].api: "agent": line 10: must be one of ray, synapse`,
		}},
		"limits of the sink": {oneCluster + `
sink:
  stdout: {}
  file: {path: /x, rotate: {max_size: 10KiB, max_age: 59s, max_files: -1}, fsync: 0s}
shipper: {positions: {file: /a/../x, interval: 10ms}}
`, []string{
			`sink: line 4: stdout and file are both set; keep one`,
			`sink.file.fsync: "0s": line 5: must be always, never, or a duration of at least 10ms, such as 1s`,
			`sink.file.rotate.max_size: "10KiB": line 5: must be at least 64KiB, or 0 for no limit`,
			`sink.file.rotate.max_age: "59s": line 5: must be at least 1m, or 0s for no limit`,
			`sink.file.rotate.max_files: "-1": line 5: must be at least 0`,
			`shipper.positions.interval: "10ms": line 6: must be at least 100ms`,
			`shipper.positions.file: "/a/../x": line 6: is the file of the sink; use another`,
		}},
		"file without path": {oneCluster + "sink: {file: {fsync: sometimes}}\n", []string{
			`sink.file.fsync: "sometimes": line 2: must be always, never, or a duration of at least 10ms, such as 1s`,
			`sink.file.path: line 2: is required: the file that records are appended to`,
		}},
		"variables": {`
clusters: [{url: '${NOT_SET}', name: '${', auth: {token: '${1}'}}]
`, []string{
			`clusters[0].url: "${NOT_SET}": line 2: the environment variable NOT_SET is not set`,
			`clusters[0].name: "${": line 2: has a ${ without its }; write $${ for a literal ${`,
			`clusters[0].auth.token: line 2: ${1} is not the name of an environment variable; write $${ for a literal ${`,
		}},
		"secrets in the wrong place": {`
clusters: [{url: 'http://u:hunter2@ray:8265', auth: hunter2, headers: hunter2, proxy_url: 'ftp://a:hunter2@p'}]
`, []string{
			`clusters[0].auth: line 2: must be a mapping (key: value), not a single value`,
			`clusters[0].headers: line 2: must be a mapping (key: value), not a single value`,
			`clusters[0].url: "http://<secret>@ray:8265": line 2: must not contain a user or password; use auth, or headers for basic authentication`,
			`clusters[0].proxy_url: "ftp://<secret>@p": line 2: must be an http, https or socks5 URL, such as http://proxy:3128`,
		}},
		"duplicate key": {oneCluster + "log: {level: info}\nlog: {level: debug}\n", []string{
			`log: line 3: is a duplicate key, first used in line 2`,
		}},
		"headers": {`
clusters:
  - url: http://ray:8265
    auth: {token: t}
    headers: {Authorization: a, "b d": c, host: x, X-A: "1", x-a: "2", X-B: "a\nb"}
`, []string{
			`clusters[0].headers.Authorization: line 5: and auth.token are both set; keep one`,
			`clusters[0].headers.X-B: line 5: has line breaks or other characters that are invalid in a header`,
			`clusters[0].headers: line 5: "b d" is not a valid header name`,
			`clusters[0].headers.host: line 5: cannot be set: raytap sets it, or Ray treats clients with it as browsers`,
			`clusters[0].headers: line 5: "X-A" and "x-a" are the same header`,
		}},
		"limits of the shipper": {oneCluster + `
shipper:
  include: [{}, {job_name: "[a"}, {job_name: "{a,b}"}, {submission_id: "^train-.*$"}]
  websocket: {max_tails: 100, max_replay: 8XB}
  backoff: {initial: 1m}
  limits: {max_lines: -1, on_exceeded: pause}
  labels: {message: x}
  memory: 1kB
`, []string{
			`shipper.include[0]: line 4: matches every job; set submission_id, job_name or metadata`,
			`shipper.include[1].job_name: "[a": line 4: is not a valid pattern: a [ without its ], an empty set, or a range in the wrong order`,
			`shipper.include[2].job_name: "{a,b}": line 4: is not a valid pattern: {a,b} is not supported; write one pattern for each alternative, or \{ for the character`,
			`shipper.include[3].submission_id: "^train-.*$": line 4: is a regular expression, not a pattern: patterns have * ? and [a-z], and match the whole name; write \^ and \$ for these characters at its ends`,
			`shipper.websocket.max_replay: "8XB": line 5: is not a size, such as 8MiB, 100MB or 4096`,
			`shipper.websocket.max_tails: "100": line 5: must be 1 to 90, or 0 for the default: Ray's jobs API hangs at 100 open tails of all clients`,
			`shipper.backoff.max: line 6: must be at least shipper.backoff.initial (1m)`,
			`shipper.limits.max_lines: "-1": line 7: must be at least 0`,
			`shipper.limits.max_message_size: line 7: must be at most 64MiB and a quarter of shipper.memory (1000)`,
			`shipper.limits.interval: line 7: must be longer than 0s with on_exceeded: pause, which pauses until its end`,
			`shipper.labels.message: "x": line 8: is a reserved key of records`,
			`shipper.memory: "1kB": line 9: must be at least 1MiB`,
		}},
		"limits of the collector": {oneCluster + `
collector:
  exclude_metrics: ["raytap_node_.*", "raytap_(up"]
  jobs: {max: 0, metadata: [team, cost-centre, cost_centre, ""]}
  nodes: {max: -1, labels: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]}
`, []string{
			`collector.exclude_metrics[1]: "raytap_(up": line 4: is not a regular expression: missing closing )`,
			`collector.jobs.max: "0": line 5: must be at least 1`,
			`collector.jobs.metadata[2]: "cost_centre": line 5: becomes the same label name as "cost-centre"`,
			`collector.jobs.metadata[3]: line 5: must be 1 to 128 bytes of UTF-8`,
			`collector.nodes.max: "-1": line 6: must be at least 1`,
			`collector.nodes.labels: line 6: has 17 keys; one metric can have at most 16 of these labels`,
		}},
		"modules and files": {`
modules:
  a: {cluster: {name: x, timeout: 1ms}, targets: [a]}
  b: {cluster: {auth: {token: t, token_file: u}}}
  c: {targets: [ftp://a, "a:0", "[a]:1", 10.0.0.1/8], cluster: {tls: {ca_file: ca.pem}, max_body: 1GiB}}
cluster_files: [{files: ["[a"], module: d}, {module: a}]
max_clusters: 0
probes: {max: 0, keep: 1s}
`, []string{
			`response_memory: line 2: must be at least the largest max_body of a cluster or module (1GiB)`,
			`modules.a.cluster: line 3: must not have name or url: they come from cluster_files, from Kubernetes or from requests to /probe`,
			`modules.b.targets: line 4: is required: the addresses that this module, and its token, may be used for, such as ["*.ray.svc:8265", "10.0.0.0/8"]`,
			`modules.b.cluster.auth: line 4: token and token_file are both set; keep one`,
			`modules.c.targets[0]: "ftp://a": line 5: must start with http://, https:// or a host`,
			`modules.c.targets[1]: "a:0": line 5: has a port that is not a number or *`,
			`modules.c.targets[2]: "[a]:1": line 5: has no IPv6 address or network between [ and ]`,
			`modules.c.targets[3]: "10.0.0.1/8": line 5: has address bits beyond its mask; the network is 10.0.0.0/8`,
			`cluster_files[0].files[0]: "[a": line 6: is not a valid file name pattern`,
			`cluster_files[0].module: "d": line 6: must be the name of one of modules, which has the settings for the clusters in these files`,
			`cluster_files[1].files: line 6: needs at least one file, such as clusters/*.json`,
			`max_clusters: "0": line 7: must be at least 1`,
			`probes.max: "0": line 8: must be at least 1`,
			`probes.keep: "1s": line 8: must be at least 1m`,
		}},
		"too many clusters":  {"max_clusters: 1\nclusters: [{url: 'http://a:1', name: a}, {url: 'http://b:1', name: b}]\n", []string{`clusters: line 2: has 2 clusters, but max_clusters is 1`}},
		"all disabled":       {oneCluster + "collector: {enabled: false}\nshipper: {enabled: false}\n", []string{`line 1: collector.enabled and shipper.enabled are both false: enable at least one`}},
		"an empty file":      {"# nothing\n", []string{`clusters: line 0: needs at least one cluster, such as {name: prod, url: http://ray-head:8265}, or cluster_files, or kubernetes, or modules for /probe`}},
		"not YAML":           {"clusters: [\n", []string{`line 1: is not YAML: did not find expected node content`}},
		"two documents":      {oneCluster + "---\na: b\n", []string{`line 2: a second YAML document begins here; write one document`}},
		"a list at the top":  {"- a\n", []string{`line 1: must be a mapping (key: value), not a list`}},
		"unknown key":        {oneCluster + "log: {colour: red}\n", []string{`log.colour: line 2: unknown key; known here: format, level`}},
		"a cyclic anchor":    {"clusters: &a [*a]\n", []string{`clusters[0]: line 1: must be a mapping (key: value), not a list`}},
		"a cyclic merge":     {"clusters: [&a {url: 'http://r:1', <<: *a}]\n", []string{`clusters[0]: line 1: a mapping merged by << must have plain keys only`}},
		"tls for plain http": {"clusters: [{url: 'http://r:1', tls: {cert_file: a}}]\n", []string{`clusters[0].tls: line 1: cert_file and key_file must be set together`, `clusters[0].tls: line 1: is set, but the url of the cluster is http`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.text, environment())
			p, ok := err.(*Problems)
			if !ok {
				t.Fatalf("got %v, want problems", err)
			}
			if got, want := p.Error(), strings.Join(tt.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestLoad_UnreadableFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), environment())
	if err == nil || !strings.Contains(err.Error(), "none.yaml: no such file") {
		t.Errorf("got %v", err)
	}
}
