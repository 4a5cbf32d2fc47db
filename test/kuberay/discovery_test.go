//go:build e2e && linux

package kuberay

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"raytap/ray/raytest"
	"raytap/test/program"
	"raytap/test/realkube"
)

const crd = ".tools/kuberay/crds/ray.io_rayclusters.yaml"

// What raytap does with RayClusters whose heads are fakes, on one API server.
func TestDiscovery(t *testing.T) {
	k := realkube.NewServer(t, "--disable-admission-plugins=ServiceAccount")
	run := func(name string, test func(*testing.T, *realkube.Server)) {
		t.Run(name, func(t *testing.T) { test(t, k) })
	}
	run("resource installed later", installedLater) // it installs it for the others
	run("lines, labels and tokens", labelled)
	run("rights", rights)
	run("no right to Secrets", noSecrets)
	run("suspended and waiting", waiting)
	run("a job that ends before it is seen", endedBefore)
	run("changed token", changedToken)
	run("strangers", strangers)
	run("deleted", deletedCluster)
	run("same name again", sameName)
	run("deleted while raytap is away", deletedWhileAway)
	run("many created and deleted", churn)
	run("shards", shards)
	run("API server away", serverAway)
}

// A raytap that is older than KubeRay finds RayClusters once it is installed.
func installedLater(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "later", "")
	n.start()
	n.until("raytap asks for RayClusters", func() bool { return strings.Contains(n.log.String(), "rayclusters") })
	n.Define(crd)
	f := n.cluster("first", "", "").up()
	job := f.head.Submit("later-1", raytest.JobOptions{})
	print(10, job)
	n.Until(n.raytap, 90*time.Second, "the lines are there", func() bool { return missingLine(n.records(), []*raytest.Job{job}) == "" })
	n.watched(f)
}

// Lines have the namespace and the labels of their cluster, and are read with its token.
func labelled(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "labelled", "")
	n.start()
	n.ready()
	const token = "planted-token-of-a-cluster"
	f := n.cluster("train", token, "").up()
	job := f.head.Submit("labelled-1", raytest.JobOptions{})
	print(10, job)
	n.awaitLines("the start", job)
	r := parse(n.records())[0]
	if r.Cluster != "labelled/train" || r.Space != "labelled" {
		t.Errorf("a record is of cluster %q in namespace %q", r.Cluster, r.Space)
	}
	n.watched(f)
	if info := metricLine(n, "raytap_cluster_info{"); !strings.Contains(info, f.uid) || !strings.Contains(info, `k8s_namespace="labelled"`) {
		t.Errorf("raytap_cluster_info is %q", info)
	}
	if _, refused, tokens := f.front.seen(); refused > 1 || len(tokens) != 1 || tokens[0] != "Bearer "+token {
		t.Errorf("the head refused %d requests, and got the tokens %q", refused, tokens)
	}
	job.End("SUCCEEDED", 0)
	n.until("the end is in the file", func() bool { _, ok := n.end(job.ID); return ok })
	for where, text := range map[string]string{"log": n.log.String(), "records": n.records(),
		"metrics": program.Get(n.url + "/metrics"), "page": program.Get(n.url + "/"), "configuration": program.Get(n.url + "/config")} {
		if strings.Contains(text, token) {
			t.Errorf("the token is in raytap's %s", where)
		}
	}
}

func metricLine(n *tenant, prefix string) string {
	for line := range strings.Lines(program.Get(n.url + "/metrics")) {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

// The token that the head accepts is used until it accepts another one.
func changedToken(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "token", "")
	n.start()
	n.ready()
	f := n.cluster("train", "first-token", "").up()
	job := f.head.Submit("token-1", raytest.JobOptions{})
	print(10, job)
	n.awaitLines("the start", job)
	_, before, _ := f.front.seen()
	n.secret(f.name, "second-token")
	for range 30 {
		print(3, job)
		time.Sleep(100 * time.Millisecond)
	}
	n.awaitLines("the Secret has changed", job)
	if _, refused, _ := f.front.seen(); refused != before {
		t.Errorf("%d requests were refused after the Secret had changed", refused-before)
	}
	f.front.want("second-token")
	f.status(f.pod, f.front.ip, true, 1)
	print(10, job)
	n.awaitLines("the head was restarted with the new token", job)
}

// Nothing is sent to addresses that are not, or not any more, those of the cluster's pods.
func strangers(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "strangers", "")
	n.start()
	n.ready()
	elsewhere, labelled := newStranger(t, address()+":8265"), newStranger(t, address()+":8265")
	far := n.cluster("far", "", `"managedBy": "kueue.x-k8s.io/multikueue", `)
	n.patchStatus("/apis/ray.io/v1", "rayclusters", far.name, fmt.Sprintf(`{"state": "ready", "head": {"podIP": %q, "serviceName": "far-head-svc"}}`, elsewhere.ip))

	f := n.cluster("train", "token-of-train", "").up()
	f.createPod("only-labelled", "head", labelled.ip, labelled.port, "")
	f.status("only-labelled", labelled.ip, true, 0)
	worker, err := f.head.AddNode(address())
	if err != nil {
		t.Fatal(err)
	}
	f.createPod("worker", "worker", worker.IP, 1, f.uid)
	f.status("worker", worker.IP, true, 0)
	job := f.head.Submit("strangers-1", raytest.JobOptions{Node: worker})
	print(10, job)
	n.awaitLines("the start", job)
	n.until("the worker's agent is used", func() bool { return worker.Requests("") > 0 })
	// The worker ends, and another pod gets its address. Ray still has it in its list.
	n.request(http.MethodDelete, n.path("/api/v1", "pods", "worker"), `{"gracePeriodSeconds": 0}`)
	time.Sleep(time.Second)
	worker.AgentDown()
	reused := newStranger(t, strings.TrimPrefix(worker.AgentURL(), "http://"))
	second := f.head.Submit("strangers-2", raytest.JobOptions{})
	for range 20 {
		print(3, second)
		time.Sleep(100 * time.Millisecond)
	}
	n.awaitLines("the worker's address was reused", second)
	for name, s := range map[string]*front{"of another Kubernetes": elsewhere, "with the label only": labelled, "with a reused address": reused} {
		if requests, _, tokens := s.seen(); requests > 0 {
			t.Errorf("the pod %s got %d requests, with tokens %q", name, requests, tokens)
		}
	}
}

// Without the right to read Secrets, clusters that need no token are watched, and the log
// says what the others lack.
func noSecrets(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "nosecrets", "")
	n.Must("kubectl -n nosecrets patch role raytap --type=json -p '[{\"op\": \"remove\", \"path\": \"/rules/2\"}]'")
	n.start()
	n.ready()
	open, closed := n.cluster("open", "", "").up(), n.cluster("closed", "token-of-closed", "").up()
	job := open.head.Submit("nosecrets-1", raytest.JobOptions{})
	print(10, job)
	n.awaitLines("the start", job)
	n.watched(open)
	n.until("the other cluster is down", func() bool { return n.metric(`raytap_up{ray_cluster="nosecrets/closed"}`) == "0" })
	n.until("raytap's log has the reason", func() bool { return strings.Contains(n.log.String(), "forbidden") })
	if _, _, tokens := closed.front.seen(); len(tokens) != 0 {
		t.Errorf("the head got the tokens %q", tokens)
	}
}

// A cluster that is suspended, or has no head yet, has no raytap_up.
func waiting(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "waiting", "")
	n.start()
	n.ready()
	n.cluster("queued", "", `"suspend": true, `)
	n.cluster("pulling", "", "")
	n.until("both are counted", func() bool {
		return n.metric(`raytap_kubernetes_clusters{state="suspended"}`) == "1" && n.metric(`raytap_kubernetes_clusters{state="waiting"}`) == "1"
	})
	time.Sleep(time.Second)
	if metrics := program.Get(n.url + "/metrics"); strings.Contains(metrics, `raytap_up{ray_cluster="waiting/`) {
		t.Error("raytap_up exists for a cluster that cannot be up yet")
	}
	if program.Get(n.url+"/-/ready") == "" {
		t.Error("raytap is not ready")
	}
}

// raytap's account has the three rights of docs/kuberay.md and no other.
func rights(t *testing.T, k *realkube.Server) {
	n := newTenant(t, k, "rights", "")
	mine := n.Must("kubectl -n rights auth can-i --list --as=system:serviceaccount:rights:raytap --no-headers")
	anyone := n.Must("kubectl -n rights auth can-i --list --as=system:serviceaccount:rights:other --no-headers")
	var got []string
	for line := range strings.Lines(mine) {
		if !strings.Contains(anyone, strings.TrimSpace(line)) {
			got = append(got, strings.Join(strings.Fields(line), " "))
		}
	}
	want := []string{"rayclusters.ray.io [] [] [get list watch]", "pods [] [] [get list watch]", "secrets [] [] [get]"}
	if len(got) != len(want) {
		t.Errorf("raytap may %q, want %q", got, want)
	}
	for _, w := range want {
		if !strings.Contains(strings.Join(got, "\n"), w) {
			t.Errorf("raytap may %q, want %q", got, w)
		}
	}
}
