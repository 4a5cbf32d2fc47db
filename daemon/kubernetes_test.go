package daemon

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"raytap/config"
	"raytap/discovery/kuberay/kubetest"
	"raytap/ray/raytest"
	"raytap/test/program"
)

// recorder stands in front of heads and keeps all that they are sent.
type recorder struct {
	at netip.AddrPort

	mu       sync.Mutex
	requests []string
}

// recordOf returns the address of a proxy to a head.
func recordOf(t *testing.T, head *raytest.Head) *recorder {
	t.Helper()
	to, err := url.Parse(head.URL())
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		text, _ := httputil.DumpRequest(req, true)
		r.mu.Lock()
		r.requests = append(r.requests, string(text))
		r.mu.Unlock()
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	r.at = netip.MustParseAddrPort(strings.TrimPrefix(s.URL, "http://"))
	return r
}

// with returns the requests so far that contain a text.
func (r *recorder) with(text string) (found []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.requests {
		if strings.Contains(x, text) {
			found = append(found, x)
		}
	}
	return found
}

// kubernetes returns a configuration with nothing but a Kubernetes.
func kubernetes(t *testing.T, api *kubetest.Server) config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "raytap.yaml")
	text := "kubernetes: {kubeconfig: " + api.Kubeconfig + ", rules: [{namespaces: [ray], cluster_labels: {team: team_name}}]}\n" +
		"web: {listen_addresses: [" + program.FreeAddress(t) + "]}\n" +
		"collector: {cache_ttl: 1s}\n" +
		"shipper: {discovery: {interval: 100ms}, poll_interval: 100ms, grace_period: 100ms}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const devCluster = "uid-of-dev"

// headPod returns the head pod of the RayCluster ray/dev.
func headPod(r *recorder) kubetest.Pod {
	return kubetest.Pod{Namespace: "ray", Name: "dev-head", UID: "uid-of-pod", Cluster: devCluster, IP: r.at.Addr().String(), Port: int(r.at.Port()), Secret: "dev-token"}
}

// A RayCluster that did not exist when raytap started is watched with nothing else set, to
// its last line; its head gets the token of its Secret, and never that of raytap itself.
func TestKubernetes_ClusterComesAndGoes(t *testing.T) {
	const token = "the-token-of-dev"
	head := raytest.New(t, raytest.Token(token))
	r := recordOf(t, head)
	early := head.Submit("early", raytest.JobOptions{JobID: "01000000"})
	early.Print("ended before raytap came\n")
	early.End("SUCCEEDED", 0)
	job := head.Submit("job", raytest.JobOptions{JobID: "02000000"})
	job.Print("first\n")

	api := kubetest.New(t)
	h := open(t, kubernetes(t, api), nil)
	h.until("it is ready", func() bool { return h.d.ready() == nil })
	if !h.d.metrics.rayClusters.source.Load().Listed("ray") {
		t.Error("raytap is ready before it knows which RayClusters there are")
	}
	api.PutSecret("ray", "dev-token", "auth_token", token)
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: "dev", UID: devCluster, Labels: map[string]string{"team": "vision"}, Owner: "RayJob train"}.Object())
	pod := headPod(r)
	pod.NotReady = true
	api.Put(kubetest.Pods, pod.Object())
	h.until("it waits", func() bool { return strings.Contains(h.page(), `raytap_kubernetes_clusters{state="waiting"} 1`) })
	if page := h.page(); strings.Contains(page, "raytap_up{") {
		t.Errorf("a cluster that waits for its head has raytap_up:\n%s", page)
	}
	h.until("the status page says why", func() bool {
		_, page := h.get("/")
		return strings.Contains(page, "its head pod dev-head is not ready yet")
	})
	pod.NotReady = false
	api.Put(kubetest.Pods, pod.Object())
	h.until("it is up", func() bool { return strings.Contains(h.page(), `raytap_up{ray_cluster="ray/dev"} 1`) })
	if page := h.page(); !strings.Contains(page, `uid="`+devCluster+`"`) {
		t.Errorf("raytap_cluster_info has no uid:\n%s", page)
	}
	for _, message := range []string{"ended before raytap came", "first"} {
		h.until("its lines are shipped", func() bool { return strings.Contains(h.out.String(), `"message":"`+message+`"`) })
	}
	for line := range strings.Lines(h.out.String()) {
		for _, key := range []string{`"ray_cluster":"ray/dev"`, `"k8s_namespace":"ray"`, `"owner_kind":"RayJob"`, `"owner_name":"train"`, `"team_name":"vision"`} {
			if !strings.Contains(line, key) {
				t.Errorf("record without %s: %s", key, line)
			}
		}
	}

	api.Delete(kubetest.RayClusters, "ray", "dev")
	api.Delete(kubetest.Secrets, "ray", "dev-token")
	pod.Deleting = true
	api.Put(kubetest.Pods, pod.Object())
	h.until("it drains", func() bool { return strings.Contains(h.page(), `raytap_kubernetes_clusters{state="draining"} 1`) })
	job.Print("last\n")
	h.until("its last line is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"last"`) })
	if page := h.page(); strings.Contains(page, "raytap_up{") {
		t.Errorf("a cluster that is being deleted has raytap_up:\n%s", page)
	}
	api.Delete(kubetest.Pods, "ray", "dev-head")
	h.until("it is gone", func() bool {
		return len(h.d.clusters.alive()) == 0 && len(h.d.metrics.rayClusters.source.Load().Clusters()) == 0
	})

	if len(r.with("Bearer "+token)) == 0 || len(r.with("")) != len(r.with("Bearer "+token)) {
		t.Errorf("%d of %d requests have the cluster's token", len(r.with("Bearer "+token)), len(r.with("")))
	}
	_, status := h.get("/api/v1/status")
	for name, text := range map[string]string{"records": h.out.String(), "the log": h.lines(), "metrics": h.page(), "the status": status} {
		if strings.Contains(text, token) || strings.Contains(text, kubetest.Token) {
			t.Errorf("%s have a token", name)
		}
	}
	if n := len(r.with(kubetest.Token)); n > 0 {
		t.Errorf("%d requests to a head have the token for the API server", n)
	}
}

// A Secret that changes while the head keeps its token costs nothing, and the head's next
// container is asked with the new one.
func TestKubernetes_TokenRotated(t *testing.T) {
	before, after := raytest.New(t, raytest.Token("one")), raytest.New(t, raytest.Token("two"))
	if err := after.Restart(raytest.RestartOptions{}); err != nil { // another session
		t.Fatal(err)
	}
	job := before.Submit("job", raytest.JobOptions{JobID: "01000000"})
	job.Print("first\n")
	after.Submit("next", raytest.JobOptions{JobID: "01000000"}).Print("of the next container\n")
	api := kubetest.New(t)
	api.PutSecret("ray", "dev-token", "auth_token", "one")
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: "dev", UID: devCluster}.Object())
	old := recordOf(t, before)
	api.Put(kubetest.Pods, headPod(old).Object())
	h := open(t, kubernetes(t, api), nil)
	h.until("its line is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"first"`) })
	api.PutSecret("ray", "dev-token", "auth_token", "two")
	n := len(old.with(""))
	h.until("more requests", func() bool { return len(old.with("")) > n+5 })
	job.Print("second\n")
	h.until("the next line is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"second"`) })
	if n := len(old.with("Bearer two")); n > 0 {
		t.Errorf("%d requests with a token that the head does not have", n)
	}

	pod := headPod(recordOf(t, after))
	pod.Restarts = 1
	before.Down()
	api.Put(kubetest.Pods, pod.Object())
	h.until("a line of the next container is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"of the next container"`) })
	if reads := api.Requests("/secrets/"); len(reads) != 2 {
		t.Errorf("reads of the Secret: %q, want one for each container", reads)
	}
}

// A reload with other rules applies them, and a RayCluster that stays is not started again.
func TestKubernetes_Reload(t *testing.T) {
	head := raytest.New(t)
	job := head.Submit("job", raytest.JobOptions{JobID: "01000000"})
	job.Print("first\n")
	api := kubetest.New(t)
	api.PutSecret("ray", "dev-token", "auth_token", "x")
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: "dev", UID: devCluster}.Object())
	api.Put(kubetest.Pods, headPod(recordOf(t, head)).Object())
	c := kubernetes(t, api)
	h := open(t, c, nil)
	h.until("its line is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"first"`) })
	unit := h.d.clusters.all()[0]
	k := *c.Kubernetes
	k.Rules = append([]config.KubernetesRule{{Namespaces: []string{"other"}, Auth: config.AuthNone}}, k.Rules...)
	c.Kubernetes = &k
	if code, text := h.reload(c, nil); code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	if all := h.d.clusters.all(); len(all) != 1 || all[0] != unit {
		t.Error("the cluster was started again")
	}
	h.until("the other namespace is watched", func() bool { return len(api.Requests("/namespaces/other/rayclusters")) > 0 })
	k.Kubeconfig = config.Path(filepath.Join(t.TempDir(), "none"))
	if code, text := h.reload(c, nil); code == http.StatusOK || !strings.Contains(text, "kubernetes") {
		t.Errorf("a kubeconfig that does not exist: %d %s", code, text)
	}
	c.Kubernetes, c.Clusters = nil, nil
	c.Modules = map[string]config.Module{"m": {}}
	if code, text := h.reload(c, nil); code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	h.until("no cluster is watched", func() bool { return len(h.d.clusters.alive()) == 0 })
}

// A cluster that is suspended and resumed is watched again, as the same one.
func TestKubernetes_Resumed(t *testing.T) {
	head := raytest.New(t)
	head.Submit("job", raytest.JobOptions{JobID: "01000000"}).Print("first\n")
	api := kubetest.New(t)
	cluster := kubetest.Cluster{Namespace: "ray", Name: "dev", UID: devCluster}
	pod := headPod(recordOf(t, head))
	pod.Secret = ""
	api.Put(kubetest.RayClusters, cluster.Object())
	api.Put(kubetest.Pods, pod.Object())
	h := open(t, kubernetes(t, api), nil)
	up := func() bool { return strings.Contains(h.page(), `raytap_up{ray_cluster="ray/dev"} 1`) }
	h.until("it is up", up)
	cluster.Suspend, cluster.Condition = true, "RayClusterSuspending"
	api.Put(kubetest.RayClusters, cluster.Object())
	h.until("it drains", func() bool { return strings.Contains(h.page(), `raytap_kubernetes_clusters{state="draining"} 1`) })
	api.Delete(kubetest.Pods, "ray", "dev-head")
	cluster.Condition = "RayClusterSuspended"
	api.Put(kubetest.RayClusters, cluster.Object())
	h.until("it is suspended", func() bool { return strings.Contains(h.page(), `raytap_kubernetes_clusters{state="suspended"} 1`) })
	if up() {
		t.Error("a suspended cluster has raytap_up")
	}
	cluster.Suspend, cluster.Condition = false, ""
	pod.UID = "another"
	api.Put(kubetest.RayClusters, cluster.Object())
	api.Put(kubetest.Pods, pod.Object())
	h.until("it is up again", up)
}

// While the API server has not said which RayClusters there are, none of them counts as
// deleted, and its positions stay; once it has, one that is not listed does.
func TestKubernetes_NothingIsDeletedBeforeTheFirstList(t *testing.T) {
	head := raytest.New(t)
	head.Submit("job", raytest.JobOptions{JobID: "01000000"}).Print("first\n")
	api := kubetest.New(t)
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: "dev", UID: devCluster}.Object())
	pod := headPod(recordOf(t, head))
	pod.Secret = ""
	api.Put(kubetest.Pods, pod.Object())
	c := kubernetes(t, api)
	c.Shipper.Positions.File = config.Path(filepath.Join(t.TempDir(), "positions"))
	h := open(t, c, nil)
	h.until("its line is shipped", func() bool { return strings.Contains(h.out.String(), `"message":"first"`) })
	h.stop()
	if err := h.ended(); err != nil {
		t.Fatal(err)
	}

	api.Refuse(kubetest.RayClusters, http.StatusForbidden)
	c.Web.ListenAddresses = []string{program.FreeAddress(t)}
	h = open(t, c, nil)
	h.until("the API server refuses", func() bool { return strings.Contains(h.lines(), "forbidden") })
	if code, text := h.reload(c, nil); code != http.StatusOK { // applies a plan
		t.Fatalf("%d %s", code, text)
	}
	positions := h.d.storage.positions
	positions.Expire(time.Now().Add(1000 * time.Hour))
	if uids := positions.UIDs(); uids[devCluster] != "ray/dev" {
		t.Fatalf("positions of %v are left", uids)
	}
	api.Delete(kubetest.RayClusters, "ray", "dev")
	api.Refuse(kubetest.RayClusters, 0)
	h.until("it is deleted", func() bool {
		positions.Expire(time.Now().Add(1000 * time.Hour))
		return len(positions.UIDs()) == 0
	})
}

// Without the right to read Secrets a cluster that needs a token is down, with the reason; one
// that needs none is watched.
func TestKubernetes_SecretsRefused(t *testing.T) {
	const token = "the-token-of-dev"
	head, other := raytest.New(t, raytest.Token(token)), raytest.New(t)
	if err := other.Restart(raytest.RestartOptions{}); err != nil { // another session
		t.Fatal(err)
	}
	api := kubetest.New(t)
	api.Refuse(kubetest.Secrets, http.StatusForbidden)
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: "dev", UID: devCluster}.Object())
	api.Put(kubetest.RayClusters, kubetest.Cluster{Namespace: "ray", Name: "open", UID: "uid-of-open"}.Object())
	r := recordOf(t, head)
	api.Put(kubetest.Pods, headPod(r).Object())
	pod := headPod(recordOf(t, other))
	pod.Name, pod.UID, pod.Cluster, pod.Secret = "open-head", "uid-of-open-pod", "uid-of-open", ""
	api.Put(kubetest.Pods, pod.Object())
	h := open(t, kubernetes(t, api), nil)
	h.until("one is up, the other down", func() bool {
		page := h.page()
		return strings.Contains(page, `raytap_up{ray_cluster="ray/dev"} 0`) && strings.Contains(page, `raytap_up{ray_cluster="ray/open"} 1`)
	})
	if log := h.lines(); !strings.Contains(log, "read the Secret ray/dev-token: forbidden") {
		t.Errorf("the log does not say why: %s", log)
	}
	if n := len(r.with("")); n > 0 {
		t.Errorf("%d requests without the token", n)
	}
}
