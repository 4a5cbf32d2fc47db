//go:build e2e && linux

package kuberay

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
	"raytap/test/realkube"
)

// tenant is a namespace whose RayClusters have fake heads and are watched by a raytap of
// its own, with the rights of the chart.
type tenant struct {
	*realkube.Server
	t         *testing.T
	namespace string
	config    string // a file
	sink      string // a file
	raytap    *program.Process
	url       string // of raytap
	log       program.Output
}

// settings make raytap fast enough for tests.
const settings = `
shipper: {discovery: {interval: 200ms}, poll_interval: 100ms, grace_period: 100ms, backoff: {initial: 50ms, max: 500ms}, positions: {interval: 100ms}}
collector: {cache_ttl: 1s}
max_clusters: 1000
`

// newTenant makes a namespace, in which raytap is not started. more is added to its
// configuration.
func newTenant(t *testing.T, k *realkube.Server, namespace, more string) *tenant {
	t.Helper()
	dir := t.TempDir()
	mine := *k
	k, mine.T = &mine, t
	n := &tenant{Server: k, t: t, namespace: namespace, config: filepath.Join(dir, "raytap.yaml"), sink: filepath.Join(dir, "raytap.jsonl")}
	k.Must("kubectl create namespace " + namespace + "\n" +
		"helm template raytap deploy/helm/raytap --namespace " + namespace + " --set discovery.kuberay.enabled=true" +
		" --show-only templates/serviceaccount.yaml --show-only templates/rbac.yaml | kubectl -n " + namespace + " apply -f -")
	token := strings.TrimSpace(k.Must("kubectl -n " + namespace + " create token raytap --duration=2h"))
	kubeconfig := realkube.Write(t, filepath.Join(dir, "kubeconfig"), realkube.Kubeconfig(k.Authority, namespace, token), 0o600)
	realkube.Write(t, n.config, fmt.Sprintf("%s\nkubernetes: {kubeconfig: %q}\nsink: {file: {path: %q, fsync: 50ms}}\n%s", settings, kubeconfig, n.sink, more), 0o600)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("raytap's log:\n%s", program.Last(n.log.String(), 6000))
		}
	})
	return n
}

// start starts raytap.
func (n *tenant) start(args ...string) {
	n.t.Helper()
	cmd := exec.Command(realkube.Raytap(), append([]string{"--config.file", n.config}, args...)...)
	cmd.Stdout, cmd.Stderr = &n.log, &n.log
	n.raytap, n.url = program.Serve(n.t, cmd)
}

// ready waits until raytap has listed what exists: what comes later is new to it.
func (n *tenant) ready() {
	n.t.Helper()
	n.until("raytap is ready", func() bool { return program.Get(n.url+"/-/ready") != "" })
}

func (n *tenant) until(what string, ok func() bool) {
	n.t.Helper()
	n.Until(n.raytap, 30*time.Second, what, ok)
}

// records returns the file's text.
func (n *tenant) records() string {
	b, err := os.ReadFile(n.sink)
	if err != nil {
		return ""
	}
	return string(b)
}

// metric returns the value of a series, NaN's text or "" if there is none. name has the
// labels.
func (n *tenant) metric(name string) string {
	for line := range strings.Lines(program.Get(n.url + "/metrics")) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// awaitLines waits until each line that the jobs have printed is in the file, and checks
// that none is there twice.
func (n *tenant) awaitLines(after string, jobs ...*raytest.Job) {
	n.t.Helper()
	var missing string
	n.until("each line is in the file, after "+after, func() bool {
		missing = missingLine(n.records(), jobs)
		return missing == ""
	})
	checkOnce(n.t, after, n.records(), jobs)
}

func missingLine(text string, jobs []*raytest.Job) string {
	got := counts(text)
	for _, j := range jobs {
		for line := range strings.Lines(string(j.Output())) {
			if got[j.ID+" "+strings.TrimSuffix(line, "\n")] == 0 {
				return j.ID + " " + line
			}
		}
	}
	return ""
}

// checkOnce checks that each line of the jobs is in the file once.
func checkOnce(t *testing.T, after, text string, jobs []*raytest.Job) {
	t.Helper()
	got := counts(text)
	for _, j := range jobs {
		for line := range strings.Lines(string(j.Output())) {
			if n := got[j.ID+" "+strings.TrimSuffix(line, "\n")]; n != 1 {
				t.Errorf("after %s, %d records, want 1, of this line of %s: %.60q", after, n, j.ID, line)
				return
			}
		}
	}
}

// record is what the tests read of a record.
type record struct {
	ID       string `json:"submission_id"`
	Cluster  string `json:"ray_cluster"`
	Event    string
	Message  string
	Complete *bool
	AtLeast  int    `json:"at_least"`
	Space    string `json:"k8s_namespace"`
	Owner    string `json:"owner_name"`
	text     string
}

func parse(text string) []record {
	var out []record
	for line := range strings.Lines(text) {
		var r record
		if json.Unmarshal([]byte(line), &r) == nil && r.ID != "" {
			r.text = strings.TrimSpace(line)
			out = append(out, r)
		}
	}
	return out
}

// counts counts the records of each line.
func counts(text string) map[string]int {
	out := map[string]int{}
	for _, r := range parse(text) {
		if r.Event == "" {
			out[r.ID+" "+r.Message]++
		}
	}
	return out
}

// end returns the last end event of a job.
func (n *tenant) end(id string) (r record, ok bool) {
	for _, have := range parse(n.records()) {
		if have.ID == id && have.Event == "end" {
			r, ok = have, true
		}
	}
	return r, ok
}

// fake is a RayCluster whose head is a fake.
type fake struct {
	n         *tenant
	name, uid string
	pod       string // of the head
	head      *raytest.Head
	front     *front // before the head: it checks the token
	token     string // "": none
}

var addresses atomic.Int32

// address returns an address of a pod that no other one has.
func address() string {
	i := addresses.Add(1)
	return fmt.Sprintf("10.99.%d.%d", 1+i/250, 1+i%250)
}

// cluster makes a RayCluster without pods. spec is added to its spec.
func (n *tenant) cluster(name, token, spec string) *fake {
	n.t.Helper()
	f := &fake{n: n, name: name, token: token}
	if token != "" {
		spec += `"authOptions": {"mode": "token"}, `
		n.secret(name, token)
	}
	b := n.request(http.MethodPost, n.path("/apis/ray.io/v1", "rayclusters", ""), fmt.Sprintf(`{"apiVersion": "ray.io/v1", "kind": "RayCluster",
		"metadata": {"name": %q, "labels": {"team": "vision"}}, "spec": {%s "headGroupSpec": {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray-head", "image": "none"}]}}}}}`, name, spec))
	f.uid = uid(n.t, b)
	return f
}

func uid(t *testing.T, object []byte) string {
	t.Helper()
	var out struct{ Metadata struct{ UID string } }
	if err := json.Unmarshal(object, &out); err != nil || out.Metadata.UID == "" {
		t.Fatalf("no uid in %.200s: %v", object, err)
	}
	return out.Metadata.UID
}

// up adds a head that answers, in a pod that is ready.
func (f *fake) up() *fake {
	f.n.t.Helper()
	f.startHead()
	f.pod = f.name + "-head-" + f.head.URL()[strings.LastIndex(f.head.URL(), ":")+1:]
	f.createPod(f.pod, "head", f.front.ip, f.front.port, f.uid)
	f.status(f.pod, f.front.ip, true, 0)
	return f
}

func (f *fake) startHead() {
	f.n.t.Helper()
	ip := address()
	f.head = raytest.New(f.n.t, raytest.IP(ip))
	// The sessions of two heads differ.
	for range addresses.Load() {
		if err := f.head.Restart(raytest.RestartOptions{}); err != nil {
			f.n.t.Fatal(err)
		}
	}
	f.front = newFront(f.n.t, ip, f.head.URL(), f.token)
}

// createPod makes a pod that no kubelet runs.
func (f *fake) createPod(name, kind, ip string, port int, owner string) {
	f.n.t.Helper()
	env := ""
	if f.token != "" {
		env = fmt.Sprintf(`{"name": "RAY_AUTH_TOKEN", "valueFrom": {"secretKeyRef": {"name": %q, "key": "auth_token"}}}`, f.name)
	}
	owners := ""
	if owner != "" {
		owners = fmt.Sprintf(`{"apiVersion": "ray.io/v1", "kind": "RayCluster", "name": %q, "uid": %q, "controller": true, "blockOwnerDeletion": true}`, f.name, owner)
	}
	f.n.request(http.MethodPost, f.n.path("/api/v1", "pods", ""), fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": %q,
		"labels": {"ray.io/cluster": %q, "ray.io/node-type": %q, "ray.io/is-ray-node": "yes"}, "ownerReferences": [%s]},
		"spec": {"nodeName": "nowhere", "containers": [{"name": "ray-head", "image": "none", "env": [%s], "ports": [{"name": "dashboard", "containerPort": %d}]}]}}`,
		name, f.name, kind, owners, env, port))
}

// status sets the status of a pod, as the kubelet does.
func (f *fake) status(pod, ip string, ready bool, restarts int) {
	f.n.t.Helper()
	is := "False"
	if ready {
		is = "True"
	}
	f.n.patchStatus("/api/v1", "pods", pod, fmt.Sprintf(`{"phase": "Running", "podIP": %[1]q, "podIPs": [{"ip": %[1]q}], "conditions": [{"type": "Ready", "status": %[2]q}],
		"containerStatuses": [{"name": "ray-head", "ready": %[3]t, "restartCount": %[4]d, "image": "none", "imageID": "none", "state": {"running": {}}}]}`, ip, is, ready, restarts))
}

// delete deletes the RayCluster, and what Kubernetes' garbage collector deletes then: its
// Secret at once, and its pods with a grace period, which nothing ends.
func (f *fake) delete() {
	f.n.t.Helper()
	f.n.request(http.MethodDelete, f.n.path("/apis/ray.io/v1", "rayclusters", f.name), "")
	if f.token != "" {
		f.n.request(http.MethodDelete, f.n.path("/api/v1", "secrets", f.name), "")
	}
	if f.pod != "" {
		f.n.request(http.MethodDelete, f.n.path("/api/v1", "pods", f.pod), "")
	}
}

// gone ends the head, and then its pod, as the kubelet does.
func (f *fake) gone() {
	f.n.t.Helper()
	f.front.close()
	f.head.Close()
	f.n.request(http.MethodDelete, f.n.path("/api/v1", "pods", f.pod), `{"gracePeriodSeconds": 0}`)
}

// secret creates or changes a Secret with a token.
func (n *tenant) secret(name, token string) {
	n.t.Helper()
	n.Apply(fmt.Sprintf(`{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": %q, "namespace": %q}, "stringData": {"auth_token": %q}}`, name, n.namespace, token))
}

func (n *tenant) path(group, resource, name string) string {
	return strings.TrimSuffix(group+"/namespaces/"+n.namespace+"/"+resource+"/"+name, "/")
}

func (n *tenant) request(method, path, body string) []byte {
	n.t.Helper()
	b, err := n.Request(method, path, "application/json", body)
	if err != nil {
		n.t.Fatal(err)
	}
	return b
}

func (n *tenant) patchStatus(group, resource, name, status string) {
	n.t.Helper()
	if _, err := n.Request(http.MethodPatch, n.path(group, resource, name)+"/status", "application/merge-patch+json", `{"status": `+status+`}`); err != nil {
		n.t.Fatal(err)
	}
}

// watched waits until raytap watches the head of a cluster.
func (n *tenant) watched(f *fake) {
	n.t.Helper()
	n.until("raytap_up is 1 for "+f.name, func() bool {
		return n.metric(fmt.Sprintf("raytap_up{ray_cluster=%q}", n.namespace+"/"+f.name)) == "1"
	})
}

// print prints lines that no other call prints.
func print(lines int, jobs ...*raytest.Job) {
	for range lines {
		i := printed.Add(1)
		for _, j := range jobs {
			j.Printf("line %d of all\n", i)
		}
	}
}

var printed atomic.Int64
